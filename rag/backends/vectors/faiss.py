"""Exact inner-product search with FAISS: IndexIDMap over IndexFlatIP, filtered inside the index.

Why IndexIDMap: IndexIDMap2 keeps a hash map (120 MB a million against 8 MB) and rebuilds it at every removal; neither
notices an id that is added twice, so this class removes before it adds.
Why a lock: FAISS allows concurrent searches, and crashes when anything changes meanwhile.
Why mapped files: an index that was opened shares its vectors with every other process through the page cache. A mapped
index cannot be changed (FAISS would write into read-only memory), so the first change copies it.
"""

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.locks import ReadWriteLock
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.checks import NEAR, ROUNDING, Ids, best, new_entries, question
from rag.domain.types import Allowed, Everything, Except, Hit, Only, Vectors

FILE = "index.faiss"
# The limit on what a file may make FAISS allocate is one for the whole process.
_reading = threading.Lock()
_BLOCK = 8192  # vectors copied at a time


class FaissIndex(VectorIndex):
    """Searches run in parallel, each on one thread; scores are inner products rounded to six decimals."""

    kind: ClassVar[str] = "faiss/1"
    error: ClassVar[float] = ROUNDING

    def __init__(self, index: Any, *, dimension: int, mapped: bool) -> None:
        self.dimension = dimension
        self._index = index
        self._mapped = mapped
        self._lock = ReadWriteLock()

    @classmethod
    def create(cls, *, dimension: int) -> Self:
        return cls(cls._empty(dimension), dimension=dimension, mapped=False)

    @classmethod
    def open(cls, folder: Path, *, dimension: int) -> Self:
        meta = files.verified(folder, FILE, kind=cls.kind)
        path = folder / FILE
        with _reading:
            usual = faiss.get_deserialization_vector_byte_limit()
            # A length field in the file may ask for up to 1 TB; nothing in it can be larger than the file.
            faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
            try:
                index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            except (RuntimeError, MemoryError) as error:
                raise Damaged(f"{FILE} cannot be read") from error
            finally:
                faiss.set_deserialization_vector_byte_limit(usual)
        whole = (
            isinstance(index, faiss.IndexIDMap)
            and type(faiss.downcast_index(index.index)) is type(cls._storage(dimension))
            and index.d == dimension == meta.get("dimension")
            and index.ntotal == meta.get("count") == index.id_map.size()
        )
        if not whole:
            raise Damaged(f"{FILE} is not the index that meta.json describes")
        return cls(index, dimension=dimension, mapped=True)

    def publish(self, folder: Path) -> str:
        with self._lock.reading():
            return files.publish(
                folder, FILE, self._write, kind=self.kind, dimension=self.dimension, count=int(self._index.ntotal)
            )

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        numbers, rows = new_entries(ids, vectors, self.dimension)
        with self._lock.writing():
            self._own()
            self._drop(numbers)
            self._index.add_with_ids(rows, numbers)

    def remove(self, ids: Sequence[int]) -> None:
        numbers = np.fromiter(ids, dtype=np.int64, count=len(ids))
        with self._lock.writing():
            if np.isin(self._ids(), numbers).any():
                self._own()
                self._drop(numbers)

    def search(self, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
        row = question(vector, self.dimension)
        # FAISS reads a missing selector as "no filter": only `Everything` may take that way.
        match allowed:
            case Everything():
                parameters = None
            case Only(ids) | Except(ids):
                if isinstance(allowed, Only) and not ids:
                    return []
                parameters = faiss.SearchParameters(sel=_selector(allowed))
        # The setting is the calling thread's own. More threads gain nothing for one question, and hang after a fork.
        faiss.omp_set_num_threads(1)
        with self._lock.reading():
            return self._best(row, limit, parameters)

    def ids(self) -> frozenset[int]:
        with self._lock.reading():
            return frozenset(self._ids().tolist())

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def _storage(cls, dimension: int) -> Any:
        """What holds the vectors: of a type of its own in each subclass."""
        return faiss.IndexFlatIP(dimension)

    @classmethod
    def _empty(cls, dimension: int) -> Any:
        return faiss.IndexIDMap(cls._storage(dimension))

    def _best(self, row: Vectors, limit: int, parameters: Any) -> list[Hit]:
        total = self._index.ntotal
        wanted = min(limit, total)
        if wanted <= 0:
            return []
        fetched = min(wanted + 1, total)
        while True:
            scores, ids = self._index.search(row, fetched, params=parameters)
            found = ids[0] >= 0
            numbers, values = ids[0][found], scores[0][found]
            # Where a tie crosses the limit FAISS keeps any of the equals; fetch on until all of them are here.
            if len(numbers) < fetched or fetched == total or values[-1] < values[wanted - 1] - NEAR:
                return best(numbers, values, wanted)
            fetched = min(fetched * 2, total)

    def _ids(self) -> Ids:
        numbers: Ids = faiss.vector_to_array(self._index.id_map)
        return numbers

    def _drop(self, numbers: Ids) -> None:
        known = np.intersect1d(self._ids(), numbers)
        if known.size:
            self._index.remove_ids(faiss.IDSelectorBatch(known))

    def _own(self) -> None:
        if not self._mapped:
            return
        numbers = self._ids()
        copy = self._empty(self.dimension)
        for start in range(0, len(numbers), _BLOCK):
            some = numbers[start : start + _BLOCK]
            copy.add_with_ids(self._index.index.reconstruct_n(start, len(some)), some)
        self._index, self._mapped = copy, False

    def _write(self, sink: files.Sink) -> None:
        failure: list[OSError] = []

        def block(data: bytes) -> int:
            # An exception must not cross FAISS's C++: report a short write and raise it afterwards.
            try:
                sink(data)
            except OSError as error:
                failure.append(error)
                return 0
            return len(data)

        writer = faiss.PyCallbackIOWriter(block, 1 << 20)
        try:
            faiss.write_index(self._index, writer)
        except RuntimeError:
            if not failure:
                raise
        if failure:
            raise failure[0]


# A selector for 900,000 ids takes 64 ms to build: it is kept as long as the set of ids that it was made from.
_selectors: dict[tuple[type, int], tuple[weakref.ref[frozenset[int]], Any]] = {}


def _selector(allowed: Only | Except) -> Any:
    key = (type(allowed), id(allowed.ids))
    known = _selectors.get(key)
    if known is not None and known[0]() is allowed.ids:
        return known[1]
    chosen = _membership(allowed.ids)
    selector = faiss.IDSelectorNot(chosen) if isinstance(allowed, Except) else chosen
    _selectors[key] = (weakref.ref(allowed.ids, lambda _: _selectors.pop(key, None)), selector)
    return selector


def _membership(ids: frozenset[int]) -> Any:
    """A selector of exactly `ids`: a bitmap where that is as small as a hash set would be, otherwise a hash set."""
    numbers = np.fromiter((number for number in ids if number >= 0), dtype=np.int64)
    highest = int(numbers.max(initial=0))
    if highest >= 64 * max(1024, numbers.size):
        return faiss.IDSelectorBatch(numbers)
    bits = np.zeros(highest + 1, dtype=np.uint8)
    bits[numbers] = 1
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
