"""Makes the indexes equal the database, and reads them. The database is the truth; every folder here may be deleted.

Why a version and not an id: transactions commit in another order than they take ids, so "everything above the last id" misses rows.
Each transaction that adds or removes takes the collection's next version under the row's lock; whoever has followed up to version v
reads the rows of (v, now] and has missed nothing.

| index    | writer (one per collection, under a file lock)         | reader (any process)                         |
|----------|--------------------------------------------------------|----------------------------------------------|
| vectors  | a new immutable generation once the tail is long       | the generation, less removals, plus the tail |
| keywords | one folder, changed in place by durable commits        | the folder as last committed, less removals  |
"""

import fcntl
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef

from rag.backends.embedders.base import Identity
from rag.backends.errors import Damaged
from rag.backends.keywords.base import Entry, KeywordIndex
from rag.backends.vectors.base import VectorIndex
from rag.config import rag_config
from rag.domain.pooling import Statistics
from rag.domain.types import Allowed, Hit, Vectors, without
from rag.models import Chunk, Collection, IndexGeneration, Removal, Vector
from rag.models.content import ChunkQuerySet
from rag.models.index import IndexKind
from rag.services.generations import new_vectors, open_vectors, removals, tail_index, write_vectors
from rag.services.naming import beside_passages
from rag.services.steps import step
from rag.slots import embedding_identity, kept_models, keyword_index

log = structlog.get_logger(__name__)

TAIL_MOST = 5000  # vectors that readers keep beside the generation: exact search over them takes about .3 ms
TAIL_SHARE = 0.02  # of a large generation that may stand beside it: writing it anew for every 5,000 would never end
BARRED_MOST = 0.2  # share of removed ids in a generation from which it is written anew
BATCH = 2000
REMOVALS_KEPT = 2000  # versions back to which every removal is known; a reader half as far behind begins anew
OPEN_MOST = 200  # collections held open; each open keyword index costs memory maps, of which a process has 65,530
_HEADER_FORMAT = "h1"  # raise when chunking.context_header changes: such vectors are other vectors


def vector_digest(weights: str) -> str:
    """What names a set of vectors: the weights, and the way in which the embedded text is put together."""
    return f"{weights[:64]}:{_HEADER_FORMAT}"


# --- Writing


