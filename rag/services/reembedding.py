"""Embeds every passage by another model than the one that embedded it first; a killed run goes on after its last batch.

It runs in the same worker as the embedding of new documents, behind everything else: new documents are embedded by the model in use
at once, and by those beside it as soon as nothing else waits. A passage counts from the moment in which its document is ready.
"""

from collections.abc import Iterator

from django.db import transaction
from django.db.models import Exists, F, Max, Min, OuterRef, Q
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext as _

from rag import tasks
from rag.backends.embedders.base import Embedder
from rag.domain.errors import Permanent, RagError
from rag.models import Chunk, EmbeddingModel, Vector
from rag.models.content import ChunkQuerySet
from rag.models.embedding_model import EmbeddingState, is_kept_up
from rag.models.index import RunState
from rag.services import embedding, indexing
from rag.services.attempts import ATTEMPTS, IN_WORK, is_disk_full
from rag.services.following import follow
from rag.services.leases import Lease, LeaseLost, free
from rag.services.library import next_version
from rag.services.queues import Turn, TurnOver, Work, send_model
from rag.services.steps import step
from rag.slots import model_of, passage_embedder

# Passages that are looked up at a time: alike lengths share a batch, and among a million finding the next ones takes most of a second.
_FETCHED = 64 * embedding.EMBED_BATCH
_BULK = True  # behind what people upload


def sweep_stale() -> int:
    """Sends again for models that have something to do and nobody who does it, and says how many. The third death is a failure."""
    now = timezone.now()
    died = EmbeddingModel.objects.filter(lease_until__lt=now)
    died.filter(failures__gte=ATTEMPTS - 1).update(
        lease_until=None,
        state=EmbeddingState.FAILED,
        message=_("It was tried three times and broke off each time; the log of the embedding worker says why."),
    )
    died.update(lease_until=None, failures=F("failures") + 1)
    newest = Chunk.objects.for_maintenance().aggregate(newest=Max("pk"))["newest"] or 0
    behind = EmbeddingModel.objects.kept_up().filter(free(), seen__lt=newest).exclude(state=EmbeddingState.FAILED)
    ids = list(behind.values_list("pk", flat=True))
    if not ids or tasks.waiting(Work.EMBEDDING.queue(bulk=_BULK)):
        return 0
    for model_id in ids:
        send_model(model_id)
    return len(ids)


def look_again() -> None:
    """Forgets how far each model has looked: a transaction that took its ids early may have committed late."""
    EmbeddingModel.objects.kept_up().update(seen=0)


# --- What is to be done


def finished_passages() -> ChunkQuerySet:
    """The passages of documents that are ready: what a model has to have vectors of."""
    return Chunk.objects.for_maintenance().filter(
        extraction__revision__run__state=RunState.READY, extraction__revision__document__deleted__isnull=True
    )


def lacking(row: EmbeddingModel) -> ChunkQuerySet:
    """Those of them that have no vector of this model."""
    theirs = Vector.objects.filter(chunk=OuterRef("pk"), digest=indexing.vector_digest(row.digest))
    return finished_passages().filter(~Exists(theirs))


def longest_texts(number: int) -> list[str]:
    """What is embedded of the longest passages."""
    longest = finished_passages().annotate(size=Length("text")).order_by("-size").values_list("pk", flat=True)[:number]
    chosen = Chunk.objects.for_maintenance().filter(pk__in=list(longest))
    return [passage.text for passage in embedding.passages_of(chosen)]


# --- The work


def run(model_id: int) -> None:
    """Embeds what the model lacks until nothing is left, others should go first, or somebody pauses it. Returns quietly when there
    is nothing to do: it is paused, gone, or in somebody else's hands."""
    step("reembed:before-claim")
    lease = Lease.take(EmbeddingModel, model_id, is_kept_up() & Q(lease_until__isnull=True))
    if lease is None:
        return
    row = EmbeddingModel.objects.get(pk=model_id)
    try:
        with lease:
            _run(row, lease)
    except LeaseLost:
        return
    except TurnOver:
        _release(lease)
        send_model(model_id)
    except RagError as error:
        _failed(lease, error.message, final=isinstance(error, Permanent))
    except Exception as error:
        full = is_disk_full(error)
        sentence = (
            _("The server's disk is full.")
            if full
            else _("Something went wrong; the embedding worker's log says what.")
        )
        _failed(lease, sentence, final=False)
        if not full:
            raise


