"""Gives passages their vectors, batch by batch; a killed run goes on after its last batch.

Why several runs at once: a document of three passages costs as many transactions and messages as one of a thousand. Small runs that
wait in the same queue are taken along, up to a few batches' worth; each keeps its own lease, and is ready on its own.
Why a thread that computes ahead: the processor would rest while a batch is stored.
Why the words' hash beside a vector: the same words under the same title and heading are embedded once in a collection, whichever
document they stand in, and a revision embeds only what changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone
from kombu.exceptions import OperationalError

from rag import tasks
from rag.backends.embedders.base import Embedder
from rag.domain import chunking
from rag.domain.types import Vectors
from rag.models import Chunk, EmbeddingModel, Extraction, IngestRun, Vector
from rag.models.content import ChunkQuerySet
from rag.models.embedding_model import EmbeddingState
from rag.models.index import RunState
from rag.services import indexing
from rag.services.attempts import attempt
from rag.services.following import follow
from rag.services.leases import Lease, LeaseLost, lease_end
from rag.services.library import next_version
from rag.services.queues import Turn, TurnOver, Work, send, send_model
from rag.services.steps import step
from rag.slots import passage_embedder, token_counter

EMBED_BATCH = 128  # passages between two commits: two to six seconds of work that a kill can cost
COMPANIONS = 64  # runs that are taken along at most
_SMALL = EMBED_BATCH // 2  # passages of a run that is taken along
_TOGETHER = 4 * EMBED_BATCH  # passages of all that are taken along
_LOOKED_UP = 400  # hashes in one SELECT

_Row = TypeVar("_Row")


def ask_for(revision_id: int, *, passages: int, bulk: bool) -> None:
    """Has the revision embedded once the transaction commits. A small one needs no message of its own while others wait."""
    transaction.on_commit(partial(_ask_for, revision_id, passages, bulk))


def _ask_for(revision_id: int, passages: int, bulk: bool) -> None:  # noqa: FBT001  (called from one place)
    # Whoever takes a message that is waiting now will see this run's row, and takes it along.
    if passages > _SMALL or not _waits(Work.EMBEDDING.queue(bulk=bulk)):
        send(Work.EMBEDDING, revision_id, bulk=bulk)


def embed(revision_id: int) -> None:
    """Embeds what the revision still lacks and, with it, small ones that wait. Returns quietly where nothing waits."""
    step("embed:before-claim")
    run = _run(revision_id)
    if run is None:
        return
    began = {} if run.done else {"started": timezone.now()}
    # One whose lease ran out is the sweeper's: it counts the death before anybody tries again.
    lease = Lease.take(IngestRun, run.pk, Q(state=RunState.EMBEDDING, lease_until__isnull=True), **began)
    if lease is None:
        return
    collections = {run.revision.document.collection_id}
    with attempt(lease):
        embedder = passage_embedder()  # the first time takes seconds: nobody else is kept waiting for it
        companions = _companions(run)
        collections.update(member.collection_id for member in companions)
        step("embed:claimed")
        try:
            _Group([_member(run, lease), *companions], embedder, Turn(Work.EMBEDDING, bulk=run.bulk)).embed()
        except TurnOver:
            with transaction.atomic():
                lease.release(queued=timezone.now())
                send(Work.EMBEDDING, run.revision_id, bulk=run.bulk)
        finally:
            _give_back(companions)
        step("embed:ready")
    for collection_id in sorted(collections):
        follow(collection_id, Work.EMBEDDING, bulk=run.bulk)
    _send_for_models_beside()
    following = _small(bulk=run.bulk).values_list("revision", flat=True).first()
    if following is not None and not _waits(Work.EMBEDDING.queue(bulk=run.bulk)):
        send(Work.EMBEDDING, following, bulk=run.bulk)


def _send_for_models_beside() -> None:
    """Has the models that stand beside the one in use embed what is ready now; the sweeper would, seconds later."""
    beside = EmbeddingModel.objects.filter(state=EmbeddingState.EMBEDDING, in_use=False, lease_until__isnull=True)
    waiting = list(beside.values_list("pk", flat=True))
    if waiting and not _waits(Work.EMBEDDING.queue(bulk=True)):
        for model_id in waiting:
            send_model(model_id)


def _waits(queue: str) -> bool:
    """Whether a message waits in the queue; where Redis does not answer none does."""
    try:
        return tasks.waiting(queue) > 0
    except OperationalError:
        return False


def _run(revision_id: int) -> IngestRun | None:
    """The revision's run if it waits to be embedded, otherwise a small one that does: it may have no message of its own."""
    runs = IngestRun.objects.filter(state=RunState.EMBEDDING, revision__document__deleted__isnull=True)
    mine = runs.filter(revision=revision_id).select_related("revision__document").first()
    if mine is not None:
        return mine
    return _small(bulk=False).first() or _small(bulk=True).first()


