"""What an embedder is: text to unit vectors, always by the same weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rag.domain.types import Vectors


@dataclass(frozen=True, slots=True)
class Identity:
    """Which vectors an embedder makes. `digest` names the weights.

    `scale` and `shift` make their cosines mean what those of the model mean that came with Footnote, by whose cosines the thresholds
    of the search were chosen: some models put everything between .7 and .9.
    """

    name: str
    digest: str
    dimension: int
    scale: float = 1.0
    shift: float = 0.0

    def likeness(self, cosine: float) -> float:
        """The cosine on the common scale."""
        return self.shift + self.scale * cosine


class Embedder(ABC):
    """Turns text into float32 vectors of unit length. `digest` names the weights: vectors of two digests are never compared."""

    name: str
    digest: str
    dimension: int
    max_tokens: int  # longest input in the model's tokens, special tokens included; longer text would be cut

    @classmethod
    @abstractmethod
    def identity(cls, folder: str) -> Identity:
        """Which vectors the weights in `folder` ("" for the bundled ones) would give, without loading them."""

    @abstractmethod
    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimension), unit length, in the order of `texts`."""

    @abstractmethod
    def embed_question(self, text: str) -> Vectors:
        """float32 of shape (dimension,), unit length."""

    def fluency(self, text: str) -> float:
        """Letters that the model reads at a time, where it reads more than one: about 5 in a language that its vocabulary was made
        for, near 0 where it spells. Infinity for a text of short words alone, and where there is no vocabulary."""
        del text
        return math.inf
