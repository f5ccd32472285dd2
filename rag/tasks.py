"""Celery tasks: each is a docstring and one call. They take ids, may run twice, late or never: the database decides.

Queues, in the order in which workers take from them: the reader `ingest`, `upkeep`, `ingest_bulk`; the embedder `embed`, `upkeep`,
`embed_bulk`. Upkeep waits in both, so a reader that is busy for minutes does not keep the sweeper from finding a dead embedder.
"""

from functools import partial
from typing import Any

import structlog
from celery import Task, current_app, shared_task
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def send(task: "Task[Any, Any]", *args: object, queue: str | None = None) -> None:
    """Queues the task once the transaction commits; with none open, now.

    A queue that does not answer is no error: sweep() and upkeep() find in the database what has to be done.
    """
    transaction.on_commit(partial(_publish, task, args, queue))


def _publish(task: "Task[Any, Any]", args: tuple[object, ...], queue: str | None) -> None:
    try:
        if queue:
            task.apply_async(args, queue=queue)
        else:
            task.apply_async(args)
    except OperationalError as error:
        log.warning("queue.unreachable", task=task.name, error=type(error).__name__)


@shared_task(time_limit=3 * 3600, expires=24 * 3600)
def ingest(revision_id: int) -> None:
    """Reads a revision and stores what can be searched."""
    from rag.services import ingest as service

    service.read(revision_id)


@shared_task(time_limit=3 * 3600, expires=24 * 3600)
def embed(revision_id: int) -> None:
    """Embeds a revision's passages."""
    from rag.services import embedding

    embedding.embed(revision_id)


@shared_task(time_limit=3 * 3600, expires=24 * 3600)
def reembed(model_id: int) -> None:
    """Embeds by another model what it lacks."""
    from rag.services import reembedding

    reembedding.run(model_id)


@shared_task(time_limit=3600, expires=24 * 3600)
def purge(collection_id: str) -> None:
    """Removes what deleted documents of a collection left behind."""
    from uuid import UUID

    from rag.services import indexing, library

    library.purge_deleted(UUID(collection_id))
    indexing.sync(UUID(collection_id))


@shared_task(time_limit=3600, expires=24 * 3600)
def erase_files(collection_id: str) -> None:
    """Removes what deleted files of a conversation left behind."""
    from uuid import UUID

    from rag.services import private_files

    private_files.erase(UUID(collection_id))


@shared_task(time_limit=3600, expires=24 * 3600)
def sync(collection_id: str) -> None:
    """Makes a collection's indexes equal the database."""
    from uuid import UUID

    from rag.services import indexing

    indexing.sync(UUID(collection_id))


@shared_task(time_limit=3600, expires=24 * 3600)
def learn(ranker_id: int) -> None:
    """Measures what a collection's own questions teach about ranking it."""
    from rag.services import learning

    learning.measure(ranker_id)


@shared_task(time_limit=3600, expires=24 * 3600)
def read_everything(reading_id: str) -> None:
    """Goes on reading whole documents for a question."""
    from uuid import UUID

    from rag.services import exhaustive

    exhaustive.run(UUID(reading_id))


@shared_task(time_limit=60)
def sweep() -> None:
    """Queues again what a dead process or a lost message left lying, documents and answers; removes what was deleted for good."""
    from rag.services import answering, conversations, ingest, reembedding
    from rag.services.exhaustive import sweep_stale as sweep_readings

    ingest.sweep_stale()
    answering.sweep_stale()
    sweep_readings()
    reembedding.sweep_stale()
    conversations.purge_deleted()


@shared_task(time_limit=3600)
def upkeep() -> None:
    """Finishes interrupted deletions and measurings, throws away uploads that nobody goes on with, and brings indexes up to date."""
    from rag.services import indexing, learning, library, private_files, reembedding, uploads

    private_files.sweep()
    library.purge_all_deleted()
    uploads.remove_expired()
    indexing.sync_all()
    learning.resume()
    reembedding.look_again()


@shared_task(time_limit=60)
def watch() -> None:
    """Has every watched folder looked into."""
    from rag.services import watching

    for watched_id in watching.due():
        look.apply_async((watched_id,), expires=30)


@shared_task(time_limit=600)
def look(watched_id: int) -> None:
    """Takes what has settled in a watched folder."""
    from rag.services import watching

    watching.look(watched_id)


@shared_task(time_limit=60)
def mail() -> None:
    """Has every mailbox looked into."""
    from rag.services import mailboxes

    for mailbox_id in mailboxes.due():
        fetch.apply_async((mailbox_id,), expires=60)


@shared_task(time_limit=300)
def fetch(mailbox_id: int) -> None:
    """Takes the new mails of a mailbox."""
    from rag.services import mailboxes

    mailboxes.fetch(mailbox_id)


def waiting(queue: str) -> int:
    """How many messages wait in a queue. Raises OperationalError when Redis does not answer.

    Redis is asked itself: kombu 5.7 forgets the key prefix where it looks whether a queue exists, and says that none does.
    """
    with (
        current_app.connection_or_acquire() as connection
    ):  # one of the pool: opening one takes longer than all the rest
        try:
            channel: Any = connection.default_channel
            return int(channel.client.llen(queue))
        except connection.connection_errors as error:
            raise OperationalError(str(error)) from error
