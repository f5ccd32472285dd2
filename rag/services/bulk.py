"""What is done to many documents at once. Each is as it would be by itself: checked, done, audited."""

from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from django.utils.translation import ngettext

from core.models import User
from rag.models import Collection, Document
from rag.services import ingest, library

CHOSEN_MOST = 1000  # documents of one request; the table shows a hundred


class _Act(Protocol):
    def __call__(self, actor: User, document: Document, /) -> object: ...


def _delete(actor: User, document: Document) -> bool:
    library.delete_document(actor, document)
    return True


def _retry(actor: User, document: Document) -> bool:
    return library.retry(actor, document)


def _cancel(actor: User, document: Document) -> bool:
    return ingest.cancel(actor, document)


ACTIONS: Mapping[str, _Act] = {"delete": _delete, "retry": _retry, "cancel": _cancel}


def chosen(collection: Collection, ids: Iterable[str]) -> list[Document]:
    """Those of these ids that are live documents of the collection."""
    wanted = [UUID(text) for text in list(ids)[:CHOSEN_MOST] if _is_id(text)]
    return list(Document.objects.live().filter(collection=collection, pk__in=wanted).select_related("latest__run"))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def act(actor: User, documents: Iterable[Document], action: str) -> str:
    """Does one of ACTIONS to each; a sentence that says to how many. The caller has checked that `actor` may."""
    count = sum(bool(ACTIONS[action](actor, document)) for document in documents)
    match action:
        case "delete":
            sentence = ngettext("%d document was deleted.", "%d documents were deleted.", count)
        case "retry":
            sentence = ngettext("%d document is read once more.", "%d documents are read once more.", count)
        case _:
            sentence = ngettext("%d document is no longer read.", "%d documents are no longer read.", count)
    return sentence % count


def retry_failed(actor: User, collection: Collection) -> str:
    """Reads all failed documents of the collection once more, except those that wait for a password; a sentence says how many."""
    count = ingest.retry_all_failed(actor, collection)
    return ngettext("%d document is read once more.", "%d documents are read once more.", count) % count
