"""What an exported answer says, as its reader may see it now, before any file format: questions, paragraphs, notes, and their marks.

Everything that documents, models and people wrote is put on one line and freed of what cannot be seen (control characters, direction
overrides, hidden tags): the writers add only what their own format needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from core.models import User
from rag.domain.text import one_line
from rag.models import Answer, AnswerSource, Conversation
from rag.models.conversation import AnswerState
from rag.services.answer_view import QUOTED, AnswerView, Chip, QuoteView, SentenceView, views_of

# IPTC's code for media that a model made; Article 50 of the AI Act asks for a mark that programs can read.
MADE_BY_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
EXTRACTS = "verbatim-extracts"
GENERATOR = "Footnote"


@dataclass(frozen=True, slots=True)
class Note:
    """A footnote: the cited words and where they stand. Numbered through the whole file, from 1."""

    number: int
    quote: str
    title: str
    version: str  # "revision 2 of 3 March 2026"
    page: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence or a quotation with its notes; `remark` is what the check found, where a reader has to know."""

    text: str
    notes: Sequence[Note]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what came of it. `facts` are (name, value); `remarks` are sentences about the answer as a whole."""

    question: str
    quotes: Sequence[Said]
    paragraphs: Sequence[Sequence[Said]]
    remarks: Sequence[str]
    notice: str
    facts: Sequence[tuple[str, str]]

    @property
    def notes(self) -> list[Note]:
        """The turn's footnotes in the order of their numbers."""
        said = [*self.quotes, *(each for paragraph in self.paragraphs for each in paragraph)]
        return [note for each in said for note in each.notes]


@dataclass(frozen=True, slots=True)
class Pages:
    """A whole export. `source_type` is the mark that programs read: MADE_BY_MODEL or EXTRACTS."""

    title: str
    exported: datetime
    turns: Sequence[Turn]
    source_type: str

    @property
    def note(self) -> str:
        """What the whole file is, in a sentence."""
        if self.source_type == MADE_BY_MODEL:
            return _("This text was written by a machine from the passages it cites. Check the sources.")
        return _("These are the words of the cited documents, unchanged, chosen by a machine. Check the sources.")


def of_answers(title: str, answers: Sequence[Answer], reader: User) -> Pages:
    """The answers as `reader` may see them now: what they may not see is not in it. Answers that are being written are left out."""
    views = [view for view in views_of(answers, reader) if not view.is_running]
    versions = _versions(answers)
    stored = {answer.pk: answer for answer in answers}
    writer = _Writer(versions)
    turns = [writer.turn(view, stored[view.id]) for view in views]
    by_model = any(view.sentences or view.partial for view in views if not view.quotes_only)
    return Pages(one_line(title), timezone.now(), turns, MADE_BY_MODEL if by_model else EXTRACTS)


def of_branch(conversation: Conversation, branch: Sequence[UUID], reader: User) -> Pages:
    """A whole branch of a conversation; see `of_answers`."""
    found = Answer.objects.in_bulk(branch)
    return of_answers(conversation.title, [found[each] for each in branch], reader)


def _versions(answers: Sequence[Answer]) -> Mapping[tuple[UUID, int], str]:
    """Which version of its document each source is, in words, by its answer and number."""
    rows = AnswerSource.objects.filter(answer__in=answers).select_related("extraction__revision")
    found = {}
    for row in rows:
        words = _("revision %(number)d") % {"number": row.revision}
        if row.extraction is not None:
            day = date_format(row.extraction.revision.created)
            words = _("revision %(number)d of %(day)s") % {"number": row.revision, "day": day}
        found[row.answer_id, row.number] = words
    return found


class _Writer:
    """Turns views into turns, numbering the notes through all of them."""

    def __init__(self, versions: Mapping[tuple[UUID, int], str]) -> None:
        self._versions = versions
        self._count = 0

    def turn(self, view: AnswerView, answer: Answer) -> Turn:
        quotes = [Said(one_line(quote.text), [self._note(view, quote, quote.text)]) for quote in view.quotes]
        return Turn(
            question=one_line(view.question),
            quotes=quotes,
            paragraphs=self._paragraphs(view),
            remarks=_remarks(view),
            notice=_notice(view),
            facts=_facts(view, answer),
        )

    def _paragraphs(self, view: AnswerView) -> list[list[Said]]:
        paragraphs: list[list[Said]] = []
        for sentence in view.sentences:
            if sentence.hidden:
                continue
            notes = [self._note(view, chip, chip.quote) for chip in sentence.chips]
            said = Said(one_line(sentence.text), notes, _remark(sentence))
            if sentence.paragraph or not paragraphs:
                paragraphs.append([])
            paragraphs[-1].append(said)
        if not paragraphs and view.partial:
            paragraphs.append([Said(one_line(view.partial), [])])
        return paragraphs

    def _note(self, view: AnswerView, cited: Chip | QuoteView, words: str) -> Note:
        self._count += 1
        version = self._versions.get((view.id, cited.number), "")
        return Note(self._count, one_line(words), one_line(cited.title), version, one_line(cited.page_label))


def _remark(sentence: SentenceView) -> str:
    """What the check of a sentence found: nothing where its source carries it."""
    reason = one_line(sentence.reason)
    if sentence.verdict == "contradicted":
        return _("The source says otherwise. %(reason)s") % {"reason": reason}
    if sentence.verdict == "unsupported":
        return reason or _("Not found in the cited passage.")
    if sentence.verdict == QUOTED:
        return _("The passage's own words, in place of what the model wrote.")
    return _("Partly supported.") if sentence.verdict == "partly" else ""


def _remarks(view: AnswerView) -> list[str]:
    found = [one_line(text) for text in (view.mode, view.notice, view.unread) if text]
    found += [one_line(warning.text) for warning in view.warnings]
    if view.state == AnswerState.REFUSED:
        found.append(_("The documents do not seem to answer this."))
    elif view.state in {AnswerState.FAILED, AnswerState.STOPPED}:
        found.append(one_line(view.message))
    return found


def _notice(view: AnswerView) -> str:
    if view.quotes_only or not (view.sentences or view.partial):
        return _("The words of your documents, chosen by a machine. Check the sources.")
    return _("Written by a machine from the passages it cites. Check the sources.")


def _facts(view: AnswerView, answer: Answer) -> list[tuple[str, str]]:
    asked = date_format(timezone.localtime(view.created), "DATETIME_FORMAT")
    facts = [(_("Asked"), asked), (_("Model"), one_line(answer.model) or _("none: verbatim extracts"))]
    if answer.model_digest:
        facts.append((_("Digest"), one_line(answer.model_digest)))
    if answer.prompt_version:
        facts.append((_("Prompt"), one_line(answer.prompt_version)))
    if view.filters:
        facts.append((_("Asked with"), ", ".join(one_line(text) for text in view.filters)))
    return facts
