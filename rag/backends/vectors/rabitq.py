"""Search for large collections: 1-bit codes (RaBitQ, Gao and Long 2024) find candidates, 16-bit vectors score them.

One file, mapped: ids in ascending order, vectors in float16 in the same order, the rotation, FAISS's codes. A search reads all codes
(56 bytes a vector of 384 numbers) and some two thousand of the vectors; only the codes have to stay in memory, and all
processes share them.

Why a rotation: RaBitQ's error bound holds for randomly turned vectors. With the bundled model it changes nothing; models that
keep much of a vector in a few of its numbers would lose without it.
Why exact search under narrow permissions: scoring a few thousand vectors takes less than looking at a million codes.
Why parts: a file is never changed. What is added after opening stands in memory beside it, what is removed is barred,
and `publish` writes all of it anew. Each change replaces the tuple of parts, so that searches need no lock.
"""

import mmap
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.checks import HALF_ERROR, NEAR, Ids, best, new_entries, question
from rag.domain.types import Allowed, Everything, Hit, Only, Vectors

FILE = "index.rabitq"
Halves = NDArray[np.float16]

# Measured on one core of 2.6 GHz with a million vectors of 384 numbers: a look at all codes takes 12 ms, at all through a
# filter 13 ms, at 10,000 of them picked out 2 ms and at 100,000 of them 9 ms; scoring 1,000 vectors .2 ms, 4,000 of them 1.3 ms.
EXACT_MOST = 4096  # allowed vectors up to which all are scored
PICKED_MOST = 1 / 8  # share of allowed vectors up to which their codes are picked out; more would take much memory
# Candidates that are scored for each hit asked for, and at least. Of 26,000 MiniLM vectors the first 500 candidates hold
# every one of the ten nearest, and .975 of the hundred nearest; 1,000 hold .996 and 2,000 hold .9994 of them. Of a million
# made-up ones, as far from each other, 1,000 hold .995 of the ten and 2,000 hold .963 of the hundred nearest.
CANDIDATES_EACH, CANDIDATES_LEAST = 30, 2000
# More are scored where the first hits do not stand clear of what is left: its best estimate, plus so many standard
# deviations of the estimates' errors, reaches the score of the last of them.
FIRST, CLEAR = 10, 3.0
CANDIDATES_MORE, CANDIDATES_MOST = 8, 65_536  # where more vectors than that tie, any of them are found
_QUERY_BITS = 4  # of the question's numbers; 8 take a third longer for .003 more of the hundred nearest
_BLOCK = 8192  # vectors copied or turned at a time
_SCORED = 1024  # vectors scored at a time: they fit into the processor's cache
_PAGE = 4096  # each array of the file begins on a page of its own
_SEED = 20240528


class RabitqIndex(VectorIndex):
    """Searches run in parallel, each on one thread, and find at least .99 of the ten nearest under any filter."""

    kind: ClassVar[str] = "rabitq/1"
    error: ClassVar[float] = HALF_ERROR

    def __init__(self, parts: "tuple[_Part, ...]", *, dimension: int) -> None:
        self.dimension = dimension
        self._parts = parts
        self._changing = threading.Lock()

    @classmethod
    def create(cls, *, dimension: int) -> Self:
        return cls((), dimension=dimension)

    @classmethod
    def open(cls, folder: Path, *, dimension: int) -> Self:
        meta = files.verified(folder, FILE, kind=cls.kind)
        count = meta.get("count")
        if meta.get("dimension") != dimension or not isinstance(count, int):
            raise Damaged(f"{FILE} does not hold vectors of dimension {dimension}")
        if not count:
            return cls((), dimension=dimension)
        try:
            with (folder / FILE).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            return cls((_mapped(mapped, count, dimension),), dimension=dimension)
        except (OSError, ValueError, RuntimeError) as error:
            raise Damaged(f"{FILE} cannot be read") from error

    def publish(self, folder: Path) -> str:
        parts = self._parts
        count = sum(part.living for part in parts)

        def write(sink: files.Sink) -> None:
            if count:
                _write(sink, parts, self.dimension)

        return files.publish(folder, FILE, write, kind=self.kind, dimension=self.dimension, count=count)

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        numbers, rows = new_entries(ids, vectors, self.dimension)
        if not len(numbers):
            return
        order = np.argsort(numbers)
        part = _Part(numbers[order], rows[order].astype(np.float16))
        if not np.isfinite(part.rows).all():
            raise ValueError("a vector holds a number that float16 has no room for")
        with self._changing:
            self._parts = (*(old.less(part.ids) for old in self._parts), part)

    def remove(self, ids: Sequence[int]) -> None:
        numbers = np.unique(np.fromiter(ids, dtype=np.int64, count=len(ids)))
        with self._changing:
            self._parts = tuple(part.less(numbers) for part in self._parts)

    def search(self, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
        row = question(vector, self.dimension)
        if limit <= 0:
            return []
        # The setting is the calling thread's own. More threads gain nothing for one question, and hang after a fork.
        faiss.omp_set_num_threads(1)
        found = [part.search(row, limit, allowed) for part in self._parts]
        if not found:
            return []
        return best(np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found]), limit)

    def ids(self) -> frozenset[int]:
        return frozenset(number for part in self._parts for number in part.living_ids().tolist())

    def __len__(self) -> int:
        return sum(part.living for part in self._parts)


