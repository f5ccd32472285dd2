"""Conversations that others may read: given to people and teams by name, checked anew each time one is opened.

The rule: what is shared is one branch, up to the answer that was its last when it was shared. Of each answer on it the other person
sees the question; the rest only while they may themselves read every document that was offered for it. A model was also shown what
was said before, so that the answer of a model is withheld too when one before it on its branch is. What a sentence cites opens
through the reader's own rights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from core import audit
from core.models import Team, User
from rag.access import Need, principal_of
from rag.domain.errors import Permanent
from rag.models import Answer, AnswerSource, Conversation, Document, Share
from rag.models.conversation import EXTRACTIVE, RUNNING
from rag.services import branches
from rag.services.answer_view import AnswerView, views_of

SHARED_MOST = 200  # in the list of what others shared
PAGE = 20  # answers shown at a time


def people(user: User) -> Sequence[User]:
    """Whom this person can share with by name: active members of the teams they are in. Others' names are not their business."""
    teams = Team.objects.filter(memberships__user=user)
    return list(User.objects.filter(memberships__team__in=teams, is_active=True).exclude(pk=user.pk).distinct())


def teams(user: User) -> Sequence[Team]:
    """The teams that this person can share with: their own."""
    return list(Team.objects.filter(memberships__user=user))


@transaction.atomic
def share(actor: User, conversation: Conversation, tip: Answer, *, other: User | Team) -> Share:
    """From now on `other` may read the branch that ends in `tip`, which takes the place of what they were given of it before.

    The caller has checked that conversation and tip are the actor's. Raises Permanent for somebody the actor does not know.
    """
    known = teams(actor) if isinstance(other, Team) else people(actor)
    if other not in known:
        raise Permanent(_("Choose a person or a team that you belong to."))
    whom: dict[str, Any] = {"team" if isinstance(other, Team) else "user": other}
    found, _made = Share.objects.update_or_create(conversation=conversation, **whom, defaults={"tip": tip})
    audit.record(
        "conversation.shared", actor=actor, subject=conversation, answer=str(tip.pk), **{key: other.pk for key in whom}
    )
    return found


@transaction.atomic
def unshare(actor: User, conversation: Conversation, share_id: int) -> None:
    """Takes back one share of the actor's own conversation; from the next request on nobody reads it through that one."""
    for found in conversation.shares.filter(pk=share_id):
        audit.record("conversation.unshared", actor=actor, subject=conversation, user=found.user_id, team=found.team_id)
        found.delete()


def shares_of(conversation: Conversation) -> Sequence[Share]:
    """Whom the conversation is shared with, the first of them first."""
    return list(conversation.shares.select_related("user", "team", "tip"))


def shared_with(reader: User) -> Sequence[Conversation]:
    """What others gave this person to read, the newest first."""
    rows = Conversation.objects.shared_with(principal_of(reader)).select_related("owner")
    return list(rows.order_by("-updated")[:SHARED_MOST])


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """An answer as somebody else may read it; of a withheld one nothing but its question."""

    question: str
    view: AnswerView | None
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class Shared:
    """What a person reads of somebody else's conversation: a page of its branch, and the page before."""

    conversation: Conversation
    answers: Sequence[SharedAnswer]
    page: int
    pages: int


def opened(reader: User, conversation: Conversation, *, page: int = 0) -> Shared:
    """The shared branch as the reader may see it now; the last page, or `page` from 1. The caller has checked that it was given to
    them. Several shares may reach them: the longest counts.
    """
    branch = _branch(reader, conversation)
    hidden = withheld(reader, branch)
    pages = max(1, -(-len(branch) // PAGE))
    number = min(page, pages) if page > 0 else pages
    shown = branch[(number - 1) * PAGE : number * PAGE]
    views = {view.id: view for view in views_of([answer for answer in shown if answer.pk not in hidden], reader)}
    audit.record("conversation.opened", actor=reader, subject=conversation, page=number)
    return Shared(conversation, [_shared(answer, views.get(answer.pk)) for answer in shown], number, pages)


def _shared(answer: Answer, view: AnswerView | None) -> SharedAnswer:
    if answer.state in RUNNING:
        return SharedAnswer(answer.question, None, is_running=True)
    return SharedAnswer(answer.question, view)


def _branch(reader: User, conversation: Conversation) -> list[Answer]:
    grown = branches.tree(conversation)
    tips = (
        Share.objects.reaching(principal_of(reader)).filter(conversation=conversation).values_list("tip_id", flat=True)
    )
    ids = max(([*grown.before(tip), tip] for tip in tips), key=len, default=[])
    found = Answer.objects.in_bulk(ids)
    return [found[each] for each in ids]


def withheld(reader: User, branch: Sequence[Answer]) -> frozenset[UUID]:
    """Which answers of a branch, from its first on, this person may not see: see the rule above."""
    readable = Document.objects.usable_by(principal_of(reader), role=Need.READ)
    barred = set(
        AnswerSource.objects.filter(answer__in=branch, offered=True)
        .exclude(document__in=readable.order_by().values("pk"))
        .order_by()
        .values_list("answer_id", flat=True)
        .distinct()
    )
    found: set[UUID] = set()
    for answer in branch:
        if answer.pk in barred or (found and answer.provider != EXTRACTIVE):
            found.add(answer.pk)
    return frozenset(found)
