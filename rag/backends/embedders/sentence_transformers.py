"""Embeds with sentence-transformers and torch, offline: every other way of using the same weights is compared with it.

Why one process: torch's threads spin while they wait; two processes that share cores fall to a third of the speed.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from rag.backends.embedders.base import Embedder, Identity
from rag.backends.embedders.tokens import fluency
from rag.backends.embedders.weights import Weights, find_weights
from rag.domain.types import Vectors

_BATCH = 32


class SentenceTransformersEmbedder(Embedder):
    """`folder` is a model folder, by default the bundled weights; `threads` caps torch's, 0 means one per core.

    Making one imports torch, which takes seconds and half a gigabyte: do it once per process. Raises `Permanent` when
    the weights are missing or altered. `export_folder` is for embedders that need one.
    """

    def __init__(self, folder: str = "", export_folder: str = "", threads: int = 0) -> None:
        from tokenizers import Tokenizer

        weights = find_weights(folder)
        self.name, self.digest = weights.name, weights.digest
        self.dimension, self.max_tokens = weights.dimension, weights.max_tokens
        self._prompts = weights.question_prompt, weights.passage_prompt
        self._runner = TorchRunner(weights, threads)
        self._tokenizer = Tokenizer.from_file(str(weights.folder / "tokenizer.json"))

    @classmethod
    def identity(cls, folder: str) -> Identity:
        return find_weights(folder).identity

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._runner.embed([self._prompts[1] + text for text in texts])

    def embed_question(self, text: str) -> Vectors:
        vector: Vectors = self._runner.embed([self._prompts[0] + text])[0]
        return vector

    def fluency(self, text: str) -> float:
        return fluency(self._tokenizer, text)


class TorchRunner:
    """The weights in torch, float32."""

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        self._dimension = weights.dimension
        self._model = load_model(weights, threads=threads)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimension), unit length, in the order of `texts`; longer texts are cut."""
        if not texts:
            return np.empty((0, self._dimension), dtype=np.float32)
        # `encode` makes its batches from the texts sorted by length and gives the vectors back in their order.
        # The prompt is part of the text already; without saying so, a model's default one would be added.
        vectors = self._model.encode(
            list(texts),
            prompt="",
            batch_size=_BATCH,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def load_model(weights: Weights, *, threads: int = 0) -> Any:
    """The sentence-transformers model of `weights` on the CPU. No request leaves the machine."""
    go_offline()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads or os.cpu_count() or 1)
    model = SentenceTransformer(
        str(weights.folder),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        # Some weights are stored in half precision, and would be run in it.
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )
    model.max_seq_length = weights.max_tokens
    return model.eval()


def go_offline() -> None:
    """From here on no library of this process asks the model hub for anything, whatever the environment says."""
    # Said to the libraries themselves: they read the environment once, at the import of whoever comes first.
    import huggingface_hub.constants as hub
    from transformers.utils.logging import disable_progress_bar

    hub.HF_HUB_OFFLINE = hub.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bar()
