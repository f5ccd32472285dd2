"""What is to be said about an answer's sources today: superseded, not yet in force, a newer revision, one against another.

Computed at each reading, never stored (but for which sources say different things): an answer of last year says today that a newer
document exists.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from core.models import User
from rag.access import scope_for
from rag.domain.conditions import from_json
from rag.models import Answer, AnswerSource, Conversation, Document
from rag.services import fields, validity
from rag.services.validity import Standing, Tag


@dataclass(frozen=True, slots=True)
class About:
    """Tags for each source by its number, and what to warn of before reading an answer that cites some of them."""

    tags: Mapping[int, Sequence[Tag]]
    _lapses: Mapping[int, tuple[UUID, Tag]]  # by number: the document and the sentence about it
    _conflicts: Mapping[tuple[int, int], Tag]

    def warnings(self, cited: Iterable[int]) -> list[Tag]:
        """One sentence for each cited document that does not hold (any more), and for each two sources that disagree."""
        lapses = dict(self._lapses[number] for number in sorted(cited) if number in self._lapses)
        return [*lapses.values(), *self._conflicts.values()]


def of(
    sources: Sequence[AnswerSource], conflicts: Sequence[Sequence[int]], standings: Mapping[UUID, Standing]
) -> About:
    """What is to be said about these sources, which their reader may see; of conflicts, those between two of them."""
    known = {source.number: source for source in sources}
    pairs = [(one, other) for one, other in conflicts if one in known and other in known]
    tags: dict[int, list[Tag]] = {}
    lapses: dict[int, tuple[UUID, Tag]] = {}
    for source in sources:
        if source.document is None:
            continue
        standing = standings[source.document.pk]
        others = sorted({number for pair in pairs if source.number in pair for number in pair} - {source.number})
        tags[source.number] = [
            *validity.tags(standing),
            *validity.revision_tags(source.document, source.revision),
            *_disagreement(source, others),
        ]
        if lapse := _lapse(source.document, source.revision, standing):
            lapses[source.number] = source.document.pk, lapse
    return About(tags, lapses, {(one, other): _conflict(known[one], known[other]) for one, other in pairs})


def _disagreement(source: AnswerSource, others: Sequence[int]) -> list[Tag]:
    if not others:
        return []
    named = ", ".join(str(number) for number in others)
    return [Tag(_("of %(day)s; source %(others)s says otherwise") % {"day": _day(source), "others": named})]


def _lapse(document: Document, revision: int, standing: Standing) -> Tag | None:
    title = document.title
    if standing.successor is not None:
        said = _("This rests on “%(title)s”, which was superseded by “%(newer)s”.")
        url = reverse("document", args=[standing.successor.pk])
        return Tag(said % {"title": title, "newer": standing.successor.title}, url)
    if standing.starts is not None:
        said = _("This rests on “%(title)s”, which is not in force before %(day)s.")
        return Tag(said % {"title": title, "day": date_format(standing.starts)})
    if document.current is not None and document.current.number > revision:
        said = _("This rests on revision %(number)d of “%(title)s”. A newer revision exists.")
        return Tag(said % {"number": revision, "title": title}, reverse("document", args=[document.pk]))
    return None


def _conflict(one: AnswerSource, other: AnswerSource) -> Tag:
    said = _("Sources %(one)d (%(one_day)s) and %(other)d (%(other_day)s) say different things.")
    return Tag(said % {"one": one.number, "other": other.number, "one_day": _day(one), "other_day": _day(other)})


def _day(source: AnswerSource) -> str:
    """The day that a source's words are of: from which they hold, or when they were uploaded."""
    if source.document is not None and source.document.valid_from is not None:
        return date_format(source.document.valid_from)
    return date_format(source.extraction.revision.created) if source.extraction is not None else ""


def filters(answers: Sequence[Answer], reader: User) -> Mapping[UUID, Sequence[str]]:
    """With which conditions each answer was asked, in words; names of fields as far as the reader may use their collections."""
    filtered = [answer for answer in answers if answer.filters]
    if not filtered:
        return {}
    asked = Conversation.collections.through.objects.filter(
        conversation__in={answer.conversation_id for answer in filtered}
    ).values_list("collection_id", flat=True)
    scope = scope_for(reader, asked=set(asked))
    return {answer.pk: fields.in_words(from_json(answer.filters), scope) for answer in filtered}
