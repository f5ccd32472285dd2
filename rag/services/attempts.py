"""One attempt at a run, and what is written of it however it ends.

| it ends with                     | the run                                                               |
|----------------------------------|-----------------------------------------------------------------------|
| Permanent                        | failed, with the sentence; Protected: and a password is asked for     |
| Superseded                       | cancelled: a newer revision of the document is there                  |
| a full disk                      | waits half a minute and goes on by itself, as often as it takes       |
| Retryable, or what nobody expected | queued again; the third time failed, with the sentence              |
| LeaseLost                        | is somebody else's, or was cancelled or deleted: nothing is written   |
| the death of the process         | the lease runs out, and the sweeper counts it as a failure            |
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from django.db import OperationalError
from django.db.models import Case, F, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from rag.domain.errors import Permanent, Protected, RagError, Retryable
from rag.models import IngestRun
from rag.models.index import RunState
from rag.services.leases import Lease, LeaseLost

log = structlog.get_logger(__name__)

ATTEMPTS = 3  # a run that failed this often is not tried again by itself
IN_WORK = (RunState.QUEUED, RunState.READING, RunState.RECOGNISING, RunState.EMBEDDING)
DISK_FULL_PAUSE = timedelta(seconds=30)
_FULL = (errno.ENOSPC, errno.EDQUOT)
# SQLite's words, and PostgreSQL's; tantivy wraps the system's own.
_FULL_WORDS = ("disk is full", "no space left", "disk full", "disk quota exceeded", "could not extend file")


class DiskFull(Retryable):
    """There is no space left to write to."""


class Superseded(Permanent):
    """A newer revision of the document came before this one was read."""


def superseded() -> Superseded:
    return Superseded(_("A newer version of this file took its place."))


@contextmanager
def attempt(lease: Lease) -> Iterator[None]:
    """Keeps the lease while its block runs, and writes down how it ended. Only what nobody expected comes out of it."""
    try:
        with lease:
            yield
    except LeaseLost:
        return
    except RagError as error:
        failed(lease, error)
    except OSError as error:
        failed(lease, _understood(error))
        log.warning("run.failed", run=lease.row_id, error=type(error).__name__, reason=error.strerror)
    except OperationalError as error:
        failed(lease, _understood(error))
        log.warning("run.failed", run=lease.row_id, error=type(error).__name__)
    except Exception as error:
        failed(lease, _understood(error))
        raise


def failed(lease: Lease, error: RagError) -> None:
    """Ends the attempt with the error's sentence: for good, or until the sweeper queues it again."""
    message = error.message[:500]
    try:
        if isinstance(error, DiskFull):
            lease.release(message=message, queued=timezone.now() + DISK_FULL_PAUSE, state=waiting_state())
            return
        failures: int = lease.rows().values_list("failures", flat=True).get() + 1
        if isinstance(error, Permanent) or failures >= ATTEMPTS:
            state = RunState.CANCELLED if isinstance(error, Superseded) else RunState.FAILED
            protected = isinstance(error, Protected)
            lease.release(
                state=state, message=message, needs_password=protected, failures=failures, finished=timezone.now()
            )
            return
        lease.release(message=message, failures=failures, queued=timezone.now(), state=waiting_state())
    except (LeaseLost, IngestRun.DoesNotExist):
        return
    except OperationalError as error_again:
        # The database cannot be written to either: the lease runs out, and the sweeper finds the run.
        log.warning("run.not_released", run=lease.row_id, error=type(error_again).__name__)


def waiting_state() -> Case:
    """For an UPDATE: the state of a run that waits to go on where it was."""
    return Case(When(state=RunState.READING, then=Value(RunState.QUEUED)), default=F("state"))


def is_disk_full(error: BaseException) -> bool:
    """Whether this error, or one that it came from, says that there is no space left."""
    seen: BaseException | None = error
    while seen is not None:
        words = str(seen).lower()
        if (isinstance(seen, OSError) and seen.errno in _FULL) or any(text in words for text in _FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _understood(error: Exception) -> Retryable:
    if is_disk_full(error):
        return DiskFull(_("The server's disk is full. This goes on by itself once there is space again."))
    if isinstance(error, OperationalError):
        return Retryable(_("The database was too busy to store this."))
    return Retryable(_("Something went wrong on the server while this file was read; its log says what."))
