"""An answer as one person may read it now: what they may no longer see is left out, the rest is as it was stored.

The rule (A5): a source is shown while its document is live and granted to the reader. A sentence is shown while all of its sources
are; a sentence without sources, while everything that the model was given is. The same holds for history in later prompts.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from core.models import User
from rag.access import principal_of
from rag.domain.events import Checked, Queued
from rag.domain.highlight import Part, mark_spans, mark_words
from rag.domain.places import Place, Stretch, locate
from rag.domain.support import Verdict
from rag.domain.types import Message, Role, Source
from rag.models import Answer, AnswerSource, Citation, Conversation, KeptQuestion, Page, Sentence
from rag.models.conversation import EXTRACTIVE, RUNNING, AnswerState
from rag.services import answer_standing, document_view, elsewhere, modes, page_view, replay, turns, validity
from rag.services.branches import Version
from rag.services.private_files import unread_notes
from rag.services.validity import Standing, Tag

Span = tuple[int, int]

QUOTED = "quoted"  # stands where a verdict stands, of a sentence whose place the cited words took
HISTORY_TURNS = 3  # earlier questions and answers that a model is shown


@dataclass(frozen=True, slots=True)
class Chip:
    """A citation: its number, where it opens, and the words that it points at."""

    number: int
    url: str
    title: str
    page_label: str
    quote: str
    repaired: bool = False  # the model cited another source or none; this one carries the sentence


@dataclass(frozen=True, slots=True)
class SentenceView:
    """A sentence as it is read; `parts` is its text cut at what stands in none of its sources.

    Where the reader put the cited words in its place, `text` is those, and `written` what the model wrote.
    """

    ordinal: int
    text: str
    paragraph: bool
    chips: Sequence[Chip]
    verdict: str
    reason: str
    hidden: bool = False
    parts: Sequence[Part] = ()
    replaceable: bool = False  # its reader may put the cited words in its place
    written: str = ""


@dataclass(frozen=True, slots=True)
class QuoteView:
    number: int
    text: str
    url: str
    title: str
    page_label: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """A passage as evidence; `parts` is its text cut at the marked words. A hidden one has a number and nothing else."""

    number: int
    title: str = ""
    collection: str = ""
    heading: Sequence[str] = ()
    page_label: str = ""
    url: str = ""
    parts: Sequence[Part] = ()
    begins: int = 0  # where in it the passage stands that was found
    score: float = 0.0
    hidden: bool = False
    gone: bool = False  # the document was deleted
    tags: Sequence[Tag] = ()  # superseded, not yet in force, a newer revision, another source that says otherwise


@dataclass(frozen=True, slots=True)
class AnswerView:
    id: UUID
    conversation_id: UUID
    question: str
    state: str
    is_running: bool
    quotes_only: bool
    sentences: Sequence[SentenceView]
    quotes: Sequence[QuoteView]
    sources: Sequence[SourceView]
    message: str
    notice: str
    model_name: str
    took_seconds: float | None
    created: datetime
    feedback: str = ""  # "up", "down" or nothing
    kept: bool = False  # its asker lets collections learn from it
    partial: str = ""  # text saved so far of an answer that broke off
    dropped: int = 0  # passages that the model was not sent, to keep within what it can read
    timings: Mapping[str, float] = field(default_factory=dict)
    filters: Sequence[str] = ()  # "client = Meyer"
    warnings: Sequence[Tag] = ()  # what of its cited sources does not hold, or not any more
    unread: str = ""  # what of the collections asked was not read, and so cannot be in it
    unread_url: str = ""
    together: Sequence[str] = ()  # the earlier questions that counted in its search, nearest first
    unread_files: str = ""  # which files of the conversation were not read yet when it was searched
    mode: str = ""  # why it holds quotes alone, where somebody wanted it so
    version: Version | None = None  # which of several versions of its question it is, in a thread
    why_not: str = ""  # of an answer that was not good: a FeedbackKind, and the reader's words
    why_not_words: str = ""
    waiting: str = ""  # how many questions are before it, while it waits for the model
    elsewhere: Sequence[tuple[UUID, str]] = ()  # collections, with their names, that have evidence and were not asked


@dataclass(frozen=True, slots=True)
class _Readable:
    """A pinned source whose words this reader may see."""

    source: AnswerSource
    text: str
    lengths: tuple[int, ...]  # of the pages it stands on

    @property
    def found(self) -> Span:
        """Where in the text the passage stands that was searched: all of it, unless more was read around it."""
        if self.source.found_start is None or self.source.found_end is None:
            return 0, len(self.text)
        return self.source.found_start, self.source.found_end

    def url(self, span: Span) -> str:
        """Where the words [start, end) of the source's text open in the viewer."""
        stretch = Stretch(self._place(span[0]), self._place(span[1]))
        target = reverse("page", args=[self.source.document_id, self.source.revision, stretch.first.page + 1])
        return f"{target}?passage={stretch}&answer={self.source.answer_id}"

    def _place(self, offset: int) -> Place:
        return locate(self.lengths, self.source.page_from, self.source.start, offset)


