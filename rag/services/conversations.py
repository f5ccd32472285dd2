"""Renames, pins, deletes and restores conversations, and keeps what readers think of answers. The caller has checked whose they are."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from core import audit
from core.models import User
from rag.models import Answer, Conversation, Feedback, KeptQuestion
from rag.models.conversation import RUNNING, FeedbackKind
from rag.models.ranking import QuestionOrigin
from rag.services import private_files

UNDO = timedelta(hours=1)  # how long a deleted conversation can be taken back


def rename(conversation: Conversation, *, title: str) -> None:
    """Gives the conversation a name of the owner's choice."""
    conversation.title = title
    conversation.save(update_fields=["title"])


def pin(conversation: Conversation, *, pinned: bool) -> None:
    """Puts the conversation at the top of the owner's list, or back among the others."""
    conversation.pinned = pinned
    conversation.save(update_fields=["pinned"])


@transaction.atomic
def delete(actor: User, conversation: Conversation) -> None:
    """Takes the conversation from every page at once, for whomever it was shared with too; a running answer ends.

    Files that were dropped into it are erased for good, and so is what collections kept of it to learn from. For as long as `UNDO`
    its owner can take the rest back; then `purge_deleted` removes it and everything in it.
    """
    audit.record("conversation.deleted", actor=actor, subject=conversation)
    private_files.forget(actor, conversation)
    KeptQuestion.objects.filter(answer__conversation=conversation).delete()
    conversation.answers.filter(state__in=RUNNING).update(stop_asked=True)
    Conversation.objects.filter(pk=conversation.pk).update(deleted=timezone.now())


@transaction.atomic
def restore(actor: User, conversation: Conversation) -> None:
    """The conversation as it was before it was deleted, with whomever it was shared with."""
    audit.record("conversation.restored", actor=actor, subject=conversation)
    Conversation.objects.filter(pk=conversation.pk).update(deleted=None)


def gone_at(conversation: Conversation) -> datetime | None:
    """When a deleted conversation is removed for good; None for one that is not deleted."""
    return conversation.deleted + UNDO if conversation.deleted is not None else None


def purge_deleted() -> int:
    """Removes for good what was deleted longer ago than `UNDO`, with all its answers; how many conversations that were."""
    due = list(Conversation.objects.filter(deleted__lt=timezone.now() - UNDO).values_list("pk", flat=True)[:100])
    for conversation_id in due:
        Conversation.objects.filter(pk=conversation_id, deleted__isnull=False).delete()
    return len(due)


def rate(answer: Answer, *, helpful: bool) -> None:
    """Keeps what the reader thought of an answer; the same thumb again takes it back, with the reason."""
    # What was kept because the answer was good goes when it is not called good any more.
    KeptQuestion.objects.filter(answer=answer, origin=QuestionOrigin.THUMBS_UP).delete()
    given = Feedback.objects.filter(answer=answer).first()
    if given is not None and given.helpful == helpful:
        given.delete()
        return
    Feedback.objects.update_or_create(answer=answer, defaults={"helpful": helpful, "kind": "", "reason": ""})


def explain(answer: Answer, *, kind: FeedbackKind | None, reason: str) -> None:
    """Keeps why an answer was not good: one of the kinds or None, and the reader's own words. Without a thumb down there is
    nothing to explain, and nothing is kept."""
    Feedback.objects.filter(answer=answer, helpful=False).update(kind=kind or "", reason=reason.strip()[:500])
