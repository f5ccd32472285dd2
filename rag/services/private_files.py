"""Files that a person drops into one conversation: read like any other, seen by that person alone, there alone, for a set time.

They lie in a collection that belongs to the conversation (`Collection.private`). It is granted to nobody, so every list, count,
search and facet passes it by; only `Document.private_to` and a scope for a question of that very conversation reach it. What is
over is not seen any more at that moment, by the same condition; the sweep erases it soon after: rows, vectors, indexes, originals,
pictures of pages, and the words that answers repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.models import User
from rag import tasks
from rag.access import principal_of
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.models import Answer, AnswerSource, Collection, Conversation, Document, Sentence
from rag.models.index import RunState
from rag.services import document_view, indexing, library

FILES_MOST = 20  # of one conversation; a whole shelf of documents is a collection
_UNREAD = (RunState.QUEUED, RunState.READING, RunState.RECOGNISING)


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as its owner sees it beside the composer: what it is called, how far its reading is, when it goes."""

    id: UUID
    conversation_id: UUID
    name: str
    state: str  # as document_view.state_of
    state_label: str
    in_work: bool
    done: int
    total: int
    message: str
    url: str  # where it opens; "" before it was read
    until: datetime


# --- Adding


def add(actor: User, conversation: Conversation | None, upload: File, *, name: str) -> Document:  # type: ignore[type-arg]
    """The file in the conversation, or in a new one, queued for reading. The caller has checked whose conversation it is.

    The same bytes under the same name again are nothing to do; others get a name of their own. Raises Permanent for a file that
    cannot be taken in, like any upload, and for one too many.
    """
    with transaction.atomic():
        if conversation is None:
            conversation = Conversation.objects.create(owner=actor, title=library.clean_path(name)[:200])
        shelf = _shelf(conversation)
        there = Document.objects.live().filter(collection=shelf, parent__isnull=True)
        if there.count() >= FILES_MOST:
            raise Permanent(
                ngettext(
                    "A conversation may have %d file of its own.",
                    "A conversation may have %d files of its own.",
                    FILES_MOST,
                )
                % FILES_MOST
            )
        try:
            return library.add_document(actor, shelf, upload, path=name).document
        except library.Exists:
            return library.add_document(actor, shelf, upload, path=library.free_path(shelf, name)).document


def _shelf(conversation: Conversation) -> Collection:
    """The collection of the conversation's files, its row locked: it cannot be erased in the same moment."""
    name = _("Only in this conversation")
    shelf, _made = Collection.objects.get_or_create(
        conversation=conversation, deleted__isnull=True, defaults={"private": True, "name": name[:100]}
    )
    return Collection.objects.select_for_update().get(pk=shelf.pk)


def entitle(conversation: Conversation, question: str) -> None:
    """Calls a conversation that its first file opened by its first question: the file's name goes with the file."""
    named = Document.objects.filter(collection__conversation=conversation, path=conversation.title)
    if not conversation.answers.exists() and named.exists():
        conversation.title = question[:200]
        conversation.save(update_fields=["title"])


# --- Showing


def files(reader: User, conversation: Conversation | None) -> list[FileView]:
    """The files of the conversation as this person may see them now, oldest first; of a conversation of others none."""
    if conversation is None:
        return []
    found = Document.objects.private_to(principal_of(reader), conversation.pk).filter(parent__isnull=True)
    rows = found.select_related("latest__run", "current").order_by("created")
    return [_view(document, conversation) for document in rows]


def panel(reader: User, conversation: Conversation | None, errors: Sequence[str] = ()) -> dict[str, object]:
    """What stands above the composer: the files, whether any is still being read, how long they stay, what went wrong."""
    shown = files(reader, conversation)
    return {
        "conversation": conversation,
        "private_files": shown,
        "private_working": any(file.in_work for file in shown),
        "private_errors": errors,
        "private_hours": rag_config().private_file_hours,
        "private_most": settings.UPLOAD_FORM_LIMIT,
    }


def _view(document: Document, conversation: Conversation) -> FileView:
    state = document_view.state_of(document_view.run_of(document.latest))
    current = document.current
    return FileView(
        id=document.pk,
        conversation_id=conversation.pk,
        name=document.path,
        state=state["state"],
        state_label=state["state_label"],
        in_work=state["in_work"],
        done=state["done"],
        total=state["total"],
        message=state["message"],
        url=reverse("page", args=[document.pk, current.number, 1]) if current is not None else "",
        until=document.created + _lifetime(),
    )


def _lifetime() -> timedelta:
    return timedelta(hours=rag_config().private_file_hours)


def unread(asker: User, conversation: Conversation) -> list[str]:
    """The ids of the conversation's files of which not all can be found yet: they wait, are being read, or could not be read."""
    found = Document.objects.private_to(principal_of(asker), conversation.pk)
    late = Q(latest__run__state__in=_UNREAD) | Q(current__isnull=True)
    return [str(pk) for pk in found.filter(late).order_by("created").values_list("pk", flat=True)]


