"""Exact search in numpy: the oracle that other vector indexes are compared with, and enough for a small collection."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.checks import ROUNDING, Ids, best, new_entries, question
from rag.domain.types import Allowed, Everything, Except, Hit, Only, Vectors

FILE = "index.npy"


class ExactIndex(VectorIndex):
    """Holds one array of ids and one of vectors; a change swaps both at once, so searches need no lock."""

    kind: ClassVar[str] = "exact/1"
    error: ClassVar[float] = ROUNDING

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        self.dimension = vectors.shape[1]
        self._state = (ids, vectors)
        self._changing = threading.Lock()

    @classmethod
    def create(cls, *, dimension: int) -> Self:
        return cls(np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float32))

    @classmethod
    def open(cls, folder: Path, *, dimension: int) -> Self:
        files.verified(folder, FILE, kind=cls.kind)
        try:
            with (folder / FILE).open("rb") as file:
                ids, vectors = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Damaged(f"{FILE} cannot be read") from error
        if ids.dtype != np.int64 or vectors.dtype != np.float32 or vectors.shape != (len(ids), dimension):
            raise Damaged(f"{FILE} holds vectors of shape {vectors.shape}, not of dimension {dimension}")
        return cls(ids, vectors)

    def publish(self, folder: Path) -> str:
        ids, vectors = self._state

        def write(sink: files.Sink) -> None:
            for array in (ids, vectors):
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                sink(buffer.getvalue())

        return files.publish(folder, FILE, write, kind=self.kind, dimension=self.dimension, count=len(ids))

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        numbers, rows = new_entries(ids, vectors, self.dimension)
        with self._changing:
            old_ids, old = self._state
            kept = ~np.isin(old_ids, numbers)
            self._state = (np.concatenate([old_ids[kept], numbers]), np.concatenate([old[kept], rows]))

    def remove(self, ids: Sequence[int]) -> None:
        with self._changing:
            old_ids, old = self._state
            kept = ~np.isin(old_ids, np.fromiter(ids, dtype=np.int64, count=len(ids)))
            self._state = (old_ids[kept], old[kept])

    def search(self, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
        row = question(vector, self.dimension)
        ids, vectors = self._state
        match allowed:
            case Everything():
                pass
            case Only(only):
                inside = np.isin(ids, np.fromiter(only, dtype=np.int64, count=len(only)))
                ids, vectors = ids[inside], vectors[inside]
            case Except(barred):
                outside = ~np.isin(ids, np.fromiter(barred, dtype=np.int64, count=len(barred)))
                ids, vectors = ids[outside], vectors[outside]
        return best(ids, (vectors @ row[0]).astype(np.float32), max(limit, 0))

    def ids(self) -> frozenset[int]:
        return frozenset(self._state[0].tolist())

    def __len__(self) -> int:
        return len(self._state[0])