@dataclass(frozen=True, slots=True)
class _Codes:
    """What finds candidates: `index` holds codes of vectors turned by `rotation`, in the order of the part's rows."""

    index: Any
    rotation: Vectors
    data: NDArray[np.uint8]  # where the codes lie: FAISS looks there as long as `index` lives

    def picked(self, positions: Ids) -> Any:
        """An index of the codes at `positions`, copied."""
        size = int(self.index.sa_code_size())
        codes = faiss.rev_swig_ptr(self.index.codes.data(), self.index.ntotal * size).reshape(-1, size)
        index = _coding(faiss.vector_to_array(self.index.center))
        index.add_sa_codes(codes[positions])
        return index


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The rows that a search may look at: those at `positions` where they are few, else those of `selector`, or all."""

    count: int
    positions: Ids | None = None
    selector: Any = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Vectors that never change, by ascending id. `dead` marks rows that were removed since, None where there are none."""

    ids: Ids
    rows: Halves
    codes: _Codes | None = None
    dead: NDArray[np.bool_] | None = None
    # What a set of ids comes to here, kept as long as that set: to look up 100,000 ids takes 10 ms.
    known: dict[tuple[type, int], tuple[weakref.ref[frozenset[int]], _Chosen]] = field(default_factory=dict)

    @property
    def living(self) -> int:
        return len(self.ids) - (0 if self.dead is None else int(self.dead.sum()))

    def living_ids(self) -> Ids:
        return self.ids if self.dead is None else self.ids[~self.dead]

    def less(self, ids: Ids) -> "_Part":
        """The part without the rows of `ids`, which are in ascending order."""
        if not len(ids) or ids[-1] < self.ids[0] or ids[0] > self.ids[-1]:
            return self
        places = self._places(ids)
        if not len(places):
            return self
        dead = np.zeros(len(self.ids), dtype=bool) if self.dead is None else self.dead.copy()
        dead[places] = True
        return replace(self, dead=dead, known={})

    def search(self, row: Vectors, wanted: int, allowed: Allowed) -> tuple[Ids, Vectors]:
        """At least the `wanted` best ids with their scores, in any order."""
        chosen = self._chosen(allowed)
        if not chosen.count:
            return self.ids[:0], np.empty(0, dtype=np.float32)
        few = chosen.selector is None and chosen.count <= max(EXACT_MOST, wanted)
        if self.codes is None or few:
            positions = np.arange(len(self.ids)) if chosen.positions is None else chosen.positions
            return self._best_of(positions, self._scores(positions, row), wanted)
        return self._approximate(self.codes, row, wanted, chosen)

    def _places(self, ids: Ids) -> Ids:
        """The rows of those `ids`, in ascending order, that are here."""
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        found: Ids = places[self.ids[places] == ids]
        return found

    def _chosen(self, allowed: Allowed) -> _Chosen:
        if isinstance(allowed, Everything):
            return self._those(None if self.dead is None else ~self.dead)
        key = (type(allowed), id(allowed.ids))
        known = self.known.get(key)
        if known is not None and known[0]() is allowed.ids:
            return known[1]
        chosen = self._only(allowed.ids) if isinstance(allowed, Only) else self._except(allowed.ids)
        self.known[key] = (weakref.ref(allowed.ids, lambda _: self.known.pop(key, None)), chosen)
        return chosen

    def _only(self, ids: frozenset[int]) -> _Chosen:
        places = self._places(_ascending(ids))
        if self.dead is not None:
            places = places[~self.dead[places]]
        if len(places) <= PICKED_MOST * len(self.ids):
            return _Chosen(len(places), positions=places)
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[places] = True
        return self._those(mask)

    def _except(self, ids: frozenset[int]) -> _Chosen:
        mask = np.ones(len(self.ids), dtype=bool) if self.dead is None else ~self.dead
        mask[self._places(_ascending(ids))] = False
        return self._those(mask)

    def _those(self, mask: NDArray[np.bool_] | None) -> _Chosen:
        count = len(self.ids) if mask is None else int(mask.sum())
        if mask is None or count == len(self.ids):
            return _Chosen(count)
        if self.codes is None or count <= max(EXACT_MOST, PICKED_MOST * len(self.ids)):
            return _Chosen(count, positions=np.flatnonzero(mask))
        return _Chosen(count, selector=faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))

    def _scores(self, positions: Ids, row: Vectors) -> Vectors:
        scores = np.empty(len(positions), dtype=np.float32)
        for start in range(0, len(positions), _SCORED):
            scores[start : start + _SCORED] = _inner(self.rows[positions[start : start + _SCORED]], row)
        return scores

    def _best_of(self, positions: Ids, scores: Vectors, wanted: int) -> tuple[Ids, Vectors]:
        """The ids and scores of the `wanted` best, and whatever ties with the last of them."""
        if len(scores) > wanted:
            kept = scores >= _least(scores, wanted) - NEAR
            positions, scores = positions[kept], scores[kept]
        return self.ids[positions], scores

    def _approximate(self, codes: _Codes, row: Vectors, wanted: int, chosen: _Chosen) -> tuple[Ids, Vectors]:
        picked = chosen.positions
        index = codes.index if picked is None else codes.picked(picked)
        parameters = faiss.RaBitQSearchParameters()
        parameters.qb, parameters.centered = _QUERY_BITS, False
        if chosen.selector is not None:
            parameters.sel = chosen.selector
        turned = row @ codes.rotation
        fetched = max(CANDIDATES_EACH * wanted, CANDIDATES_LEAST)
        while True:
            fetched = min(fetched, chosen.count)
            estimates, found = index.search(turned, fetched, params=parameters)
            positions = found[0] if picked is None else picked[found[0]]
            scores = self._scores(positions, row)
            if fetched == chosen.count or fetched >= CANDIDATES_MOST or _enough(estimates[0], scores, wanted):
                return self._best_of(positions, scores, wanted)
            fetched *= CANDIDATES_MORE