@dataclass(frozen=True, slots=True)
class LiveSources:
    """The sources of a running answer that its reader may see, for rendering events as they come."""

    readable: Mapping[int, _Readable]  # by number

    def chips(self, numbers: Sequence[int], event: Checked | None = None) -> list[Chip]:
        """The citation chips for these sources; those that the reader may not see have none."""
        chips = []
        for number in numbers:
            if (readable := self.readable.get(number)) is not None:
                carried = event is not None and event.number == number
                span = (event.start, event.end) if event and carried else (0, 0)
                chips.append(_chip(readable, *span, repaired=event is not None and event.repaired))
        return chips

    def sentence(self, event: Checked) -> SentenceView:
        """A sentence that was just finished, hidden where one of its sources is."""
        hidden = any(number not in self.readable for number in event.numbers)
        spans = [(start, end) for start, end in event.missing]
        return SentenceView(
            ordinal=event.ordinal,
            text="" if hidden else event.text,
            paragraph=event.paragraph,
            chips=() if hidden else self.chips(event.numbers, event),
            verdict=event.verdict,
            reason="" if hidden else event.reason,
            hidden=hidden,
            parts=() if hidden else mark_spans(event.text, spans),
        )


def live_sources(answer_id: UUID, reader: User) -> LiveSources:
    """The answer's sources as `reader` may see them now."""
    sources = list(AnswerSource.objects.filter(answer_id=answer_id).select_related("document"))
    texts = _readable_texts(sources, reader)
    return LiveSources({source.number: texts[source.pk] for source in sources if source.pk in texts})


def view_of(answer: Answer, reader: User) -> AnswerView:
    """The answer as `reader` may see it now."""
    return views_of([answer], reader)[0]


def views_of(answers: Sequence[Answer], reader: User) -> list[AnswerView]:
    """Several answers at the price of one: a fixed number of queries."""
    pinned = AnswerSource.objects.filter(answer__in=answers)
    sources = list(
        pinned.select_related(
            "document__collection", "document__current", "document__latest__run", "extraction__revision"
        )
    )
    texts = _readable_texts(sources, reader)
    standings = validity.standings(source.document for source in sources if source.document is not None)
    filters = answer_standing.filters(answers, reader)
    unread = _unread(answers, reader)
    wanted = modes.sentences(answers, reader)
    late = unread_notes(answers, reader)
    others = elsewhere.named(answers, reader)
    sentences = list(
        Sentence.objects.filter(answer__in=answers).prefetch_related("citations__source").order_by("ordinal")
    )
    feedback = {answer.pk: answer.feedback for answer in answers if hasattr(answer, "feedback")}
    kept = set(KeptQuestion.objects.filter(answer__in=answers).values_list("answer_id", flat=True))
    sources_of, sentences_of = _by_answer(sources), _by_answer(sentences)
    changeable = _changeable(sentences, answers, reader)
    views = []
    for answer in answers:
        own, own_sentences = sources_of.get(answer.pk, []), sentences_of.get(answer.pk, [])
        given = feedback.get(answer.pk)
        mine = answer.conversation_id in changeable
        view = _view(
            answer, own, own_sentences, texts, "" if given is None else "up" if given.helpful else "down", own=mine
        )
        view = _with_standing(view, answer, own, standings)
        note, url = unread[answer.conversation_id]
        views.append(
            replace(
                view,
                filters=filters.get(answer.pk, ()),
                unread=note,
                unread_url=url,
                kept=answer.pk in kept,
                mode=wanted.get(answer.pk, ""),
                unread_files=late.get(answer.pk, ""),
                elsewhere=others.get(answer.pk, ()),
                why_not=given.kind if given is not None else "",
                why_not_words=given.reason if given is not None else "",
            )
        )
    return views


