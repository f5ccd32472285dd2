"""How much may be kept: bytes and documents of a collection, bytes of a person, pages of a document. 0 is no limit.

Why inside the transaction that adds: twenty uploads at once would each find room when asked before. The collection's row is locked
there already; a person's is locked behind it, always in this order.
"""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from core.models import User
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Collection, Document, Revision


class OverQuota(Permanent):
    """There is no room for it; the same file can come again once there is."""


@dataclass(frozen=True, slots=True)
class Use:
    """What of a collection's limits is used; a limit of 0 is none."""

    size: int
    size_most: int
    documents: int
    documents_most: int


@transaction.atomic
def require_room(collection: Collection, person: User | None, *, size: int, documents: int) -> None:
    """Raises OverQuota when `size` more bytes and `documents` more documents are more than this collection or person may have.

    True for good only where the caller holds the collection's row, as `library.add_document` does; elsewhere it is an early word.
    """
    config = rag_config()
    if config.collection_documents and documents and _documents(collection) + documents > config.collection_documents:
        raise OverQuota(
            _("This collection is full: it may have %(most)d documents.") % {"most": config.collection_documents}
        )
    if config.collection_bytes and _size(collection) + size > config.collection_bytes:
        raise OverQuota(
            _("This collection is full: its files may have %(most)s together.")
            % {"most": filesizeformat(config.collection_bytes)}
        )
    if config.user_bytes and person is not None:
        # Locked: the same person may be adding to another collection. FOR NO KEY: rows that name the person can still come.
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        if _size_of(person) + size > config.user_bytes:
            raise OverQuota(
                _("The files of one person may have %(most)s together, and this would be more.")
                % {"most": filesizeformat(config.user_bytes)}
            )


def require_pages(count: int) -> None:
    """Raises Permanent when a document of `count` pages is longer than one may be."""
    most = rag_config().document_pages
    if most and count > most:
        raise Permanent(_("It has %(count)d pages; at most %(most)d are read.") % {"count": count, "most": most})


def use(collection: Collection) -> Use | None:
    """What the collection has of what it may have; None where nothing limits it."""
    config = rag_config()
    if not (config.collection_bytes or config.collection_documents):
        return None
    return Use(_size(collection), config.collection_bytes, _documents(collection), config.collection_documents)


def _documents(collection: Collection) -> int:
    return Document.objects.live().filter(collection=collection).count()


def _size(collection: Collection) -> int:
    """All revisions: the older ones are kept too. What is deleted frees its room at once."""
    kept = Revision.objects.filter(document__collection=collection, document__deleted__isnull=True)
    return int(kept.aggregate(sum=Sum("size"))["sum"] or 0)


def _size_of(person: User) -> int:
    kept = Revision.objects.filter(
        uploader=person, document__deleted__isnull=True, document__collection__deleted__isnull=True
    )
    return int(kept.aggregate(sum=Sum("size"))["sum"] or 0)
