"""Renames and deletes conversations. The caller has checked whose they are."""

from django.db import transaction

from core import audit
from core.models import User
from rag.models import Answer, Conversation, Feedback, KeptQuestion
from rag.models.ranking import QuestionOrigin


def rename(conversation: Conversation, *, title: str) -> None:
    """Gives the conversation a name of the owner's choice."""
    conversation.title = title
    conversation.save(update_fields=["title"])


@transaction.atomic
def delete(actor: User, conversation: Conversation) -> None:
    """Removes the conversation and everything in it; a running answer loses its row and writes nothing more."""
    audit.record("conversation.deleted", actor=actor, subject=conversation)
    conversation.delete()


def rate(answer: Answer, *, helpful: bool) -> None:
    """Keeps what the reader thought of an answer; the same thumb again takes it back."""
    # What was kept because the answer was good goes when it is not called good any more.
    KeptQuestion.objects.filter(answer=answer, origin=QuestionOrigin.THUMBS_UP).delete()
    given = Feedback.objects.filter(answer=answer).first()
    if given is not None and given.helpful == helpful:
        given.delete()
        return
    Feedback.objects.update_or_create(answer=answer, defaults={"helpful": helpful})
