"""A conversation as a tree: answers after the same one are versions of each other, and what follows belongs to its version.

Which branch is shown is part of an address (`?at=`), never stored: looking at an older version changes nothing for anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from rag.models import Answer, Conversation


@dataclass(frozen=True, slots=True)
class Version:
    """Which of several versions of a question this is, and where the ones beside it are shown."""

    number: int
    count: int
    previous_url: str
    next_url: str


class Tree:
    """The answers of one conversation by what they follow; `rows` are (id, after) pairs, oldest first."""

    def __init__(self, conversation_id: UUID, rows: Sequence[tuple[UUID, UUID | None]]) -> None:
        self._conversation_id = conversation_id
        self._after = dict(rows)
        self._next: dict[UUID | None, list[UUID]] = {}
        for answer, after in rows:
            self._next.setdefault(after, []).append(answer)
        self._newest = rows[-1][0] if rows else None

    def before(self, answer: UUID) -> list[UUID]:
        """What the answer follows, from the conversation's first on; without itself."""
        found: list[UUID] = []
        at = self._after.get(answer)
        while at is not None:
            found.append(at)
            at = self._after.get(at)
        return found[::-1]

    def branch(self, at: UUID | None = None) -> list[UUID]:
        """The branch through the answer `at`, down to the newest of what follows; without `at` the one of the newest answer."""
        here = at if at in self._after else self._newest
        if here is None:
            return []
        found = [*self.before(here), here]
        while following := self._next.get(found[-1]):
            found.append(following[-1])
        return found

    def version(self, answer: UUID) -> Version | None:
        """Which version of its question the answer is; None where there is only one."""
        beside = self._next.get(self._after.get(answer), [])
        if len(beside) < 2:
            return None
        place = beside.index(answer)
        before, after = beside[place - 1 : place], beside[place + 1 : place + 2]
        previous_url, next_url = (url(self._conversation_id, each[0]) if each else "" for each in (before, after))
        return Version(place + 1, len(beside), previous_url, next_url)


def url(conversation_id: UUID, at: UUID | None = None, *, until: UUID | None = None) -> str:
    """Where a conversation is shown: the branch through the answer `at`, at that answer; or the page of it that ends before `until`."""
    path = reverse("conversation", args=[conversation_id])
    if at is None:
        return path
    return f"{path}?at={at}&until={until}" if until else f"{path}?at={at}#answer-{at}"


def tree(conversation: Conversation) -> Tree:
    """The conversation's tree, in one query."""
    rows = conversation.answers.order_by("created", "pk").values_list("pk", "after_id")
    return Tree(conversation.pk, list(rows))


def before(answer: Answer, *, most: int) -> list[Answer]:
    """The last `most` answers that this one follows, oldest first."""
    ids = tree(answer.conversation).before(answer.pk)[-most:]
    found: Mapping[UUID, Answer] = Answer.objects.in_bulk(ids)
    return [found[each] for each in ids]