def _run(row: EmbeddingModel, lease: Lease) -> None:
    turn = Turn(Work.EMBEDDING, bulk=_BULK)
    embedder: Embedder | None = None
    for chunk_ids in _batches(row, lease):
        embedder = embedder or passage_embedder(model_of(row))
        passages = list(embedding.passages_of(Chunk.objects.for_maintenance().filter(pk__in=chunk_ids)))
        vectors = _vectors(row, embedder, passages)
        step("reembed:batch-computed")
        _store(row, lease, passages, vectors)
        step("reembed:batch-stored")
        for collection_id in {passage.collection_id for passage in passages}:
            follow(collection_id, Work.EMBEDDING, bulk=_BULK)
        if turn.over():
            raise TurnOver
    _release(lease)


def _batches(row: EmbeddingModel, lease: Lease) -> Iterator[list[int]]:
    """Ids of passages that lack a vector of the model, alike lengths together; how far it has come is noted on the way."""
    newest = Chunk.objects.for_maintenance().aggregate(newest=Max("pk"))["newest"] or 0
    # Asked before looking: a document may become ready in between, and its passages then come again. What comes from here on is
    # behind `newest`.
    after, whole = row.seen, _first_on_its_way(row.seen, newest) - 1
    while True:
        rows = lacking(row).filter(pk__gt=after, pk__lte=newest).annotate(size=Length("text")).order_by("pk")
        found = list(rows.values_list("pk", "size")[:_FETCHED])
        lease.write(seen=max(min(after if found else newest, whole), row.seen))
        if not found:
            return
        after = found[-1][0]
        ordered = [pk for pk, _size in sorted(found, key=lambda pair: -pair[1])]
        for start in range(0, len(ordered), embedding.EMBED_BATCH):
            yield ordered[start : start + embedding.EMBED_BATCH]


def _first_on_its_way(after: int, until: int) -> int:
    """The first passage behind `after` of a document that is not ready yet; the one behind `until` when there is none."""
    coming = Chunk.objects.for_maintenance().filter(extraction__revision__run__state__in=IN_WORK, pk__gt=after)
    first = coming.aggregate(first=Min("pk"))["first"]
    return until + 1 if first is None else min(first, until + 1)


def _vectors(row: EmbeddingModel, embedder: Embedder, passages: list[embedding.Passage]) -> dict[str, bytes]:
    """The vectors by words: what the collection has of the same words already is not computed again."""
    digest = indexing.vector_digest(row.digest)
    known: dict[str, bytes] = {}
    for collection_id in {passage.collection_id for passage in passages}:
        theirs = {passage.words for passage in passages if passage.collection_id == collection_id}
        known |= embedding.known_vectors(collection_id, digest, theirs)
    texts = {passage.words: passage.text for passage in passages if passage.words not in known}
    rows = embedder.embed_passages(list(texts.values())).astype("<f4", copy=False)
    return known | {words: vector.tobytes() for words, vector in zip(texts, rows, strict=True)}


def _store(row: EmbeddingModel, lease: Lease, passages: list[embedding.Passage], vectors: dict[str, bytes]) -> None:
    """Writes the vectors, unless somebody paused or removed the model meanwhile: LeaseLost. Collections are locked first, as
    everybody does."""
    digest = indexing.vector_digest(row.digest)
    with transaction.atomic():
        versions = {each: next_version(each) for each in sorted({passage.collection_id for passage in passages})}
        with lease.guarded():
            ids = [passage.chunk_id for passage in passages]
            there = set(Chunk.objects.for_maintenance().filter(pk__in=ids).values_list("pk", flat=True))
            Vector.objects.bulk_create(
                (
                    Vector(
                        chunk_id=passage.chunk_id,
                        collection_id=passage.collection_id,
                        version=versions[passage.collection_id],
                        digest=digest,
                        words=passage.words,
                        data=vectors[passage.words],
                    )
                    for passage in passages
                    if passage.chunk_id in there
                ),
                ignore_conflicts=True,  # since the switch, the embedding of new documents writes the same
            )
            lease.write(failures=0, message="")


def _release(lease: Lease) -> None:
    lease.release(failures=0, message="")


def _failed(lease: Lease, sentence: str, *, final: bool) -> None:
    """Ends the attempt with the sentence: for good, or until the sweeper sends it again."""
    try:
        failures: int = lease.rows().values_list("failures", flat=True).get() + 1
        if final or failures >= ATTEMPTS:
            lease.release(failures=failures, message=sentence[:500], state=EmbeddingState.FAILED)
        else:
            lease.release(failures=failures, message=sentence[:500])
    except (LeaseLost, EmbeddingModel.DoesNotExist):
        return
