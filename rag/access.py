"""Who may read and write what. Fetch and check in one call; "no such" and "not yours" are the same 404.

Why here: a `Scope` is made nowhere else (tests/architecture holds it to that), so a search that forgot to ask who is asking does
not type-check. Administrators get nothing extra: running the site is not reading the documents.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from enum import IntEnum
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.http import Http404

from core.models import Role, User
from rag.domain.conditions import Condition
from rag.domain.types import Filter, Principal, Scope
from rag.models import Answer, Collection, CollectionField, Conversation, Document, Revision, WholeReading

_NOT_FOUND = "There is nothing here."


class Need(IntEnum):
    """What is about to be done."""

    READ = Role.READER
    WRITE = Role.CONTRIBUTOR
    MANAGE = Role.MANAGER


def principal_of(user: User | AnonymousUser) -> Principal:
    """Who asks. Anonymous and deactivated people are nobody: 0 is no user's id, so they see nothing."""
    return Principal(user_id=user.pk if user.is_authenticated and user.is_active and user.pk else 0)


def scope_for(
    user: User | AnonymousUser,
    *,
    asked: AbstractCollection[UUID],
    conditions: Sequence[Condition] = (),
    conversation: UUID | None = None,
) -> Scope:
    """What this person may search now, of what they asked for. Asking for a foreign collection is asking for nothing.

    Each condition narrows it to documents whose fields fulfil it; a field that none of the collections has is fulfilled by nothing.
    For a question in a `conversation` of their own, that conversation's files are searched too.
    """
    principal = principal_of(user)
    usable = Collection.objects.usable_by(principal, role=Need.READ).filter(id__in=list(asked)).order_by()
    collections = frozenset(usable.values_list("id", flat=True))
    filters = _filters(collections, conditions)
    if conversation is not None:
        files = Collection.objects.of_conversation(principal, conversation).order_by()
        own = frozenset(files.values_list("id", flat=True))
        if own:
            return Scope(principal, collections | own, filters, conversation)
    return Scope(principal=principal, collections=collections, filters=filters)


def _filters(collections: frozenset[UUID], conditions: Sequence[Condition]) -> tuple[Filter, ...]:
    if not conditions:
        return ()
    keys = {condition.key for condition in conditions}
    rows = CollectionField.objects.filter(collection_id__in=collections, key__in=keys).values_list("key", "id")
    fields: dict[str, set[int]] = {key: set() for key in keys}
    for key, field_id in rows:
        fields[key].add(field_id)
    return tuple(
        Filter(
            fields=frozenset(fields[condition.key]),
            values=frozenset(condition.values),
            since=condition.since,
            until=condition.until,
        )
        for condition in conditions
    )


def scope_for_all(user: User | AnonymousUser, conditions: Sequence[Condition] = ()) -> Scope:
    """Everything this person may search now, narrowed by each condition."""
    principal = principal_of(user)
    usable = Collection.objects.usable_by(principal, role=Need.READ).order_by()
    collections = frozenset(usable.values_list("id", flat=True))
    return Scope(principal=principal, collections=collections, filters=_filters(collections, conditions))


def collection_for(user: User | AnonymousUser, collection_id: UUID, *, need: Need) -> Collection:
    """The collection, or Http404 when it does not exist or may not be used so."""
    found = Collection.objects.usable_by(principal_of(user), role=need).filter(id=collection_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def document_for(user: User | AnonymousUser, document_id: UUID, *, need: Need) -> Document:
    """The live document, or Http404."""
    usable = Document.objects.usable_by(principal_of(user), role=need)
    found = usable.select_related("collection", "latest__run", "current").filter(id=document_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def revision_for(user: User | AnonymousUser, document_id: UUID, number: int) -> Revision:
    """A revision of a document whose pages this person may open, or Http404: also of a file in a conversation of their own."""
    principal = principal_of(user)
    found = Revision.objects.filter(
        Q(document__in=Document.objects.usable_by(principal, role=Need.READ).order_by().values("pk"))
        | Q(document__in=Document.objects.private_to(principal).order_by().values("pk")),
        document_id=document_id,
        number=number,
    )
    revision = found.select_related("document__collection").first()
    if revision is None:
        raise Http404(_NOT_FOUND)
    return revision


def documents_for(user: User | AnonymousUser, document_ids: Sequence[UUID]) -> list[Document]:
    """The live documents, in this order; Http404 when one of them is not there to be read."""
    usable = Document.objects.usable_by(principal_of(user), role=Need.READ).select_related("collection", "current")
    found = usable.in_bulk(list(document_ids))
    if len(found) != len(set(document_ids)):
        raise Http404(_NOT_FOUND)
    return [found[document_id] for document_id in dict.fromkeys(document_ids)]


def reading_for(user: User | AnonymousUser, reading_id: UUID) -> WholeReading:
    """A reading of whole documents that the person asked for, or Http404: also where they may read none of the documents any more."""
    found = WholeReading.objects.of(principal_of(user)).select_related("owner").filter(id=reading_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def private_file_for(user: User | AnonymousUser, conversation_id: UUID, document_id: UUID) -> Document:
    """A file in a conversation of the person's own, or Http404."""
    found = Document.objects.private_to(principal_of(user), conversation_id).filter(pk=document_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def conversation_for(user: User | AnonymousUser, conversation_id: UUID) -> Conversation:
    """The person's own conversation, or Http404."""
    found = Conversation.objects.of(principal_of(user)).filter(id=conversation_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def deleted_conversation_for(user: User | AnonymousUser, conversation_id: UUID) -> Conversation:
    """The person's own conversation that they deleted and that is still there, or Http404."""
    principal = principal_of(user)
    mine = Conversation.objects.filter(owner_id=principal.user_id, owner__is_active=True, deleted__isnull=False)
    found = mine.filter(id=conversation_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def shared_conversation_for(user: User | AnonymousUser, conversation_id: UUID) -> Conversation:
    """A conversation that this person was given to read, or their own, or Http404. Which answers of it they see is decided after."""
    principal = principal_of(user)
    given = Conversation.objects.shared_with(principal) | Conversation.objects.of(principal)
    found = given.select_related("owner").filter(id=conversation_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def answer_for(user: User | AnonymousUser, answer_id: UUID) -> Answer:
    """An answer in the person's own conversations, or Http404."""
    found = Answer.objects.of(principal_of(user)).select_related("conversation").filter(id=answer_id).first()
    if found is None:
        raise Http404(_NOT_FOUND)
    return found


def may(user: User | AnonymousUser, collection: Collection, *, need: Need) -> bool:
    """Whether this person may use the collection so; for what a page offers. Acting on it checks again."""
    return Collection.objects.usable_by(principal_of(user), role=need).filter(pk=collection.pk).exists()
