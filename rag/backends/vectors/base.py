"""What a vector index is: ids and vectors in, ids and scores out. It holds no text and can be rebuilt at any time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rag.domain.types import Allowed, Hit, Vectors


class VectorIndex(ABC):
    """Inner-product search over unit vectors of one collection and one embedder.

    Searching from several threads is safe; a change (`add`, `remove`) excludes searches and other changes.
    """

    kind: ClassVar[str]  # what `publish` writes, with the number of its layout; another number is another kind
    error: ClassVar[float]  # the most by which the score of unit vectors differs from their inner product
    dimension: int

    @classmethod
    @abstractmethod
    def create(cls, *, dimension: int) -> "VectorIndex":
        """An empty index in memory."""

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, *, dimension: int) -> "VectorIndex":
        """The index that `publish` wrote; raises `Damaged` when anything of it is missing, truncated or altered."""

    @abstractmethod
    def publish(self, folder: Path) -> str:
        """Writes the index to the new folder `folder` durably, reads it back, and returns its sha256 (hex).

        Order: write to a sibling, fsync files, read back and compare, rename, fsync the parent (facts J8). A crash at any point
        leaves either no `folder` or a whole one. Raises `Retryable` when the disk is full.
        """

    @abstractmethod
    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Adds vectors, float32 (len(ids), dimension), under int64 ids; an id that is there already is replaced."""

    @abstractmethod
    def remove(self, ids: Sequence[int]) -> None:
        """Removes ids; unknown ones are ignored."""

    @abstractmethod
    def search(self, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
        """The `limit` best allowed ids by inner product, best first, ties by smaller id; filtered inside the index."""

    @abstractmethod
    def ids(self) -> frozenset[int]:
        """Every id in the index."""

    @abstractmethod
    def __len__(self) -> int: ...