def has_any(asker: User, conversation: Conversation | None) -> bool:
    """Whether the conversation has files that this person may ask."""
    return conversation is not None and Document.objects.private_to(principal_of(asker), conversation.pk).exists()


def unread_notes(answers: Sequence[Answer], reader: User) -> dict[UUID, str]:
    """For each answer that was searched while files were not read yet, a sentence that names those its reader may still see."""
    wanted = {document for answer in answers for document in answer.waiting_for}
    if not wanted:
        return {}
    names: dict[str, str] = {
        str(pk): path
        for pk, path in Document.objects.private_to(principal_of(reader))
        .filter(pk__in=wanted)
        .values_list("pk", "path")
    }
    notes = {}
    for answer in answers:
        named = [names[document] for document in answer.waiting_for if document in names]
        if named:
            told = ngettext(
                "%(names)s was not read to its end when this was asked: ask again once it is.",
                "%(names)s were not read to their end when this was asked: ask again once they are.",
                len(named),
            )
            notes[answer.pk] = told % {"names": ", ".join(f"“{name}”" for name in named)}
    return notes


# --- Erasing


@transaction.atomic
def remove(actor: User, document: Document) -> None:
    """Takes one file out at once; nothing of it is left soon after. The caller has checked whose it is."""
    _forget_words(document.collection_id, [document.pk])
    library.delete_document(actor, document)
    tasks.send(tasks.erase_files, str(document.collection_id))


@transaction.atomic
def forget(actor: User, conversation: Conversation) -> None:
    """Takes all files of a conversation out, because it is put away or deleted."""
    for shelf in Collection.objects.filter(conversation=conversation, private=True, deleted__isnull=True):
        _close(actor, shelf)


def _close(actor: User | None, shelf: Collection) -> None:
    _forget_words(shelf.pk, None)
    library.delete_collection(actor, shelf)
    Collection.objects.filter(pk=shelf.pk).update(conversation=None)  # a conversation that is taken back begins anew
    tasks.send(tasks.erase_files, str(shelf.pk))


def sweep() -> int:
    """Erases what is over, what lost its conversation, and what a lost message left half erased; how many shelves were touched."""
    over = Document.objects.filter(collection__private=True, created__lte=timezone.now() - _lifetime())
    orphans = Collection.objects.filter(private=True).filter(
        Q(conversation__isnull=True) | Q(conversation__deleted__isnull=False) | Q(deleted__isnull=False)
    )
    gone = Document.objects.filter(collection__private=True, deleted__isnull=False)
    touched = set(over.values_list("collection", flat=True)) | set(orphans.values_list("pk", flat=True))
    touched |= set(gone.values_list("collection", flat=True))
    for shelf in touched:
        _expire(shelf)
        erase(shelf)
    return len(touched)


@transaction.atomic
def _expire(shelf_id: UUID) -> None:
    shelf = Collection.objects.select_for_update().filter(pk=shelf_id).first()
    if shelf is None or shelf.deleted is not None:
        return
    if shelf.conversation is None or shelf.conversation.deleted is not None:
        _close(None, shelf)
        return
    over = Document.objects.live().filter(collection=shelf, created__lte=timezone.now() - _lifetime())
    for document in over.select_related("collection"):
        _forget_words(shelf.pk, [document.pk])
        library.delete_document(None, document)


def erase(shelf_id: UUID) -> None:
    """Removes what deleted files left: rows, vectors, originals, pictures, indexes; with the last file the shelf itself.

    Running it twice, or after the shelf is gone, is running it once.
    """
    library.purge_deleted(shelf_id)
    with transaction.atomic():
        shelf = Collection.objects.select_for_update().filter(pk=shelf_id, private=True).first()
        left = shelf is not None and Document.objects.filter(collection=shelf).exists()
        if shelf is not None and not left:
            shelf.delete()
    # A keyword index keeps removed words until its segments are merged: it is written anew, or goes.
    if left:
        indexing.rebuild(shelf_id)
    else:
        indexing.forget(shelf_id)


def _forget_words(shelf_id: UUID, documents: Sequence[UUID] | None) -> None:
    """Blanks what answers say word for word from these files, or from all of the shelf. What is shown without them is decided
    anyway by who may read; this is about what stays in the database.

    A sentence without citations rests on everything that was found, so it goes when anything of that does.
    """
    of_them = (
        Q(document__collection=shelf_id)
        if documents is None
        else Q(document__in=documents) | Q(document__parent__in=documents)
    )
    found = AnswerSource.objects.filter(of_them)
    answers = set(found.values_list("answer", flat=True))
    Sentence.objects.filter(Q(citations__source__in=found) | Q(answer__in=answers, citations__isnull=True)).update(
        text="", reason="", missing=[]
    )
    found.update(heading=[], page_label="")
    Answer.objects.filter(pk__in=answers).update(text="")