def _enough(estimates: Vectors, scores: Vectors, wanted: int) -> bool:
    """Whether what was not fetched, by its estimates, is hardly among the first hits, and no equal of any of them."""
    last = float(estimates[-1])
    hits = estimates[scores >= _least(scores, wanted) - NEAR]
    if hits.min() <= last + NEAR:
        return False
    # What is left resembles the worse half of the candidates; the better half was picked for its luck.
    errors = (scores - estimates)[len(scores) // 2 :]
    return bool(last + errors.mean() + CLEAR * errors.std() < _least(scores, min(wanted, FIRST)))


def _ascending(ids: frozenset[int]) -> Ids:
    return np.sort(np.fromiter(ids, dtype=np.int64, count=len(ids)))


def _least(scores: Vectors, wanted: int) -> float:
    """The score of the `wanted`th best."""
    if wanted >= len(scores):
        return float(scores.min())
    return float(np.partition(scores, -wanted)[-wanted])


def _inner(rows: Halves, row: Vectors) -> Vectors:
    """The inner product of each of `rows` with the one `row`, summed in float32 in the same order wherever a vector stands."""
    # numpy takes four times as long to widen float16 as FAISS for all of it.
    exact = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    exact.add_sa_codes(np.ascontiguousarray(rows).view(np.uint8))
    scores, places = exact.search(row, len(rows))
    ordered = np.empty(len(rows), dtype=np.float32)
    ordered[places[0]] = scores[0]
    return ordered


# --- The file


def _mapped(mapped: mmap.mmap, count: int, dimension: int) -> _Part:
    rotation, start = _array(mapped, 0, np.dtype(np.float32), (dimension, dimension))
    ids, start = _array(mapped, start, np.dtype(np.int64), (count,))
    first = start
    rows, start = _array(mapped, start, np.dtype(np.float16), (count, dimension))
    # Candidates lie anywhere: reading ahead would push the codes out of a small memory.
    mapped.madvise(mmap.MADV_RANDOM, first, start - first)
    data = np.frombuffer(mapped, dtype=np.uint8, offset=start)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data))
    index = faiss.read_index(reader)
    if not isinstance(index, faiss.IndexRaBitQ) or index.d != dimension or index.ntotal != count:
        raise Damaged(f"{FILE} does not hold the codes that meta.json describes")
    return _Part(ids, rows, _Codes(index, rotation, data))


