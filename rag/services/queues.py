"""Which queue a run waits in, and when a long one lets others go first.

Why two queues for each kind of work: workers take from `ingest` before `ingest_bulk` (and from `embed` before `embed_bulk`), so
what somebody uploads now is not behind ten thousand files of an import. Why turns: one scan of 700 pages would hold the
only reader for an hour. Recognising and embedding stop between two pages or batches, and go on where they stopped.
"""

import time
from enum import Enum

import structlog
from kombu.exceptions import OperationalError

from rag import tasks

log = structlog.get_logger(__name__)

SLICE = 20.0  # seconds after which a run lets others of its own queue go first
LONGEST = 1200.0  # seconds after which it is queued again in any case: a task has a time limit
_ASK = 1.0  # seconds between two questions to the queue


class Work(Enum):
    """What is queued: the name of the queue."""

    READING = "ingest"
    EMBEDDING = "embed"

    def queue(self, *, bulk: bool) -> str:
        return f"{self.value}_bulk" if bulk else self.value


def send(work: Work, revision_id: int, *, bulk: bool) -> None:
    """Queues a revision's reading or embedding once the transaction commits; with none open, now."""
    task = tasks.ingest if work is Work.READING else tasks.embed
    tasks.send(task, revision_id, queue=work.queue(bulk=bulk))


def send_model(model_id: int) -> None:
    """Queues the embedding of passages by a model beside the one in use once the transaction commits: behind what people upload."""
    tasks.send(tasks.reembed, model_id, queue=Work.EMBEDDING.queue(bulk=True))


class TurnOver(Exception):
    """Others go first now: the run keeps what it has done, gives its lease back and waits in its queue again."""


class Turn:
    """One run's time with a worker, which begins now."""

    def __init__(self, work: Work, *, bulk: bool) -> None:
        self.work, self.bulk = work, bulk
        self._began = self._asked = time.monotonic()

    def over(self) -> bool:
        """Whether somebody else should go first now. Costs nothing most of the time."""
        now = time.monotonic()
        if now - self._began > LONGEST:
            return True
        if now - self._asked < _ASK:
            return False
        self._asked = now
        try:
            if self.bulk and tasks.waiting(self.work.queue(bulk=False)):
                return True
            return now - self._began > SLICE and tasks.waiting(self.work.queue(bulk=self.bulk)) > 0
        except OperationalError as error:  # Redis is away: nobody can be waiting in it
            log.warning("queue.unreachable", error=type(error).__name__)
            return False
