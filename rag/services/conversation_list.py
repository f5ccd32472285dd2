"""The conversations of one person: the newest, all of them by the page, those that hold some words, and those just deleted."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from core.models import User
from rag.access import principal_of
from rag.domain.highlight import Part, mark_spans
from rag.models import Answer, Conversation, Sentence, Share
from rag.services import answer_view, branches
from rag.services.answer_view import AnswerView
from rag.services.conversations import UNDO

RECENT = 40  # in the list at the left
ROWS = 50  # on a page of all of them
FOUND_MOST = 30  # conversations that a search lists
_BATCH = 20  # answers read at a time to fill them
_BATCHES = 10
_WORDS_MOST = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation that holds the words, and where: `url` leads there, `parts` are the words around them."""

    conversation: Conversation
    url: str
    question: str = ""
    parts: Sequence[Part] = ()


def recent(user: User) -> list[Conversation]:
    """The newest of the person's own conversations, pinned ones first, and one more than `RECENT` where there are more."""
    return list(Conversation.objects.of(principal_of(user))[: RECENT + 1])


def page(user: User, number: int) -> Page[Conversation]:
    """A page of all of the person's own conversations, `is_shared` where others can read some of it; from 1, the nearest there is."""
    shared = Share.objects.filter(conversation=OuterRef("pk"))
    rows = Conversation.objects.of(principal_of(user)).annotate(is_shared=Exists(shared))
    return Paginator(rows, ROWS).get_page(number)


def deleted(user: User) -> list[Conversation]:
    """What the person deleted so lately that it can be taken back, the last first."""
    rows = Conversation.objects.filter(owner=user, deleted__gte=timezone.now() - UNDO)
    return list(rows.order_by("-deleted")[:ROWS])


def find(user: User, text: str) -> list[Found]:
    """The person's own conversations that hold every word of `text`: in the title, or together in one question and its answer.

    Of answers only that counts which the person may still read. Titles come first, then the newest answers.
    """
    words = text.casefold().split()[:_WORDS_MOST]
    if not words:
        return []
    found: dict[UUID, Found] = {}
    titled = Conversation.objects.of(principal_of(user))
    for word in words:
        titled = titled.filter(_holds("title", word))
    for conversation in titled[:FOUND_MOST]:
        found[conversation.pk] = Found(conversation, branches.url(conversation.pk))
    for answer, view in _holding(user, words):
        known = found.get(answer.conversation_id)
        if known is None and len(found) == FOUND_MOST:
            break
        if known is None or not known.question:
            url = branches.url(answer.conversation_id, answer.pk)
            found[answer.conversation_id] = Found(answer.conversation, url, view.question, _around(view, words))
    return list(found.values())


def _holding(user: User, words: Sequence[str]) -> Iterator[tuple[Answer, AnswerView]]:
    """Answers whose question and visible words hold all of `words`, the newest first; as many as a bounded look finds."""
    rows = Answer.objects.of(principal_of(user)).select_related("conversation").order_by("-created")
    for word in words:
        said = Sentence.objects.filter(_holds("text", word), answer=OuterRef("pk"))
        rows = rows.filter(_holds("question", word) | Exists(said))
    for start in range(0, _BATCHES * _BATCH, _BATCH):
        batch = list(rows[start : start + _BATCH])
        for answer, view in zip(batch, answer_view.views_of(batch, user), strict=True):
            seen = f"{view.question} {answer_view.words_of(view)}".casefold()
            if all(word in seen for word in words):
                yield answer, view
        if len(batch) < _BATCH:
            return


def _holds(field: str, word: str) -> Q:
    """The field holds the word, whatever its case. SQLite folds the case of ASCII letters alone: others are tried one by one."""
    variants = {word, word.upper(), word.capitalize()} if not word.isascii() else {word}
    return Q(*(Q(**{f"{field}__icontains": variant}) for variant in variants), _connector=Q.OR)


def _around(view: AnswerView, words: Sequence[str]) -> list[Part]:
    """The first visible sentence or quotation that holds one of the words, with them marked; "" where only the question does."""
    said = [sentence.text for sentence in view.sentences if not sentence.hidden] + [quote.text for quote in view.quotes]
    for text in said:
        if any(word in text.casefold() for word in words):
            shown = text[:300]
            matches = (match for word in words for match in re.finditer(re.escape(word), shown, re.IGNORECASE))
            return list(mark_spans(shown, sorted(match.span() for match in matches)))
    return []
