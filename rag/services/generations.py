"""Writes and opens the generations of a collection's vectors. Which kind of index holds them goes by their number."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np

from rag.backends import files
from rag.backends.errors import Damaged
from rag.backends.vectors.base import VectorIndex
from rag.domain.types import Vectors
from rag.models import Removal, Vector
from rag.slots import vector_indexes

BATCH = 2000
SET_DOWN = 100_000  # vectors that a writer keeps in memory before it writes them down: 154 MB with 384 numbers each
# A collection whose size goes up and down about a bound is not written from the database again and again.
SLACK = 0.8


def tail_index(dimension: int) -> VectorIndex:
    """An empty index in memory, exact, for what came after a generation."""
    (_, kind), *_ = vector_indexes()
    return kind.create(dimension=dimension)


def kind_for(count: int, *, now: type[VectorIndex] | None = None) -> type[VectorIndex]:
    """The kind of index for so many vectors; `now` stays until they are clearly too few for it."""
    kinds = vector_indexes()
    found = [kind for least, kind in kinds if count >= least * (SLACK if kind is now else 1)]
    return found[-1]


def open_vectors(folder: Path, *, dimension: int, sha256: str) -> VectorIndex:
    """The index that was published into `folder`, of whichever kind, with this sum. Raises `Damaged` when it is not whole, is
    another than that, or of no kind that is in use."""
    meta = files.unseal(folder)
    if meta.get("sha256") != sha256:
        raise Damaged("the folder holds another index than the one that was published into it")
    written = meta.get("kind")
    for _, kind in vector_indexes():
        if kind.kind == written:
            return kind.open(folder, dimension=dimension)
    raise Damaged(f"the folder holds an index of another kind ({written})")


def write_vectors(
    collection_id: UUID, folder: Path, base: VectorIndex | None, *, digest: str, dimension: int, since: int, until: int
) -> VectorIndex:
    """An index of the collection's vectors of version `until`, made of `base`, which has those of `since`, where that is of the
    kind for their number, and of the database otherwise. It may be changed and published."""
    count = Vector.objects.filter(collection_id=collection_id, digest=digest, version__lte=until).count()
    kind = kind_for(count, now=type(base) if base is not None else None)
    if base is None or type(base) is not kind:
        base, since = kind.create(dimension=dimension), 0
    base.remove(removals(collection_id, since=since, until=until))
    waiting = 0
    for ids, rows in new_vectors(collection_id, digest=digest, dimension=dimension, since=since, until=until):
        base.add(ids, rows)
        waiting += len(ids)
        if waiting >= SET_DOWN:
            base, waiting = _set_down(base, folder), 0
    return base


def removals(collection_id: UUID, *, since: int, until: int) -> list[int]:
    """The ids that were removed in the versions (since, until]."""
    span = {"collection_id": collection_id, "version__gt": since, "version__lte": until}
    return list(Removal.objects.filter(**span).values_list("chunk_id", flat=True))


def new_vectors(
    collection_id: UUID, *, digest: str, dimension: int, since: int, until: int
) -> Iterator[tuple[list[int], Vectors]]:
    """The vectors that came in the versions (since, until], by ascending id, `BATCH` at a time."""
    span = {"collection_id": collection_id, "version__gt": since, "version__lte": until}
    rows = Vector.objects.filter(**span, digest=digest).order_by("chunk_id").values_list("chunk_id", "data")
    ids: list[int] = []
    data: list[bytes] = []
    for chunk_id, row in rows.iterator(chunk_size=BATCH):
        ids.append(chunk_id)
        data.append(bytes(row))
        if len(ids) == BATCH:
            yield ids, _matrix(data, dimension)
            ids, data = [], []
    if ids:
        yield ids, _matrix(data, dimension)


def _matrix(rows: list[bytes], dimension: int) -> Vectors:
    return np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), dimension).astype(np.float32, copy=False)


def _set_down(index: VectorIndex, folder: Path) -> VectorIndex:
    """The same index, mapped from a file without a name, so that it takes no memory."""
    place = folder / f"vectors-{uuid.uuid4().hex}"
    try:
        index.publish(place)
        return type(index).open(place, dimension=index.dimension)
    finally:
        shutil.rmtree(place, ignore_errors=True)