def carry_over(extraction: Extraction, old: ChunkQuerySet) -> int:
    """Gives passages of `extraction` the vectors that its collection has of the same words, and says how many got one.

    For the transaction in which the passages `old` are about to be removed with their vectors; without any there is nothing
    that the embedder would not find by itself.
    """
    if not old.exists():
        return 0
    fresh = Chunk.objects.for_maintenance().filter(extraction=extraction)
    return sum(_carry_over(fresh, digest) for digest in indexing.kept_vectors())


def _carry_over(fresh: ChunkQuerySet, digest: str) -> int:
    carried = 0
    for batch in _sliced(passages_of(fresh.order_by("pk")), _LOOKED_UP):
        known = known_vectors(batch[0].collection_id, digest, {passage.words for passage in batch})
        found = [passage for passage in batch if passage.words in known]
        Vector.objects.bulk_create(
            Vector(
                chunk_id=passage.chunk_id,
                collection_id=passage.collection_id,
                version=passage.version,
                digest=digest,
                words=passage.words,
                data=known[passage.words],
            )
            for passage in found
        )
        carried += len(found)
    return carried


# --- Who is embedded together


@dataclass
class _Member:
    """A run whose lease is held, and what of it is not stored yet."""

    pk: int
    lease: Lease
    collection_id: UUID
    revision_id: int
    total: int
    missing: set[int] = field(default_factory=set)  # ids of chunks


def _member(run: IngestRun, lease: Lease) -> _Member:
    return _Member(run.pk, lease, run.revision.document.collection_id, run.revision_id, run.total)


def _small(*, bulk: bool) -> QuerySet[IngestRun]:
    """Runs that wait to be embedded and may be taken along, in their order."""
    runs = IngestRun.objects.filter(
        state=RunState.EMBEDDING,
        lease_until__isnull=True,
        bulk=bulk,
        failures=0,
        total__lte=_SMALL,
        queued__lte=timezone.now(),
        revision__document__deleted__isnull=True,
    )
    return runs.select_related("revision__document").order_by("queued", "pk")


def _companions(run: IngestRun) -> list[_Member]:
    """Small runs that wait in the same queue, leased for long enough: each stored batch renews them.

    One that failed or died before comes alone, so that it takes nobody else down.
    """
    if run.failures or run.total > _SMALL:
        return []
    with transaction.atomic():
        waiting = _small(bulk=run.bulk).exclude(pk=run.pk).select_for_update(of=("self",), skip_locked=True)
        chosen: list[IngestRun] = []
        room = _TOGETHER - run.total
        for other in waiting[:COMPANIONS]:
            if (room := room - other.total) < 0:
                break
            chosen.append(other)
        IngestRun.objects.filter(pk__in=[other.pk for other in chosen]).update(
            attempt=F("attempt") + 1, lease_until=lease_end(), started=timezone.now()
        )
    return [_member(other, Lease(IngestRun, other.pk, other.attempt + 1)) for other in chosen]