@contextmanager
def _writing(collection_id: UUID) -> Iterator[Path]:
    """The collection's index folder, this process being its only writer. The lock lies outside the folder, which may be deleted."""
    root = rag_config().index_folder
    folder = root / str(collection_id)
    folder.mkdir(parents=True, exist_ok=True)
    with (root / f"{collection_id}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def sync(collection_id: UUID) -> None:
    """Brings both indexes up to the collection's version; waits for another writer. A deleted collection loses its folder."""
    with _writing(collection_id) as folder:
        if not Collection.objects.filter(pk=collection_id).exists():
            shutil.rmtree(folder, ignore_errors=True)
            return
        _sync_keywords(collection_id, folder)
        for digest, dimension in kept_vectors().items():
            _sync_vectors(collection_id, folder, digest=digest, dimension=dimension)


def forget(collection_id: UUID) -> None:
    """Deletes what a collection that is gone left on the disk; one that is there is brought up to date."""
    sync(collection_id)
    if not Collection.objects.filter(pk=collection_id).exists():
        (rag_config().index_folder / f"{collection_id}.lock").unlink(missing_ok=True)


def sync_all() -> None:
    """Syncs every collection that some index is behind, and forgets removals that all have followed."""
    for collection_id in behind():
        sync(collection_id)
    for collection_id in list(Removal.objects.order_by().values_list("collection", flat=True).distinct()):
        forget_removals(collection_id)


def forget_removals(collection_id: UUID) -> int:
    """Deletes the notes of removals that no index needs any more and no reader that is not far behind; how many there were."""
    with _writing(collection_id):
        needed = [generation.version for generation in _serving(collection_id)]
        version = Collection.objects.filter(pk=collection_id).values_list("version", flat=True).first()
        if version is None or not needed:
            return 0
        until = min(*needed, version - REMOVALS_KEPT)
        # Of weights that nobody keeps: such an index would be written anew before it served again.
        unused = IndexGeneration.objects.filter(collection_id=collection_id, current=True, version__lt=until)
        unused.exclude(digest__in=("", *kept_vectors())).update(current=False)
        return Removal.objects.filter(collection_id=collection_id, version__lte=until).delete()[0]


def _serving(collection_id: UUID) -> list[IndexGeneration]:
    """What serves now, or could after a switch: the keywords, and the vectors of each model that is kept; empty where the
    keywords are not written yet."""
    words = _current(collection_id, IndexKind.KEYWORDS, "")
    vectors = [_current(collection_id, IndexKind.VECTORS, digest) for digest in kept_vectors()]
    return [generation for generation in (words, *vectors) if generation is not None] if words else []


def behind() -> list[UUID]:
    """The collections whose index of words has not followed the last change."""
    current = IndexGeneration.objects.filter(
        collection=OuterRef("pk"), kind=IndexKind.KEYWORDS, current=True, version__gte=OuterRef("version")
    )
    found = Collection.objects.filter(~Exists(current), version__gt=0)
    return list(found.order_by("pk").values_list("pk", flat=True))


def rebuild(collection_id: UUID) -> None:
    """Writes both indexes anew from the database, without embedding anything again."""
    IndexGeneration.objects.filter(collection_id=collection_id).update(current=False)
    sync(collection_id)
    with _writing(collection_id) as folder:
        for digest, dimension in kept_vectors().items():
            generation = _current(collection_id, IndexKind.VECTORS, digest)
            _publish_vectors(collection_id, folder, generation, digest=digest, dimension=dimension)


def current_digest() -> str:
    """What names the vectors that this installation works with now."""
    return vector_digest(embedding_identity().digest)


def kept_vectors() -> dict[str, int]:
    """What names the vectors that indexes are written of, with their dimension: those in use, and those beside them."""
    identities = [model.identity for model in kept_models()]
    return {vector_digest(identity.digest): identity.dimension for identity in identities}


def forget_vectors(collection_id: UUID, digest: str) -> int:
    """Deletes the collection's vectors of these weights, with their index; how many there were."""
    deleted = 0
    vectors = Vector.objects.filter(collection_id=collection_id, digest=digest)
    # In pieces: deleting a million rows at once would keep everybody else from writing meanwhile.
    while ids := list(vectors.values_list("pk", flat=True)[:BATCH]):
        deleted += Vector.objects.filter(pk__in=ids).delete()[0]
    with _writing(collection_id) as folder:
        IndexGeneration.objects.filter(collection_id=collection_id, digest=digest).update(current=False)
        _drop_old(collection_id, IndexKind.VECTORS, folder)
    return deleted


def _current(collection_id: UUID, kind: IndexKind, digest: str) -> IndexGeneration | None:
    return IndexGeneration.objects.filter(collection_id=collection_id, kind=kind, digest=digest, current=True).first()


def _version(collection_id: UUID) -> int:
    return Collection.objects.values_list("version", flat=True).get(pk=collection_id)


def _sync_keywords(collection_id: UUID, folder: Path) -> None:
    generation = _current(collection_id, IndexKind.KEYWORDS, "")
    if generation is not None and _only_vectors_came(generation):
        return
    index: KeywordIndex | None = None
    if generation is not None:
        try:
            index = keyword_index().open(folder / generation.folder)
        except Damaged:
            _quarantine(generation)
            generation = None
    if generation is None or index is None:
        name = f"keywords-{uuid.uuid4().hex}"
        index = keyword_index().create(folder / name)
        generation = _replace(collection_id, IndexKind.KEYWORDS, folder=name, version=0)
    while (target := _version(collection_id)) > generation.version:
        since = {"collection_id": collection_id, "version__gt": generation.version, "version__lte": target}
        removed = list(Removal.objects.filter(**since).values_list("chunk_id", flat=True))
        rows = Chunk.objects.for_maintenance().filter(**since).order_by("id")
        step("sync:before-keywords")
        if removed:
            index.change(add=(), remove=removed)
        for entries in _entries(rows):
            index.change(add=entries, remove=())
        step("sync:keywords-written")
        index.refresh()
        generation.version, generation.count = target, len(index)
        generation.save(update_fields=["version", "count"])
    _drop_old(collection_id, IndexKind.KEYWORDS, folder)


def _only_vectors_came(generation: IndexGeneration) -> bool:
    """Whether nothing that the index of words holds has changed, which it then notes: most syncs during an import come to this."""
    target = _version(generation.collection_id)
    span = {
        "collection_id": generation.collection_id,
        "version__gt": generation.version,
        "version__lte": target,
    }
    if Chunk.objects.for_maintenance().filter(**span).exists() or Removal.objects.filter(**span).exists():
        return False
    IndexGeneration.objects.filter(pk=generation.pk).update(version=target)
    return True


def _entries(chunks: ChunkQuerySet) -> Iterator[list[Entry]]:
    """What is indexed of the chunks, a bounded number at a time: the text of a whole collection may not fit into memory."""
    columns = ("id", "text", "heading", "extraction__language", "extraction_id", "document__title")
    rows = chunks.values_list(*columns).iterator(chunk_size=BATCH)
    while batch := list(islice(rows, BATCH)):
        beside = beside_passages({extraction: title for *_, extraction, title in batch})
        yield [
            Entry(chunk_id=chunk_id, text=text, context=" ".join([beside[extraction], *heading]), language=language)
            for chunk_id, text, heading, language, extraction, _title in batch
        ]


def _sync_vectors(collection_id: UUID, folder: Path, *, digest: str, dimension: int) -> None:
    generation = _current(collection_id, IndexKind.VECTORS, digest)
    since = {"collection_id": collection_id, "version__gt": generation.version if generation else 0}
    tail = Vector.objects.filter(**since, digest=digest).count()
    barred = Removal.objects.filter(**since).count() if generation else 0
    count = generation.count if generation else 0
    if tail >= max(TAIL_MOST, TAIL_SHARE * count) or (generation and barred > BARRED_MOST * max(count, 1)):
        _publish_vectors(collection_id, folder, generation, digest=digest, dimension=dimension)


def _publish_vectors(
    collection_id: UUID, folder: Path, generation: IndexGeneration | None, *, digest: str, dimension: int
) -> None:
    base: VectorIndex | None = None
    if generation is not None:
        try:
            base = open_vectors(folder / generation.folder, dimension=generation.dimension, sha256=generation.sha256)
        except Damaged:
            _quarantine(generation)
    since, target = generation.version if generation and base is not None else 0, _version(collection_id)
    index = write_vectors(collection_id, folder, base, digest=digest, dimension=dimension, since=since, until=target)
    name = f"vectors-{uuid.uuid4().hex}"
    step("sync:before-publish")
    sha256 = index.publish(folder / name)
    step("sync:published")
    _replace(
        collection_id,
        IndexKind.VECTORS,
        folder=name,
        version=target,
        digest=digest,
        dimension=dimension,
        sha256=sha256,
        count=len(index),
    )
    step("sync:pointer-moved")
    _drop_old(collection_id, IndexKind.VECTORS, folder)


def _replace(collection_id: UUID, kind: IndexKind, *, folder: str, version: int, **fields: object) -> IndexGeneration:
    """Moves the pointer to a new folder that is complete on disk."""
    digest = fields.get("digest", "")
    with transaction.atomic():
        IndexGeneration.objects.filter(collection_id=collection_id, kind=kind, digest=digest, current=True).update(
            current=False
        )
        return IndexGeneration.objects.create(
            collection_id=collection_id, kind=kind, folder=folder, version=version, **fields
        )


def _drop_old(collection_id: UUID, kind: IndexKind, folder: Path) -> None:
    """Deletes folders that no pointer names, half-written ones of a killed process too. Readers hold what they have open."""
    IndexGeneration.objects.filter(collection_id=collection_id, kind=kind, current=False).delete()
    named = set(IndexGeneration.objects.filter(collection_id=collection_id, kind=kind).values_list("folder", flat=True))
    for path in folder.glob(f"*{kind.value}-*"):
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)


