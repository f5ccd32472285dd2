"""Vectors from hashed words: no model, the same on every machine. For tests."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rag.backends.embedders.base import Embedder, Identity
from rag.domain.types import Vectors

_WORD = re.compile(r"\w+")


class HashingEmbedder(Embedder):
    """Texts that share words are similar; order and meaning do not count. A text without words points along axis 0.

    It takes the arguments of every embedder and needs none of them.
    """

    name = "hashing"
    digest = "hashing-1"
    dimension = 256
    max_tokens = 512

    def __init__(self, folder: str = "", export_folder: str = "", threads: int = 0) -> None:
        pass

    @classmethod
    def identity(cls, folder: str) -> Identity:
        # Texts that share a few words come to .2; those that mean the same come to .5 with the weights that answer people.
        return Identity(cls.name, cls.digest, cls.dimension, shift=0.25)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word, times in Counter(_WORD.findall(text.casefold())[: self.max_tokens]).items():
                place, sign = _place(word)
                row[place % self.dimension] += sign * np.sqrt(times)
            if not row.any():
                row[0] = 1.0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def embed_question(self, text: str) -> Vectors:
        vector: Vectors = self.embed_passages([text])[0]
        return vector


def _place(word: str) -> tuple[int, int]:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest[:7], "big"), 1 if digest[7] & 1 else -1
