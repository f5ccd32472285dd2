"""What watched folders, mailboxes and `manage.py ingest` have in common: who may, and files that come in batches of their own."""

from django.core.files import File
from django.db.models import F

from core.models import User
from rag.access import Need, may
from rag.domain.errors import Permanent
from rag.models import Batch, Collection
from rag.models.imports import Origin
from rag.services import imports, library
from rag.services.library import Added, Outcome
from rag.services.quotas import OverQuota


def may_add(actor: User | None, collection: Collection) -> bool:
    """Whether whoever switched a way in on may still write to the collection."""
    return actor is not None and may(actor, collection, need=Need.WRITE)


def batch_under_way(actor: User, collection: Collection, origin: Origin) -> Batch:
    """The batch that this way in is filling, or a new one: what comes in one go, over several looks, has one receipt."""
    still_open = Batch.objects.filter(collection=collection, actor=actor, origin=origin, finished__isnull=True)
    return still_open.order_by("-created").first() or imports.open_batch(actor, collection, origin, 0)


def close_batches(collection: Collection, origin: Origin) -> None:
    """Ends the batches that this way in was filling: nothing more waits."""
    for batch in Batch.objects.filter(collection=collection, origin=origin, finished__isnull=True):
        imports.close_batch(batch)


def announce(batch: Batch) -> None:
    """Counts one file more that has come."""
    Batch.objects.filter(pk=batch.pk).update(announced=F("announced") + 1)


def take(
    actor: User,
    collection: Collection,
    file: File,  # type: ignore[type-arg]  # File[bytes] at run time is not subscriptable
    *,
    path: str,
    replaces: bool,
    batch: Batch,
) -> Added:
    """`library.add_document` behind what people upload one by one, with the batch kept up to date.

    Raises what that raises; Exists and OverQuota are for the caller to settle, other refusals are in the batch already.
    """
    try:
        added = library.add_document(actor, collection, file, path=path, replaces=replaces, batch=batch, bulk=True)
    except (library.Exists, OverQuota):
        raise
    except Permanent as error:
        imports.note_refused(batch, path, error.message)
        raise
    if added.outcome is Outcome.UNCHANGED:
        imports.note_unchanged(batch)
    return added