def _quarantine(generation: IndexGeneration) -> None:
    """Sets a damaged index aside for whoever wants to know why, and has it written anew."""
    root = rag_config().index_folder
    source = root / str(generation.collection_id) / generation.folder
    log.warning("index.damaged", collection=str(generation.collection_id), kind=generation.kind)
    IndexGeneration.objects.filter(pk=generation.pk).update(current=False)
    if source.exists():
        target = root.parent / "quarantine" / generation.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except OSError as error:  # another process was quicker
            log.info("index.quarantined_elsewhere", error=error.strerror)


# --- Reading


@dataclass
class Reader:
    """One collection's indexes as this process has them open; follows the collection's version at each search.

    It serves the vectors of one model for as long as it lives: after a switch another takes its place, so that no question meets
    the vectors of a model that did not embed it.
    """

    collection_id: UUID
    model: Identity
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _version: int = -1
    _generation: int | None = None
    _base: VectorIndex | None = None
    _barred: frozenset[int] = frozenset()
    _tail: VectorIndex | None = None
    _keywords: KeywordIndex | None = None
    _keywords_seen: tuple[int, int] | None = None  # which words are open, and their version
    _keywords_barred: frozenset[int] = frozenset()

    def dense(self, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
        """The nearest chunks, best first: exact, over the generation and the tail, their cosines on the common scale of all models.
        Ids only: who may read them is checked later."""
        with self._lock:
            base, tail, barred = self._base, self._tail, self._barred
        hits: list[Hit] = []
        if base is not None:
            # A new set of ids would be looked up anew: the same one is remembered.
            hits += base.search(vector, limit=limit, allowed=without(allowed, barred) if barred else allowed)
        if tail is not None:
            hits += tail.search(vector, limit=limit, allowed=allowed)
        best = sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))[:limit]
        return [Hit(hit.chunk_id, self.model.likeness(hit.score)) for hit in best]

    def keywords(self, question: str, *, limit: int, allowed: Allowed, pool: Statistics | None = None) -> list[Hit]:
        """The best chunks by BM25, best first; with the statistics of several collections nearly as these would give it."""
        with self._lock:
            index, barred = self._keywords, self._keywords_barred
        if index is None:
            return []
        return index.search(question, limit=limit, allowed=without(allowed, barred) if barred else allowed, pool=pool)

    def keyword_scores(self, question: str, *, ids: frozenset[int], pool: Statistics) -> list[Hit]:
        """Those of `ids` that hold a word of the question, by BM25 as one collection with the statistics `pool` would give it."""
        with self._lock:
            index, barred = self._keywords, self._keywords_barred
        return index.scores(question, ids=ids - barred, pool=pool) if index is not None else []

    def languages(self) -> frozenset[str]:
        """The languages by whose rules this collection's words are read."""
        with self._lock:
            index = self._keywords
        return index.languages() if index is not None else frozenset()

    def statistics(self, question: str, *, languages: frozenset[str]) -> Statistics:
        """What this collection adds to a pool: how rare the question's words are in it, asked as in all of `languages`."""
        with self._lock:
            index = self._keywords
        return index.statistics(question, languages=languages) if index is not None else Statistics(0, {}, {})

    def quoting(self, question: str, *, allowed: Allowed) -> frozenset[int]:
        """The chunks that hold everything that the question puts in double quotes."""
        with self._lock:
            index, barred = self._keywords, self._keywords_barred
        return index.quoting(question, allowed=without(allowed, barred)) if index is not None else frozenset()

    def refresh(self) -> None:
        """Sees everything that was committed before this call."""
        self.follow(_standings([self.collection_id])[self.collection_id])

    def follow(self, standing: "_Standing") -> None:
        """Sees everything that was committed before the standing was read. Costs nothing where nothing changed."""
        with self._lock:
            if standing.version is None:
                self._base = self._tail = self._keywords = self._keywords_seen = None
                self._version = -1
                return
            # Another thread may have read later than this one, and come here first.
            if standing.version < self._version:
                return
            self._follow_keywords(standing)
            if standing.version != self._version or self._lacks_generation():
                self._follow_vectors(standing.version)
                self._version = standing.version

    def _follow_vectors(self, target: int) -> None:
        digest = vector_digest(self.model.digest)
        generation = _current(self.collection_id, IndexKind.VECTORS, digest)
        found = generation.pk if generation else None
        since = self._version
        far_behind = target - self._version > REMOVALS_KEPT // 2  # what was removed meanwhile may be forgotten
        if found != self._generation or self._tail is None or far_behind:
            self._base, self._barred = self._open_base(generation), frozenset()
            self._tail = tail_index(self.model.dimension)
            self._generation = found if self._base is not None else None
            since = generation.version if generation is not None and self._base is not None else 0
        gone = removals(self.collection_id, since=since, until=target)
        self._tail.remove(gone)
        new = new_vectors(self.collection_id, digest=digest, dimension=self.model.dimension, since=since, until=target)
        for ids, rows in new:
            self._tail.add(ids, rows)
        if gone:
            self._barred |= frozenset(gone)

    def _lacks_generation(self) -> bool:
        """Whether everything is in the tail for want of a generation, as after damage: a new one comes without a new version."""
        return self._generation is None and self._tail is not None and len(self._tail) >= TAIL_MOST

    def _open_base(self, generation: IndexGeneration | None) -> VectorIndex | None:
        if generation is None:
            return None
        folder = rag_config().index_folder / str(self.collection_id) / generation.folder
        try:
            return open_vectors(folder, dimension=generation.dimension, sha256=generation.sha256)
        except Damaged:
            _quarantine(generation)
            _ask_for_sync(self.collection_id)
            return None  # the database's own vectors serve until the index is written anew

    def _follow_keywords(self, standing: "_Standing") -> None:
        written, seen = standing.words, self._keywords_seen
        if written is None:
            self._keywords = self._keywords_seen = None
            return
        if seen is not None and (written.pk, written.version) < seen:
            return
        if seen is None or written.pk != seen[0]:
            folder = rag_config().index_folder / str(self.collection_id) / written.folder
            try:
                self._keywords = keyword_index().open(folder)
            except Damaged:
                _quarantine(written)
                _ask_for_sync(self.collection_id)
                self._keywords = self._keywords_seen = None
                return
        elif self._keywords is not None and written.version != seen[1]:
            self._keywords.refresh()
        self._keywords_seen = (written.pk, written.version)
        # What was removed after the words were written is taken out here.
        span = {"since": written.version, "until": standing.version or 0}
        behind = written.version != standing.version
        self._keywords_barred = frozenset(removals(self.collection_id, **span)) if behind else frozenset()


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the database says of a collection's indexes: its version, None once it is gone, and the words that were written last."""

    version: int | None
    words: IndexGeneration | None = None


