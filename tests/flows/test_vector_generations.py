"""A collection's vectors on disk, of each kind of index: what is removed is gone at once, what is damaged is written anew, a full
disk or a death leaves what served before, and the kind follows the size."""

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from django.conf import LazySettings
from django.db import connection, transaction

from core.models import User
from rag.backends import files
from rag.backends.vectors import rabitq
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.faiss import FaissIndex
from rag.backends.vectors.half import HalfIndex
from rag.backends.vectors.rabitq import RabitqIndex
from rag.config import rag_config
from rag.domain.errors import Retryable
from rag.domain.types import Everything, Vectors
from rag.models import Chunk, Collection, Document, IndexGeneration, Vector
from rag.models.index import IndexKind
from rag.services import generations, indexing, library
from rag.slots import embedding_identity

pytestmark = pytest.mark.django_db
AddText = Callable[..., Document]
KINDS: list[type[VectorIndex]] = [FaissIndex, HalfIndex, RabitqIndex]


def path_of(kind: type[VectorIndex]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> type[VectorIndex]:
    """Every generation is of this kind, and what makes it quick in a large collection is at work in a small one."""
    found: type[VectorIndex] = request.param
    use(settings, (0, FaissIndex), (1, found))
    monkeypatch.setattr(rabitq, "EXACT_MOST", 0)
    return found


def use(settings: LazySettings, *sizes: tuple[int, type[VectorIndex]]) -> None:
    settings.RAG = settings.RAG | {"VECTOR_INDEXES": tuple((least, path_of(each)) for least, each in sizes)}
    rag_config.cache_clear()


class Shelf:
    """A collection whose passages and vectors are put and taken without reading any file."""

    def __init__(self, collection: Collection, pattern: Chunk) -> None:
        self.collection = collection
        self.pattern = pattern
        self.dimension = embedding_identity().dimension
        self.known: dict[int, Vectors] = {}
        self.ordinal = 1000
        Vector.objects.filter(collection=collection).delete()

    def put(self, count: int) -> list[int]:
        rows = np.random.default_rng(self.ordinal).standard_normal((count, self.dimension)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        with transaction.atomic():
            version = library.next_version(self.collection.pk)
            chunks = Chunk.objects.bulk_create(self._chunk(version, self.ordinal + place) for place in range(count))
            digest = indexing.current_digest()
            Vector.objects.bulk_create(
                Vector(chunk=chunk, collection=self.collection, version=version, digest=digest, data=row.tobytes())
                for chunk, row in zip(chunks, rows, strict=True)
            )
        self.ordinal += count
        self.known |= {chunk.pk: row for chunk, row in zip(chunks, rows, strict=True)}
        return [chunk.pk for chunk in chunks]

    def take(self, ids: Iterable[int]) -> None:
        gone = list(ids)
        with transaction.atomic():
            library.remove_chunks(self.collection.pk, Chunk.objects.for_maintenance().filter(pk__in=gone))
        for number in gone:
            del self.known[number]

    def publish(self) -> None:
        """Writes a new generation, however little has changed."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(indexing, "TAIL_MOST", 0)
            patched.setattr(indexing, "TAIL_SHARE", 0)
            indexing.sync(self.collection.pk)

    def opened(self) -> VectorIndex:
        return generations.open_vectors(self.folder, dimension=self.dimension, sha256=self.generation.sha256)

    def found(self, question: Vectors, limit: int = 10) -> list[int]:
        hits = indexing.reader(self.collection.pk).dense(question, limit=limit, allowed=Everything())
        return [hit.chunk_id for hit in hits]

    def nearest(self, question: Vectors, limit: int = 10) -> set[int]:
        """What numpy finds among everything that is here."""
        ids = list(self.known)
        scores = np.stack([self.known[number] for number in ids]) @ question
        return {ids[place] for place in np.argsort(-scores)[:limit]}

    def agrees(self) -> bool:
        questions = np.random.default_rng(5).standard_normal((5, self.dimension)).astype(np.float32)
        return all(set(self.found(question)) == self.nearest(question) for question in questions)

    @property
    def generation(self) -> IndexGeneration:
        return IndexGeneration.objects.get(collection=self.collection, kind=IndexKind.VECTORS, current=True)

    @property
    def folder(self) -> Path:
        return rag_config().index_folder / str(self.collection.pk) / self.generation.folder

    def _chunk(self, version: int, ordinal: int) -> Chunk:
        same = {
            name: getattr(self.pattern, name)
            for name in (
                "extraction_id",
                "document_id",
                "collection_id",
                "page_from",
                "page_to",
                "start",
                "end",
                "text",
            )
        }
        return Chunk(**same, version=version, ordinal=ordinal)


@pytest.fixture
def shelf(alice: User, policies: Collection, add_text: AddText) -> Shelf:
    document = add_text(alice, policies, "ledger.txt", "The ledger is kept in the cellar.")
    return Shelf(policies, Chunk.objects.for_maintenance().get(document=document))


def test_a_generation_and_its_tail_find_what_numpy_finds(shelf: Shelf, kind: type[VectorIndex]) -> None:
    first = shelf.put(300)
    shelf.publish()
    assert type(shelf.opened()) is kind
    shelf.put(50)
    shelf.take(first[:100])
    assert shelf.agrees()
    shelf.publish()
    assert shelf.generation.count == 250
    assert shelf.agrees()


def test_what_was_removed_is_not_found_in_the_next_search(shelf: Shelf, kind: type[VectorIndex]) -> None:
    ids = shelf.put(200)
    shelf.publish()
    for number in random.Random(1).sample(ids, 10):
        question = shelf.known[number]
        assert shelf.found(question)[0] == number
        shelf.take([number])
        assert number not in shelf.found(question, limit=300)
    assert shelf.agrees()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flipped, truncated, emptied, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("which", ["the index", files.META])
def test_a_damaged_generation_is_set_aside_and_written_anew(
    shelf: Shelf,
    kind: type[VectorIndex],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    which: str,
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 100)
    shelf.put(120)
    shelf.publish()
    folder = shelf.folder
    (path,) = (path for path in folder.iterdir() if (path.name == files.META) == (which == files.META))
    damage(path)
    indexing.close_readers()
    assert shelf.agrees()  # from the database
    assert not folder.exists()
    assert (rag_config().data / "quarantine" / folder.name).is_dir()
    shelf.publish()
    assert shelf.folder != folder
    assert indexing.reader(shelf.collection.pk)._base is not None
    assert shelf.agrees()


def test_an_older_generation_in_the_place_of_another_is_damage(shelf: Shelf, kind: type[VectorIndex]) -> None:
    """Such as a folder that was put back from a backup: it is whole, and holds what was removed since."""
    gone = shelf.put(60)
    shelf.publish()
    before = shelf.folder
    kept = before.with_name("kept")
    before.rename(kept)
    before.mkdir()
    shelf.take(gone[:30])
    shelf.publish()
    now = shelf.folder
    for path in now.iterdir():
        path.unlink()
    for path in kept.iterdir():
        path.rename(now / path.name)
    indexing.close_readers()
    assert shelf.agrees()
    assert (rag_config().data / "quarantine" / now.name).is_dir()


def test_a_missing_folder_is_written_anew(shelf: Shelf, kind: type[VectorIndex]) -> None:
    shelf.put(60)
    shelf.publish()
    folder = shelf.folder
    folder.rename(folder.with_name("elsewhere"))
    indexing.close_readers()
    assert shelf.agrees()
    shelf.publish()
    assert shelf.folder.is_dir()
    assert shelf.agrees()


def test_on_a_full_disk_the_last_generation_serves_on(
    shelf: Shelf, kind: type[VectorIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = shelf.put(100)
    shelf.publish()
    last = shelf.generation
    shelf.put(40)
    shelf.take(ids[:10])
    real = files.seal

    def full(folder: Path, meta: dict[str, object], name: str = files.META) -> None:
        if name == files.META:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(folder, meta, name)

    with monkeypatch.context() as patched, pytest.raises(Retryable, match="disk is full"):
        patched.setattr(files, "seal", full)
        shelf.publish()
    assert shelf.generation == last
    assert shelf.agrees()
    names = {path.name for path in shelf.folder.parent.iterdir() if "vectors" in path.name}
    assert names == {last.folder}
    shelf.publish()
    assert shelf.generation != last
    assert shelf.agrees()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["sync:before-publish", "sync:published", "sync:pointer-moved"])
def test_a_writer_that_dies_between_two_steps_is_followed_by_one_that_ends_the_work(
    shelf: Shelf, kind: type[VectorIndex], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    ids = shelf.put(80)
    shelf.publish()
    shelf.put(30)
    shelf.take(ids[:5])

    def die(name: str) -> None:
        if name == moment:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(indexing, "step", die)
        shelf.publish()
    indexing.close_readers()
    assert shelf.agrees()
    shelf.put(1)
    shelf.publish()
    assert shelf.agrees()
    assert shelf.generation.count == len(shelf.known)
    names = {path.name for path in shelf.folder.parent.iterdir() if "vectors" in path.name}
    assert names == {shelf.generation.folder}


def test_the_pointer_moves_only_to_what_is_durable(
    shelf: Shelf, kind: type[VectorIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename, replaced = os.fsync, Path.rename, indexing._replace

    def noted_fsync(handle: int) -> None:
        order.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def noted_rename(path: Path, target: Path) -> Path:
        order.append(f"rename {target.name}")
        return rename(path, target)

    def noted_pointer(*args: object, **fields: object) -> IndexGeneration:
        order.append(f"point to {fields['folder']}")
        return replaced(*args, **fields)  # type: ignore[arg-type]

    shelf.put(20)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(indexing, "_replace", noted_pointer)
    shelf.publish()
    name = shelf.generation.folder
    (index,) = (path.name for path in shelf.folder.iterdir() if path.name != files.META)
    folder = shelf.folder.parent.name
    wanted = [f"sync {index}", f"rename {files.META}", f"rename {name}", f"sync {folder}", f"point to {name}"]
    places = [max(i for i, each in enumerate(order) if each == step) for step in wanted]
    places[0] = order.index(wanted[0])
    assert places == sorted(places)


def test_the_kind_follows_the_size_and_does_not_swing(shelf: Shelf, settings: LazySettings) -> None:
    use(settings, (0, FaissIndex), (50, HalfIndex), (100, RabitqIndex))

    def kind_now() -> type[VectorIndex]:
        shelf.publish()
        assert shelf.agrees()
        return type(shelf.opened())

    ids = shelf.put(49)
    assert kind_now() is FaissIndex
    ids += shelf.put(1)
    assert kind_now() is HalfIndex
    ids += shelf.put(60)
    assert kind_now() is RabitqIndex
    shelf.take(ids[:25])  # 85 are left: too few to begin with codes, enough to stay with them
    assert kind_now() is RabitqIndex
    shelf.take(ids[25:35])
    assert kind_now() is HalfIndex
    shelf.take(ids[35:])
    shelf.put(3)
    assert kind_now() is FaissIndex


def test_a_large_collection_is_written_in_pieces_that_leave_nothing_behind(
    shelf: Shelf, kind: type[VectorIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "BATCH", 20)
    monkeypatch.setattr(generations, "SET_DOWN", 60)
    shelf.put(250)
    shelf.publish()
    assert shelf.generation.count == 250
    assert shelf.agrees()
    names = {path.name for path in shelf.folder.parent.iterdir() if "vectors" in path.name}
    assert names == {shelf.generation.folder}


@pytest.mark.django_db(transaction=True)
def test_searches_beside_a_writer_never_find_what_was_removed_before(shelf: Shelf, kind: type[VectorIndex]) -> None:
    steady = shelf.put(150)
    shelf.publish()
    gone: set[int] = set()
    ever = set(shelf.known)
    faults: list[object] = []
    searches = [0, 0, 0]
    stop = threading.Event()

    def search(number: int) -> None:
        chance = np.random.default_rng(number)
        try:
            while not stop.is_set():
                barred = frozenset(gone)  # removed by transactions that ended before this search
                own = steady[int(chance.integers(0, len(steady)))]
                found = shelf.found(shelf.known[own], limit=40)
                if found[0] != own or barred.intersection(found) or not ever.issuperset(found):
                    faults.append((own, found[0], barred.intersection(found), set(found) - ever))
                searches[number] += 1
        except BaseException as error:
            faults.append(error)
        finally:
            connection.close()

    searchers = [threading.Thread(target=search, args=(number,)) for number in range(len(searches))]
    for searcher in searchers:
        searcher.start()
    until, rounds, moving = time.monotonic() + 3, 0, list[int]()
    # Rounds count as well as seconds: on a busy machine three seconds may be one round.
    while (time.monotonic() < until or rounds < 6 or min(searches) < 20) and not faults:
        with transaction.atomic():
            new = shelf.put(30)
            ever.update(new)
        shelf.take(moving)
        gone.update(moving)
        moving = new
        if rounds % 2:
            shelf.publish()
        rounds += 1
    stop.set()
    for searcher in searchers:
        searcher.join()
    assert faults == []
    assert shelf.agrees()
