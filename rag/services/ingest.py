"""A document's way from bytes to searchable passages: read -> recognise -> store -> embed. Each step resumes after a kill.

Why two tasks: reading needs no torch and many can run at once; embedding holds the weights in one process per host. The run row
carries the state between them, so a lost message costs nothing: sweep_stale() looks at the rows and sends the task again.

| state       | who holds the lease | what is stored                                                        |
|-------------|---------------------|-----------------------------------------------------------------------|
| queued      | nobody              | the original's bytes                                                  |
| reading     | a reader            | files inside it, as documents of their own; pages so far are counted  |
| recognising | a reader; nobody while others go first | what the file itself says (found by words), a draft of each page |
| embedding   | the embedder        | extraction, pages, chunks (found by words), vectors so far            |
| ready       | nobody              | everything; `gaps` counts the pages of which something was not read   |
| failed      | nobody              | the bytes, and a sentence that says why                               |
| cancelled   | nobody              | the bytes, and what was found by words when somebody stopped it       |

Why an extraction for what was read before pictures are recognised, and a second one for the whole: extractions never change,
because citations pin them, and an hour of recognising must not keep the rest of a file from being found.

An older revision that was read stays searched until the moment in which a newer one is stored, also when that one fails.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from core.sealing import unseal
from rag import tasks
from rag.backends import convert
from rag.config import rag_config
from rag.domain.types import ParsedDocument
from rag.models import Chunk, Collection, Document, IngestRun
from rag.models.index import RunState
from rag.services import children, library, queues, quotas, recognition, storing
from rag.services.attempts import ATTEMPTS, IN_WORK, attempt, superseded, waiting_state
from rag.services.following import follow, send_for_those_behind
from rag.services.imports import BULK_FROM
from rag.services.leases import Lease, free
from rag.services.steps import step
from rag.slots import sandbox

log = structlog.get_logger(__name__)

_READABLE = (RunState.QUEUED, RunState.READING, RunState.RECOGNISING)
_WRITTEN_EVERY = 0.5  # seconds between two notes of how far the reading is
_FOLDER = "reading-"  # in the folder for passing files: where one attempt unpacks and converts
_SENT_MOST = 1000  # messages that one sweep sends for one queue


def read(revision_id: int) -> None:
    """Reads the revision's bytes and stores what can be searched by words; then the embedder's turn is queued.

    Returns quietly when there is nothing to do: the revision is gone, done, or in somebody else's hands.
    """
    step("read:before-claim")
    live = Q(state__in=_READABLE, revision__document__deleted__isnull=True)
    run = IngestRun.objects.filter(live, revision=revision_id).select_related("revision__document__collection").first()
    if run is None:
        return
    resumed = run.state == RunState.RECOGNISING
    fresh = {"state": RunState.READING, "started": timezone.now(), "done": 0, "total": 0}
    # One whose lease ran out is the sweeper's: it counts the death before anybody tries again.
    untouched = Q(state=run.state, lease_until__isnull=True)
    lease = Lease.take(IngestRun, run.pk, untouched, message="", **({} if resumed else fresh))
    if lease is None:
        return
    step("read:claimed")
    with attempt(lease), _folder(run, lease) as folder:
        _read(run, lease, folder)
    follow(run.revision.document.collection_id, queues.Work.READING, bulk=run.bulk)
    step("read:synced")


def _read(run: IngestRun, lease: Lease, folder: Path) -> None:
    revision = run.revision
    if revision.document.latest_id != revision.pk:
        raise superseded()
    turn = queues.Turn(queues.Work.READING, bulk=run.bulk)
    file, name = _readable(run, _made(folder / "converted"))
    step("read:converted")
    parsed = _parse(run, lease, file, name, _made(folder / "inside"))
    step("read:parsed")
    quotas.require_pages(len({page.number for page in parsed.pages if page.number is not None}))
    inside = children.take_in(revision, parsed.attachments, lease)
    step("read:children-added")
    pages = list(parsed.pages)
    if recognition.to_recognise(pages):
        known = Chunk.objects.for_maintenance().filter(extraction__revision=revision).exists()
        if not known and storing.store_readable(revision, parsed, inside, lease):
            step("read:readable-stored")
            follow(revision.document.collection_id, queues.Work.READING, bulk=run.bulk)
        try:
            pages = recognition.recognised(run, file, name, pages, lease, turn)
        except queues.TurnOver:
            with transaction.atomic():
                lease.release(queued=timezone.now())
                queues.send(queues.Work.READING, revision.pk, bulk=run.bulk)
            return
        step("recognise:done")
    storing.store(revision, parsed, pages, inside, lease)
    step("read:stored")


def _readable(run: IngestRun, folder: Path) -> tuple[Path, str]:
    """The file that is read, and its name: the original, or what LibreOffice made of an old one."""
    config = rag_config()
    return convert.readable(
        Path(default_storage.path(run.revision.file.name or "")),
        name=run.revision.document.path,
        seconds=config.parse_seconds,
        memory=config.parse_memory,
        folder=folder,
        password=unseal(run.revision.secret),
    )


def _parse(run: IngestRun, lease: Lease, file: Path, name: str, inside: Path) -> ParsedDocument:
    config = rag_config()
    recognising = run.state == RunState.RECOGNISING  # then the pages that are counted are those recognised
    written = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal written
        lease.check()
        quotas.require_pages(total or 0)  # at once, where the parser knows how many will come
        if time.monotonic() - written >= _WRITTEN_EVERY:
            written = time.monotonic()
            lease.write(**({} if recognising else {"done": done, "total": total or 0}))

    return sandbox().parse(
        file,
        name=name,
        seconds=config.parse_seconds,
        memory=config.parse_memory,
        progress=progress,
        password=unseal(run.revision.secret),
        attachments=inside,
    )


# --- Files that pass


@contextmanager
def _folder(run: IngestRun, lease: Lease) -> Iterator[Path]:
    """An empty folder for this attempt, gone when the block ends; _sweep_folders() takes what a killed one left."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / f"{_FOLDER}{run.pk}-{lease.attempt}"
    try:
        yield _made(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _sweep_folders() -> None:
    """Removes the folders of attempts that are over."""
    for folder in Path(settings.FILE_UPLOAD_TEMP_DIR).glob(f"{_FOLDER}*-*"):
        run, _dash, number = folder.name.removeprefix(_FOLDER).partition("-")
        if not IngestRun.objects.filter(pk=run, attempt=number, lease_until__gte=timezone.now()).exists():
            shutil.rmtree(folder, ignore_errors=True)


# --- What people do to a run


@transaction.atomic
def cancel(actor: User, document: Document) -> bool:
    """Stops the reading or embedding of the newest revision, and says whether there was any; the bytes stay.

    Whoever works on it notices within seconds. What is found by words already stays found. The caller has checked that
    `actor` may write to the document.
    """
    changed = IngestRun.objects.filter(revision=document.latest_id, state__in=IN_WORK).update(
        state=RunState.CANCELLED,
        attempt=F("attempt") + 1,
        lease_until=None,
        finished=timezone.now(),
        message="",
    )
    if changed:
        audit.record("document.cancelled", actor=actor, subject=document)
    return bool(changed)


@transaction.atomic
def retry_all_failed(actor: User, collection: Collection) -> int:
    """Queues every document of the collection whose newest revision failed again, and says how many.

    Those that wait for a password are left alone. The caller has checked that `actor` may write to the collection.
    """
    failed = IngestRun.objects.filter(
        state=RunState.FAILED,
        needs_password=False,
        revision=F("revision__document__latest"),
        revision__document__collection=collection,
        revision__document__deleted__isnull=True,
    )
    rows = dict(failed.order_by("queued", "pk").values_list("revision_id", "bulk"))
    if not rows:
        return 0
    many = len(rows) > BULK_FROM
    failed.update(**library.queued_anew(), **({"bulk": True} if many else {}))
    audit.record("documents.retried", actor=actor, subject=collection, documents=len(rows))
    for revision_id, bulk in list(rows.items())[:_SENT_MOST]:  # the sweeper sends the rest once these are taken
        queues.send(queues.Work.READING, revision_id, bulk=bulk or many)
    return len(rows)


# --- What was left lying


def sweep_stale() -> int:
    """Queues again what a dead process or a lost message left lying, and says how many. The third death is a failure."""
    now = timezone.now()
    died = IngestRun.objects.filter(lease_until__lt=now, state__in=IN_WORK)
    sent = sum(_bury(pk, now) for pk in list(died.values_list("pk", flat=True)))
    _sweep_folders()
    send_for_those_behind()
    # A moment's grace: what was stored just now has its message on the way.
    earlier = now - timedelta(seconds=min(5.0, rag_config().lease_seconds))
    waiting = IngestRun.objects.filter(free(), revision__document__deleted__isnull=True, queued__lt=earlier)
    for work, states in ((queues.Work.READING, _READABLE), (queues.Work.EMBEDDING, (RunState.EMBEDDING,))):
        for bulk in (False, True):
            sent += _send_again(work, waiting.filter(state__in=states), bulk=bulk)
    return sent


def _bury(pk: int, now: datetime) -> int:
    """Counts the death of whoever worked on the run, and queues it again at once unless it was the third; how many it queued."""
    dead = IngestRun.objects.filter(pk=pk, lease_until__lt=now)
    if not dead.update(lease_until=None, failures=F("failures") + 1, queued=now, state=waiting_state()):
        return 0  # it lives, or another sweep was here
    run = IngestRun.objects.get(pk=pk)
    if run.failures < ATTEMPTS:
        work = queues.Work.EMBEDDING if run.state == RunState.EMBEDDING else queues.Work.READING
        queues.send(work, run.revision_id, bulk=run.bulk)
        return 1
    IngestRun.objects.filter(pk=pk, attempt=run.attempt, lease_until__isnull=True).update(
        state=RunState.FAILED,
        finished=now,
        message=_("Reading this file was tried three times and broke off each time. Retry it, or upload another copy."),
    )
    return 0


def _send_again(work: queues.Work, waiting: QuerySet[IngestRun], *, bulk: bool) -> int:
    # Messages that wait already cover their rows; sending more would only pile up.
    revisions = waiting.filter(bulk=bulk).order_by("queued").values_list("revision_id", flat=True)[:_SENT_MOST]
    if not revisions or tasks.waiting(work.queue(bulk=bulk)):
        return 0
    for revision_id in revisions:
        queues.send(work, revision_id, bulk=bulk)
    return len(revisions)