def _standings(collections: Iterable[UUID]) -> Mapping[UUID, _Standing]:
    """How the indexes of each collection stand, in one query for all of them; in two where one has no words yet."""
    wanted = list(collections)
    rows = IndexGeneration.objects.filter(collection__in=wanted, kind=IndexKind.KEYWORDS, digest="", current=True)
    written = rows.order_by().annotate(target=F("collection__version"))
    found = {row.collection_id: _Standing(row.target, row) for row in written}
    if missing := [each for each in wanted if each not in found]:
        versions = dict(Collection.objects.filter(pk__in=missing).order_by().values_list("pk", "version"))
        found |= {each: _Standing(versions.get(each)) for each in missing}
    return found


def _ask_for_sync(collection_id: UUID) -> None:
    from rag import tasks

    tasks.sync.delay(str(collection_id))


class _Readers:
    """The readers of this process, the least recently used closed first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[UUID, Reader] = OrderedDict()

    def get(self, collection_id: UUID, model: Identity) -> Reader:
        with self._lock:
            reader = self._open.pop(collection_id, None)
            if reader is None or reader.model != model:  # who searches with the other one keeps it until done
                reader = Reader(collection_id, model)
            self._open[collection_id] = reader
            while len(self._open) > OPEN_MOST:
                self._open.popitem(last=False)
        return reader

    def clear(self) -> None:
        with self._lock:
            self._open.clear()


_readers = _Readers()


def reader(collection_id: UUID, model: Identity | None = None) -> Reader:
    """The collection's indexes, up to date with everything committed before this call, with the vectors of `model`.

    Whoever asks with a vector names the model that it came from; by default it is the one in use.
    """
    return readers([collection_id], model or embedding_identity())[collection_id]


def readers(collections: Iterable[UUID], model: Identity) -> Mapping[UUID, Reader]:
    """The indexes of each collection, as `reader` gives them. As many queries for a hundred as for one where nothing changed."""
    wanted = list(collections)
    found = {each: _readers.get(each, model) for each in wanted}
    for each, standing in _standings(wanted).items():
        found[each].follow(standing)
    return found


def close_readers() -> None:
    """Forgets every open index; for tests and after a restore."""
    _readers.clear()