_Row = TypeVar("_Row", AnswerSource, Sentence)


def _by_answer(rows: Iterable[_Row]) -> dict[UUID, list[_Row]]:
    found: dict[UUID, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.answer_id, []).append(row)
    return found


def _changeable(sentences: Sequence[Sentence], answers: Sequence[Answer], reader: User) -> set[UUID]:
    """The conversations in which the reader may put cited words in the place of a sentence: their own; asked where one is in doubt."""
    if not any(sentence.quoted or sentence.verdict == Verdict.CONTRADICTED for sentence in sentences):
        return set()
    asked = {answer.conversation_id for answer in answers}
    return set(Conversation.objects.filter(pk__in=asked, owner=reader).values_list("pk", flat=True))


def _unread(answers: Sequence[Answer], reader: User) -> dict[UUID, tuple[str, str]]:
    """For each conversation, what was not read in its collections as far as the reader may read them, and where that is shown."""
    asked = {answer.conversation_id: set[UUID]() for answer in answers}
    if all(answer.state in RUNNING for answer in answers):
        return {conversation: ("", "") for conversation in asked}  # it is said under a finished answer
    links = Conversation.collections.through.objects.filter(conversation__in=asked)
    for conversation, collection in links.values_list("conversation", "collection"):
        asked[conversation].add(collection)
    counts = document_view.incomplete(reader, set[UUID]().union(*asked.values()))
    found = {}
    for conversation, collections in asked.items():
        those = [collection for collection in collections if collection in counts]
        url = f"{reverse('collection', args=those)}?state=gaps" if len(those) == 1 else ""
        found[conversation] = document_view.unread_note(sum(counts[each] for each in those)), url
    return found


def _with_standing(
    view: AnswerView, answer: Answer, sources: Sequence[AnswerSource], standings: Mapping[UUID, Standing]
) -> AnswerView:
    """The view with what is to be said about its sources today: of those that the reader may see, and no others."""
    seen = {source.number for source in view.sources if not source.hidden}
    cited = {quote.number for quote in view.quotes}
    cited |= {chip.number for sentence in view.sentences for chip in sentence.chips}
    about = answer_standing.of([source for source in sources if source.number in seen], answer.conflicts, standings)
    return replace(
        view,
        sources=[replace(source, tags=about.tags.get(source.number, ())) for source in view.sources],
        warnings=about.warnings(cited),
    )


def _readable_texts(sources: Sequence[AnswerSource], reader: User) -> dict[int, _Readable]:
    """The words of those sources that the reader may see, by the source's id; read from the pinned pages and checked by hash."""
    wanted = {source.extraction_id for source in sources if source.extraction_id is not None}
    last = max((source.page_to for source in sources), default=0)
    first = min((source.page_from for source in sources), default=0)
    rows = Page.objects.readable_by(principal_of(reader)).filter(
        extraction_id__in=wanted, place__gte=first, place__lte=last
    )
    pages = {
        (extraction, place): text for extraction, place, text in rows.values_list("extraction_id", "place", "text")
    }
    found: dict[int, _Readable] = {}
    for source in sources:
        places = range(source.page_from, source.page_to + 1)
        texts = [pages.get((source.extraction_id or 0, place)) for place in places]
        if any(text is None for text in texts):
            continue
        whole = [text or "" for text in texts]
        lengths = tuple(len(text) for text in whole)
        whole[-1] = whole[-1][: source.end]
        whole[0] = whole[0][source.start :]
        words = "\n".join(whole)
        if hashlib.sha256(words.encode()).hexdigest() == source.sha256:
            found[source.pk] = _Readable(source, words, lengths)
    return found


