"""Celery tasks: each is a docstring and one call. They take ids, may run twice, late or never: the database decides."""

from functools import partial
from typing import Any

from celery import Task, current_app, shared_task
from django.db import transaction
from kombu.exceptions import ChannelError


def send(task: "Task[Any, Any]", *args: object) -> None:
    """Queues the task once the transaction commits; with none open, now."""
    transaction.on_commit(partial(task.delay, *args))


@shared_task(time_limit=7200, expires=24 * 3600)
def ingest(revision_id: int) -> None:
    """Reads a revision and stores what can be searched."""
    from rag.services import ingest as service

    service.read(revision_id)


@shared_task(time_limit=4 * 3600, expires=24 * 3600)
def embed(revision_id: int) -> None:
    """Embeds a revision's passages."""
    from rag.services import embedding

    embedding.embed(revision_id)


@shared_task(time_limit=3600, expires=24 * 3600)
def purge(collection_id: str) -> None:
    """Removes what deleted documents of a collection left behind."""
    from uuid import UUID

    from rag.services import indexing, library

    library.purge_deleted(UUID(collection_id))
    indexing.sync(UUID(collection_id))


@shared_task(time_limit=3600, expires=24 * 3600)
def sync(collection_id: str) -> None:
    """Makes a collection's indexes equal the database."""
    from uuid import UUID

    from rag.services import indexing

    indexing.sync(UUID(collection_id))


@shared_task(time_limit=60)
def sweep() -> None:
    """Queues again what a dead process or a lost message left lying, documents and answers."""
    from rag.services import answering, ingest

    ingest.sweep_stale()
    answering.sweep_stale()


@shared_task(time_limit=3600)
def upkeep() -> None:
    """Finishes interrupted deletions and brings indexes up to date."""
    from rag.services import indexing, library

    library.purge_all_deleted()
    indexing.sync_all()


def waiting(queue: str) -> int:
    """How many messages wait in a queue; 0 when it does not exist yet."""
    with current_app.connection_for_write() as connection:
        try:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except ChannelError:
            return 0