def _give_back(companions: Iterable[_Member]) -> None:
    """Lets those that are not done wait again; the sweeper queues them."""
    for member in companions:
        try:
            member.lease.release(queued=timezone.now())
        except LeaseLost:
            continue  # it is ready, which is the rule, or somebody has stopped it


# --- The work


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with what is embedded of it, and the hash of that."""

    chunk_id: int
    collection_id: UUID
    version: int
    text: str
    words: str


@dataclass
class _Batch:
    """Passages on their way: those whose vectors were known, those in the batch before, those that are being computed."""

    passages: list[Passage]
    vectors: dict[str, bytes]  # by words
    computing: list[str]
    future: Future[Vectors]

    def complete(self, before: dict[str, bytes]) -> None:
        """Waits until every vector is there; `before` are those of the batch before."""
        rows = self.future.result().astype("<f4", copy=False)
        self.vectors |= {words: row.tobytes() for words, row in zip(self.computing, rows, strict=True)}
        for passage in self.passages:
            if passage.words not in self.vectors:
                self.vectors[passage.words] = before[passage.words]


class _Group:
    """Runs that are embedded together."""

    def __init__(self, members: Sequence[_Member], embedder: Embedder, turn: Turn) -> None:
        self._members = {member.pk: member for member in members}
        self._embedder, self._turn = embedder, turn
        self._digest = indexing.vector_digest(embedder.digest)
        self._owner: dict[int, _Member] = {}  # by chunk

    def embed(self) -> None:
        """Brings every run to its end. Raises TurnOver, with batches stored, when others should go first."""
        waiting = self._waiting()
        self._store([], {})  # a run that lacks nothing is ready
        with ThreadPoolExecutor(1, thread_name_prefix="embed") as pool:
            batches = _sliced(waiting, EMBED_BATCH)
            batch = self._begin(pool, next(batches, []), ())
            before: dict[str, bytes] = {}
            while batch is not None:
                after = None if self._turn.over() else self._begin(pool, next(batches, []), batch.computing)
                batch.complete(before)
                step("embed:batch-computed")
                self._store(batch.passages, batch.vectors)
                step("embed:batch-stored")
                before, batch = batch.vectors, after
        if any(member.missing for member in self._members.values()):
            raise TurnOver

    def _waiting(self) -> Iterator[int]:
        """Ids of the chunks without vector. Alike lengths share a batch: padding is wasted work."""
        by_revision = {member.revision_id: member for member in self._members.values()}
        chunks = Chunk.objects.for_maintenance().filter(extraction__revision__in=by_revision)
        rows = chunks.exclude(vectors__digest=self._digest).annotate(size=Length("text"))
        ordered = list(rows.order_by("-size", "pk").values_list("pk", "extraction__revision"))
        for chunk_id, revision_id in ordered:
            self._owner[chunk_id] = by_revision[revision_id]
            self._owner[chunk_id].missing.add(chunk_id)
        return iter([chunk_id for chunk_id, _ in ordered])

    def _begin(self, pool: ThreadPoolExecutor, chunk_ids: list[int], computing: Sequence[str]) -> _Batch | None:
        """Sets the computing of these chunks going; `computing` are words that are on their way already."""
        if not chunk_ids:
            return None
        passages = list(passages_of(Chunk.objects.for_maintenance().filter(pk__in=chunk_ids)))
        known: dict[str, bytes] = {}
        for collection_id in {passage.collection_id for passage in passages}:
            theirs = {passage.words for passage in passages if passage.collection_id == collection_id}
            known |= known_vectors(collection_id, self._digest, theirs)
        texts = {passage.words: passage.text for passage in passages}
        for words in (*known, *computing):
            texts.pop(words, None)
        future = pool.submit(self._embedder.embed_passages, list(texts.values()))
        return _Batch(passages, known, list(texts), future)

    def _store(self, passages: list[Passage], vectors: dict[str, bytes]) -> None:
        """Writes the vectors of the runs that are still held, and what that means for each run, in one transaction.

        The collections are locked first and the runs second, as whoever adds or deletes documents does; chunks cannot go then.
        """
        with transaction.atomic():
            ids = sorted({passage.collection_id for passage in passages})
            versions = {collection_id: next_version(collection_id) for collection_id in ids}
            self._let_go()
            wanted = [passage for passage in passages if self._owner[passage.chunk_id].pk in self._members]
            there = set(
                Chunk.objects.for_maintenance()
                .filter(pk__in=[passage.chunk_id for passage in wanted])
                .values_list("pk", flat=True)
            )
            Vector.objects.bulk_create(
                (
                    Vector(
                        chunk_id=passage.chunk_id,
                        collection_id=passage.collection_id,
                        version=versions[passage.collection_id],
                        digest=self._digest,
                        words=passage.words,
                        data=vectors[passage.words],
                    )
                    for passage in wanted
                    if passage.chunk_id in there
                ),
                ignore_conflicts=True,  # after a switch, reembedding writes the same
            )
            # What is not there any more is not missing either.
            stored = {passage.chunk_id for passage in passages}
            further = [member for member in self._members.values() if member.missing & stored]
            for member in further:
                member.missing -= stored
            self._note(further)
            if any(not member.missing for member in self._members.values()):
                step("embed:embedded")
        self._members = {row: member for row, member in self._members.items() if member.missing}

    def _let_go(self) -> None:
        """Forgets the runs that were cancelled, deleted or taken over. Raises LeaseLost when none is left."""
        held = Q()
        for member in self._members.values():
            held |= Q(pk=member.pk, attempt=member.lease.attempt)
        rows = IngestRun.objects.filter(held, lease_until__isnull=False).select_for_update()
        still = set(rows.values_list("pk", flat=True)) if self._members else set()
        self._members = {row: member for row, member in self._members.items() if row in still}
        if not self._members:
            raise LeaseLost

    def _note(self, further: Iterable[_Member]) -> None:
        """Writes how far each run is; whoever lacks nothing is ready."""
        ready = [row for row, member in self._members.items() if not member.missing]
        IngestRun.objects.filter(pk__in=ready).update(
            state=RunState.READY,
            finished=timezone.now(),
            lease_until=None,
            failures=0,
            message="",
            done=F("total"),
        )
        for member in further:
            if member.missing:  # it came further: what breaks it is yet to come
                IngestRun.objects.filter(pk=member.pk).update(done=member.total - len(member.missing), failures=0)
        IngestRun.objects.filter(pk__in=self._members.keys() - set(ready)).update(lease_until=lease_end())


def known_vectors(collection_id: UUID, digest: str, words: Iterable[str]) -> dict[str, bytes]:
    """The vectors that the collection has of these words."""
    rows = Vector.objects.filter(collection_id=collection_id, digest=digest, words__in=list(words))
    return {hashed: bytes(data) for hashed, data in rows.values_list("words", "data")}


def passages_of(chunks: ChunkQuerySet) -> Iterator[Passage]:
    """The chunks with the texts that are embedded of them."""
    rows = chunks.values_list("pk", "collection_id", "version", "text", "heading", "extraction__title")
    for pk, collection_id, version, text, heading, title in rows.iterator(chunk_size=_LOOKED_UP):
        whole = embedded_text(title, tuple(heading), text)
        words = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        yield Passage(pk, collection_id, version, whole, words)


def embedded_text(title: str, heading: tuple[str, ...], text: str) -> str:
    """What is embedded of a passage: the header that says where it stands, then its words."""
    header = _header(title, heading)
    return f"{header}\n{text}" if header else text


@lru_cache(maxsize=1024)
def _header(title: str, heading: tuple[str, ...]) -> str:
    return chunking.context_header(title, heading, token_counter().offsets)


def _sliced(rows: Iterator[_Row], size: int) -> Iterator[list[_Row]]:
    while batch := list(islice(rows, size)):
        yield batch
