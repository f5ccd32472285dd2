"""A conversation as its owner reads it: one branch, a page of it at a time, each answer with its versions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from core.models import User
from rag.models import Answer, Conversation
from rag.services import branches
from rag.services.answer_view import AnswerView, views_of

PAGE = 20  # answers shown at a time


@dataclass(frozen=True, slots=True)
class Thread:
    """A page of a branch; `leaf` is the last answer of the branch, which the next question follows."""

    answers: Sequence[AnswerView]
    leaf: UUID | None
    earlier_url: str = ""
    later_url: str = ""


def thread(
    conversation: Conversation, reader: User, *, at: UUID | None = None, until: UUID | None = None, most: int = PAGE
) -> Thread:
    """The last page of the branch through `at` (or of the newest one), or the page that ends before `until` or that holds `at`."""
    grown = branches.tree(conversation)
    branch = grown.branch(at)
    end = branch.index(until) if until in branch else len(branch)
    if until not in branch and at in branch and branch.index(at) < end - most:
        end = branch.index(at) + most
    start = max(0, end - most)
    shown = branch[start:end]
    found = Answer.objects.select_related("feedback").in_bulk(shown)
    views = views_of([found[each] for each in shown], reader)
    later = branch[end + most] if end + most < len(branch) else None
    return Thread(
        answers=[replace(view, version=grown.version(view.id)) for view in views],
        leaf=branch[-1] if branch else None,
        earlier_url=branches.url(conversation.pk, branch[-1], until=branch[start]) if start else "",
        later_url=branches.url(conversation.pk, branch[-1], until=later) if end < len(branch) else "",
    )
