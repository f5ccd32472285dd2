"""Gives passages their vectors, batch by batch; a killed run goes on after its last batch."""

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from rag.backends.embedders.tokens import TokenCounter
from rag.domain import chunking
from rag.models import Chunk, IngestRun, Revision, Vector
from rag.models.index import RunState
from rag.services import indexing
from rag.services.attempts import attempt
from rag.services.following import follow
from rag.services.leases import Lease
from rag.services.library import next_version
from rag.services.queues import Turn, TurnOver, Work, send
from rag.services.steps import step
from rag.slots import passage_embedder, token_counter

EMBED_BATCH = 64  # passages between two commits: about three seconds of work that a kill can cost


def embed(revision_id: int) -> None:
    """Embeds what the revision still lacks, batch by batch; a killed run goes on after its last batch."""
    step("embed:before-claim")
    run = (
        IngestRun.objects.filter(
            revision=revision_id, state=RunState.EMBEDDING, revision__document__deleted__isnull=True
        )
        .select_related("revision__document")
        .first()
    )
    if run is None:
        return
    began = {} if run.done else {"started": timezone.now()}
    lease = Lease.take(IngestRun, run.pk, Q(state=RunState.EMBEDDING), **began)
    if lease is None:
        return
    step("embed:claimed")
    with attempt(lease):
        try:
            _embed_missing(run.revision, lease, Turn(Work.EMBEDDING, bulk=run.bulk))
        except TurnOver:
            with transaction.atomic():
                lease.release(queued=timezone.now())
                send(Work.EMBEDDING, revision_id, bulk=run.bulk)
        else:
            step("embed:embedded")
            lease.release(state=RunState.READY, finished=timezone.now(), failures=0, message="")
            step("embed:ready")
    follow(run.revision.document.collection_id, Work.EMBEDDING, bulk=run.bulk)


def _embed_missing(revision: Revision, lease: Lease, turn: Turn) -> None:
    embedder = passage_embedder()
    digest = indexing.vector_digest(embedder.digest)
    counter = token_counter()
    chunks = list(
        Chunk.objects.for_maintenance()
        .filter(extraction__revision=revision)
        .exclude(vectors__digest=digest)
        .values_list("id", "text", "heading", "collection_id", "extraction__title")
    )
    total = Chunk.objects.for_maintenance().filter(extraction__revision=revision).count()
    done = total - len(chunks)
    # Alike lengths share a batch: padding is wasted work.
    chunks.sort(key=lambda row: len(row[1]))
    for start in range(0, len(chunks), EMBED_BATCH):
        batch = chunks[start : start + EMBED_BATCH]
        vectors = embedder.embed_passages([_embedded_text(counter, *row[1:3], row[4]) for row in batch])
        step("embed:batch-computed")
        with lease.guarded():
            version = next_version(revision.document.collection_id)
            Vector.objects.bulk_create(
                Vector(chunk_id=row[0], collection_id=row[3], version=version, digest=digest, data=vector.tobytes())
                for row, vector in zip(batch, vectors, strict=True)
            )
            done += len(batch)
            lease.write(done=done, total=total, failures=0)  # it came further: what breaks it is yet to come
        step("embed:batch-stored")
        if done < total and turn.over():
            raise TurnOver


def _embedded_text(counter: TokenCounter, text: str, heading: list[str], title: str) -> str:
    header = chunking.context_header(title, heading, counter.offsets)
    return f"{header}\n{text}" if header else text