def _view(
    answer: Answer,
    sources: Sequence[AnswerSource],
    sentences: Sequence[Sentence],
    texts: Mapping[int, _Readable],
    feedback: str,
    *,
    own: bool,
) -> AnswerView:
    numbers = {source.number: source for source in sources}
    complete = all(source.pk in texts for source in sources if source.offered)
    quotes_only = answer.provider == EXTRACTIVE
    # The quotes are the whole answer then; the same words a second time as sentences would say nothing.
    written = () if quotes_only else sentences
    shown = [_sentence(sentence, texts, complete=complete, own=own) for sentence in written]
    quotes = [_quote(quote, numbers, texts) for quote in answer.quotes]
    took = (answer.finished - answer.created).total_seconds() if answer.finished else None
    return AnswerView(
        id=answer.pk,
        conversation_id=answer.conversation_id,
        question=answer.question,
        state=answer.state,
        is_running=answer.state in RUNNING,
        quotes_only=quotes_only,
        sentences=shown,
        quotes=[quote for quote in quotes if quote is not None],
        sources=[_source(source, answer, sentences, texts) for source in sources],
        message=_message(answer),
        notice=_notice(answer, hidden=any(sentence.hidden for sentence in shown), unquoted=None in quotes),
        model_name=answer.model,
        took_seconds=took,
        created=answer.created,
        feedback=feedback,
        partial=answer.text if complete and not sentences and answer.state not in RUNNING else "",
        dropped=answer.dropped if answer.model else 0,
        timings=answer.timings,
        together=answer.together,
        waiting=_waiting(answer),
    )


def _waiting(answer: Answer) -> str:
    """What is said while the model answers others first; nothing from its first word on."""
    if answer.state != AnswerState.ANSWERING or answer.text or not answer.model:
        return ""
    event = replay.last_of(answer.pk, Queued)
    return turns.in_words(event) if isinstance(event, Queued) else ""


def _message(answer: Answer) -> str:
    if answer.state == AnswerState.REFUSED and not answer.message:
        return _("Your documents do not seem to answer this.")
    if answer.state == AnswerState.STOPPED:
        return _("You stopped this answer. What was written is kept.")
    return answer.message


def _notice(answer: Answer, *, hidden: bool, unquoted: bool) -> str:
    parts = []
    if answer.cut_off:
        parts.append(_("The model reached its limit: this answer is cut off."))
    if answer.parameters.get("cut"):
        parts.append(
            _("The model's server read only part of what it was sent: do not rely on this answer, check the passages.")
        )
    if unquoted:
        parts.append(_("Some quotations are from documents that you may no longer see; they are left out."))
    if hidden:
        parts.append(_("Some sentences rest on documents that you may no longer see; they are left out."))
    return " ".join(parts)


def _sentence(sentence: Sentence, texts: Mapping[int, _Readable], *, complete: bool, own: bool) -> SentenceView:
    citations = list(sentence.citations.all())
    visible = all(citation.source_id in texts for citation in citations) if citations else complete
    if not visible:
        return SentenceView(sentence.ordinal, "", sentence.paragraph, (), sentence.verdict, "", hidden=True)
    chips = [
        _chip(texts[citation.source_id], citation.start, citation.end, repaired=citation.repaired)
        for citation in citations
    ]
    words = _carrying_words(citations, texts)
    shown = SentenceView(
        sentence.ordinal,
        sentence.text,
        sentence.paragraph,
        chips,
        sentence.verdict,
        sentence.reason,
        parts=mark_spans(sentence.text, [(start, end) for start, end in sentence.missing]),
        replaceable=own and bool(words) and (sentence.verdict == Verdict.CONTRADICTED or sentence.quoted),
    )
    if not (sentence.quoted and words):
        return shown
    return replace(
        shown, text=words, parts=(Part(words, mark=False),), verdict=QUOTED, reason="", written=sentence.text
    )


def _carrying_words(citations: Sequence[Citation], texts: Mapping[int, _Readable]) -> str:
    """The words of a source that speak most to the sentence; nothing where the check found none."""
    for citation in citations:
        if citation.end > citation.start:
            return " ".join(texts[citation.source_id].text[citation.start : citation.end].split())
    return ""


def _chip(readable: _Readable, start: int, end: int, *, repaired: bool = False) -> Chip:
    """The chip for the words [start, end) of a source, or for all that was found where the check found no best place."""
    span = (start, end) if end > start else readable.found
    return Chip(
        number=readable.source.number,
        url=readable.url(span),
        title=_title(readable.source),
        page_label=page_view.labelled(readable.source.page_label),
        quote=readable.text[span[0] : span[1]][:400],
        repaired=repaired,
    )