def _array(mapped: mmap.mmap, start: int, kind: np.dtype[Any], shape: tuple[int, ...]) -> tuple[Any, int]:
    """The array that begins at byte `start`, and the page behind it."""
    count = int(np.prod(shape))
    array = np.frombuffer(mapped, dtype=kind, count=count, offset=start).reshape(shape)
    return array, _next_page(start + array.nbytes)


def _next_page(place: int) -> int:
    return -(-place // _PAGE) * _PAGE


def _write(sink: files.Sink, parts: "tuple[_Part, ...]", dimension: int) -> None:
    ids = np.concatenate([part.living_ids() for part in parts])
    order = np.argsort(ids)
    rotation = _rotation(dimension)
    codes = _empty_codes(parts, order, rotation)
    _put(sink, [rotation])
    _put(sink, [ids[order]])

    def rows() -> Iterator[Halves]:
        for block in _rows(parts, order):
            codes.add(block.astype(np.float32) @ rotation)
            yield block

    _put(sink, rows())
    sink(faiss.serialize_index(codes).tobytes())


def _put(sink: files.Sink, blocks: "Sequence[NDArray[Any]] | Iterator[Halves]") -> None:
    size = 0
    for block in blocks:
        sink(block.tobytes())
        size += block.nbytes
    sink(bytes(_next_page(size) - size))


def _rows(parts: "tuple[_Part, ...]", order: Ids) -> Iterator[Halves]:
    """The living rows of all parts, in blocks: those at `order` of the parts' living rows laid end to end."""
    living = [np.arange(len(part.ids)) if part.dead is None else np.flatnonzero(~part.dead) for part in parts]
    ends = np.cumsum([len(places) for places in living])
    for start in range(0, len(order), _BLOCK):
        wanted = order[start : start + _BLOCK]
        owner = np.searchsorted(ends, wanted, side="right")
        block = np.empty((len(wanted), parts[0].rows.shape[1]), dtype=np.float16)
        for number in np.unique(owner):
            mine = owner == number
            before = ends[number] - len(living[number])
            block[mine] = parts[number].rows[living[number][wanted[mine] - before]]
        yield block


def _rotation(dimension: int) -> Vectors:
    turned, _ = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((dimension, dimension)))
    return np.ascontiguousarray(turned, dtype=np.float32)


def _empty_codes(parts: "tuple[_Part, ...]", order: Ids, rotation: Vectors) -> Any:
    """An index whose centre is the mean of all rows: RaBitQ codes the difference from it."""
    total = np.zeros(rotation.shape[0])
    for block in _rows(parts, order):
        total += block.sum(axis=0, dtype=np.float64)
    centre = (total / len(order)).astype(np.float32) @ rotation
    return _coding(centre)


def _coding(centre: Vectors) -> Any:
    """An empty index of codes for differences from `centre`."""
    index = faiss.IndexRaBitQ(centre.size, faiss.METRIC_INNER_PRODUCT)
    index.train(centre.reshape(1, -1))  # the mean of one vector is that vector
    return index
