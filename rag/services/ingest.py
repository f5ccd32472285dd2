"""A document's way from bytes to searchable passages: read -> cut -> store -> embed. Each step resumes after a kill.

Why two tasks: reading needs no torch and many can run at once; embedding holds the weights in one process per host. The run row
carries the state between them, so a lost message costs nothing: sweep() looks at the rows and sends the task again.

| state     | who holds the lease | what is stored                                       |
|-----------|---------------------|------------------------------------------------------|
| queued    | nobody              | the original's bytes                                 |
| reading   | a reader            | nothing yet; pages read so far are counted           |
| embedding | the embedder        | extraction, pages, chunks (found by words), vectors so far |
| ready     | nobody              | everything                                           |
| failed    | nobody              | the bytes, and a sentence that says why              |
"""

import time
from datetime import timedelta
from pathlib import PurePosixPath

import structlog
from django.core.files.storage import default_storage
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from rag.config import rag_config
from rag.domain import boxes, chunking
from rag.domain.errors import Permanent, RagError
from rag.domain.pages import split_long
from rag.domain.types import ParsedDocument
from rag.models import Chunk, Document, Extraction, IngestRun, Page, Revision
from rag.models.index import RunState
from rag.services import indexing
from rag.services.leases import Lease, LeaseLost, free
from rag.services.library import next_version, remove_chunks
from rag.services.steps import step
from rag.slots import sandbox, token_counter

log = structlog.get_logger(__name__)

ATTEMPTS = 3  # a run that died this often is not tried again by itself


def read(revision_id: int) -> None:
    """Reads the revision's bytes and stores what can be searched by words; then the embedder's turn is queued.

    Returns quietly when there is nothing to do: the revision is gone, done, or in somebody else's hands.
    """
    step("read:before-claim")
    live = Q(state__in=(RunState.QUEUED, RunState.READING), revision__document__deleted__isnull=True)
    run = IngestRun.objects.filter(live, revision=revision_id).select_related("revision__document").first()
    if run is None:
        return
    lease = Lease.take(IngestRun, run.pk, Q(state__in=(RunState.QUEUED, RunState.READING)), **_started())
    if lease is None:
        return
    step("read:claimed")
    try:
        with lease:
            parsed = _parse(run.revision, lease)
            step("read:parsed")
            _store(run.revision, parsed, lease)
            step("read:stored")
    except LeaseLost:
        return
    except RagError as error:
        failed(lease, error)
        return
    indexing.sync(run.revision.document.collection_id)
    step("read:synced")


def _started() -> dict[str, object]:
    return {"state": RunState.READING, "started": timezone.now(), "done": 0, "total": 0, "message": ""}


def _parse(revision: Revision, lease: Lease) -> ParsedDocument:
    config = rag_config()
    written = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal written
        lease.check()
        if time.monotonic() - written >= 0.5:
            written = time.monotonic()
            lease.write(done=done, total=total or 0)

    return sandbox().parse(
        default_storage.path(revision.file.name or ""),
        name=revision.document.path,
        seconds=config.parse_seconds,
        memory=config.parse_memory,
        progress=progress,
    )


def _store(revision: Revision, parsed: ParsedDocument, lease: Lease) -> None:
    """Extraction, pages and chunks in one transaction; from its end on the document is found by its words."""
    pages = split_long(parsed.pages)
    passages = chunking.chunk(pages, token_counter().offsets)
    if not passages:
        raise Permanent(_("No text was found in this file. Scanned pages cannot be read yet."))
    document = revision.document
    title = parsed.title.strip()[:300] or PurePosixPath(document.path).stem[:300]
    with lease.guarded():
        version = next_version(document.collection_id)
        extraction = Extraction.objects.create(
            revision=revision,
            parser=parsed.parser,
            title=title,
            warnings=list(parsed.warnings),
            pages_with_text=sum(1 for page in pages if page.text.strip()),
            characters=sum(len(page.text) for page in pages),
        )
        Page.objects.bulk_create(
            (
                Page(
                    extraction=extraction,
                    place=place,
                    number=page.number,
                    label=page.label[:40],
                    text=page.text,
                    headings=[[heading.start, heading.level, heading.text] for heading in page.headings],
                    boxes=boxes.pack(page.boxes),
                    width=page.width,
                    height=page.height,
                )
                for place, page in enumerate(pages)
            ),
            batch_size=200,
        )
        # Whatever an earlier revision or an earlier reading of this one left to be searched goes in the same moment.
        remove_chunks(document.collection_id, Chunk.objects.for_maintenance().filter(document=document))
        Chunk.objects.bulk_create(
            (
                Chunk(
                    extraction=extraction,
                    document=document,
                    collection_id=document.collection_id,
                    version=version,
                    ordinal=passage.ordinal,
                    page_from=passage.page_from,
                    page_to=passage.page_to,
                    start=passage.start,
                    end=passage.end,
                    heading=list(passage.heading),
                    text=passage.text,
                )
                for passage in passages
            ),
            batch_size=1000,
        )
        Document.objects.filter(pk=document.pk).update(title=title, current=revision)
        lease.release(
            state=RunState.EMBEDDING,
            searchable=True,
            done=0,
            total=len(passages),
            message=" ".join(parsed.warnings)[:500],
        )
        _queue_embedding(revision.pk)


def _queue_embedding(revision_id: int) -> None:
    from rag import tasks

    tasks.send(tasks.embed, revision_id)


def failed(lease: Lease, error: RagError) -> None:
    """Ends the attempt: for good when trying again cannot help, otherwise until the sweeper queues it again."""
    try:
        if isinstance(error, Permanent):
            lease.release(state=RunState.FAILED, message=error.message[:500], finished=timezone.now())
            return
        lease.release(failures=F("failures") + 1, message=error.message[:500])
    except LeaseLost:
        return


def sweep_stale() -> int:
    """Queues again what a dead process or a lost message left lying, and says how many. The third death is a failure."""
    from rag import tasks

    died = IngestRun.objects.filter(lease_until__lt=timezone.now(), state__in=(RunState.READING, RunState.EMBEDDING))
    died.update(lease_until=None, failures=F("failures") + 1)
    IngestRun.objects.filter(free(), state__in=(RunState.READING, RunState.EMBEDDING), failures__gte=ATTEMPTS).update(
        state=RunState.FAILED,
        finished=timezone.now(),
        message=_("Reading this file was tried three times and broke off each time. Retry it, or upload another copy."),
    )
    IngestRun.objects.filter(free(), state=RunState.READING).update(state=RunState.QUEUED, queued=timezone.now())
    waiting = IngestRun.objects.filter(free(), revision__document__deleted__isnull=True)
    # A moment's grace: what was stored just now has its message on the way.
    earlier = timezone.now() - timedelta(seconds=5)
    sent = 0
    for task, queue, rows in (
        (tasks.ingest, "ingest", waiting.filter(state=RunState.QUEUED, queued__lt=earlier)),
        (tasks.embed, "embed", waiting.filter(state=RunState.EMBEDDING)),
    ):
        # Messages that wait already cover their rows; sending more would only pile up.
        if tasks.waiting(queue):
            continue
        for revision_id in rows.order_by("queued").values_list("revision_id", flat=True)[:1000]:
            task.delay(revision_id)
            sent += 1
    return sent