def _quote(
    quote: Mapping[str, int], numbers: Mapping[int, AnswerSource], texts: Mapping[int, _Readable]
) -> QuoteView | None:
    source = numbers.get(quote["number"])
    readable = texts.get(source.pk) if source is not None else None
    if readable is None:
        return None
    span = (quote["start"], quote["end"])
    return QuoteView(
        number=quote["number"],
        text=readable.text[span[0] : span[1]],
        url=readable.url(span),
        title=_title(readable.source),
        page_label=page_view.labelled(readable.source.page_label),
    )


def _source(
    source: AnswerSource, answer: Answer, sentences: Sequence[Sentence], texts: Mapping[int, _Readable]
) -> SourceView:
    readable = texts.get(source.pk)
    if readable is None or source.document is None:
        gone = source.document is None or source.document.deleted is not None
        return SourceView(number=source.number, hidden=True, gone=gone)
    spans = {
        (citation.start, citation.end)
        for sentence in sentences
        for citation in sentence.citations.all()
        if citation.source_id == source.pk and citation.end
    }
    spans |= {(quote["start"], quote["end"]) for quote in answer.quotes if quote["number"] == source.number}
    if spans:
        parts = mark_spans(readable.text, spans)
    else:
        parts = mark_words(readable.text, answer.standalone or answer.question, within=readable.found)
    return SourceView(
        number=source.number,
        title=_title(source),
        collection=source.document.collection.name,
        heading=source.heading,
        page_label=page_view.labelled(source.page_label),
        url=readable.url(min(spans) if spans else readable.found),
        parts=parts,
        begins=readable.found[0],
        score=source.score,
    )


def _title(source: AnswerSource) -> str:
    return source.document.title if source.document is not None else ""


def offered_sources(answer: Answer, reader: User) -> tuple[list[Source], int]:
    """The passages that the model was given, as they were: those that the reader may see now, and how many others there were."""
    pinned = list(AnswerSource.objects.filter(answer=answer, offered=True).select_related("document"))
    texts = _readable_texts(pinned, reader)
    seen = [source for source in pinned if source.pk in texts and source.document is not None]
    return [_as_source(source, texts[source.pk].text) for source in seen], len(pinned) - len(seen)


def _as_source(pinned: AnswerSource, text: str) -> Source:
    document = pinned.document
    if document is None:
        raise ValueError("a source whose document is gone has no words")
    return Source(
        number=pinned.number,
        chunk_id=pinned.chunk_id,
        document_id=document.pk,
        collection_id=document.collection_id,
        extraction_id=pinned.extraction_id or 0,
        revision=pinned.revision,
        title=document.title,
        heading=tuple(pinned.heading),
        page_from=pinned.page_from,
        page_to=pinned.page_to,
        page_label=pinned.page_label,
        start=pinned.start,
        end=pinned.end,
        text=text,
        score=pinned.score,
        cosine=pinned.cosine,
        ranks=pinned.ranks,
        found=None
        if pinned.found_start is None or pinned.found_end is None
        else (pinned.found_start, pinned.found_end),
    )


def words_of(view: AnswerView) -> str:
    """What the answer says, of that which its reader may see."""
    if view.quotes_only:
        return " ".join(quote.text for quote in view.quotes)
    return " ".join(sentence.text for sentence in view.sentences if not sentence.hidden)


def readable_history(reader: User, answers: Sequence[Answer]) -> list[Message]:
    """Earlier questions and answers as messages for a model, without a word that the reader may no longer see."""
    messages: list[Message] = []
    for view in views_of(answers, reader):
        text = words_of(view)
        if view.state == AnswerState.FINISHED and text:
            messages.append(Message(Role.USER, view.question))
            messages.append(Message(Role.ASSISTANT, text))
    return messages


def readable_words(reader: User, answer: Answer) -> str:
    """What a finished answer says, of that which the reader may see now; of any other nothing."""
    view = view_of(answer, reader)
    return words_of(view) if view.state == AnswerState.FINISHED else ""
