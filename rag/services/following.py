"""Keeps the indexes close behind the database, without writing them anew for every document of a large import."""

import time
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError

from rag import tasks
from rag.domain.errors import Retryable
from rag.services import indexing
from rag.services.attempts import is_disk_full
from rag.services.queues import Work

log = structlog.get_logger(__name__)

PAUSE = 2.0  # seconds between two syncs while an import goes on: what a search may lag behind it

_behind: set[UUID] = set()
_synced = 0.0


def follow(collection_id: UUID, work: Work, *, bulk: bool) -> None:
    """Brings the collection's indexes up to date: at once, or within two seconds while more of an import waits.

    What a killed process did not get to is found by the sweeper. Where an index cannot be written, it stays as it was and still
    serves; upkeep tries again.
    """
    global _synced
    _behind.add(collection_id)
    if bulk and time.monotonic() - _synced < PAUSE and _waiting(work.queue(bulk=True)):
        return
    for behind in sorted(_behind):
        _behind.discard(behind)
        _sync(behind)
    _synced = time.monotonic()


def _sync(collection_id: UUID) -> None:
    try:
        indexing.sync(collection_id)
    except Retryable as error:
        log.warning("index.behind", collection=str(collection_id), reason=error.message)
    except Exception as error:
        if not is_disk_full(error):
            raise
        log.warning("index.behind", collection=str(collection_id), reason="the disk is full")


def _waiting(queue: str) -> bool:
    try:
        return tasks.waiting(queue) > 0
    except OperationalError:  # Redis is away: nothing waits
        return False


def send_for_those_behind() -> int:
    """Has every collection synced whose indexes somebody did not bring up to date; how many there are."""
    behind = indexing.behind()
    if not behind or tasks.waiting("upkeep"):
        return 0
    for collection_id in behind:
        tasks.send(tasks.sync, str(collection_id))
    return len(behind)
