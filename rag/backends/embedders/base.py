"""What an embedder is: text to unit vectors, always by the same weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rag.domain.types import Vectors


@dataclass(frozen=True, slots=True)
class Identity:
    """Which vectors an embedder makes. `digest` names the weights."""

    name: str
    digest: str
    dimension: int


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
