"""A reading of whole documents as its owner may see it now: tiles, what answers or is nearest, and what can be said of the rest.

Words are read from the pinned pages at each opening. Of a document that is gone or barred nothing is shown or counted.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.models import User
from rag.access import principal_of
from rag.domain.exhaustive import Tile
from rag.domain.highlight import Part, mark_spans
from rag.domain.places import Stretch, locate, words_between
from rag.models import Collection, Document, FoundPassage, Page, ReadDocument, WholeReading
from rag.models.exhaustive import IN_WORK, ReadingState
from rag.services import exhaustive_model, modes, page_view
from rag.services.exhaustive import NEAREST

NAMED_MOST = 12  # pages that a sentence names one by one
_UNREAD = frozenset({Tile.UNREAD})
_WAITING = frozenset({Tile.WAITING, Tile.PARTLY_WAITING})
_PARTLY = frozenset({Tile.PARTLY_WAITING, Tile.PARTLY_READ, Tile.PARTLY_FOUND})


@dataclass(frozen=True, slots=True)
class TileView:
    """One page, or one passage of a document without pages; `kind` names its look, `words` say the same."""

    label: str
    kind: str
    partly: bool
    words: str
    url: str


@dataclass(frozen=True, slots=True)
class PassageView:
    """A passage that answers, or is near; `parts` is its text cut at the sentence that speaks most to the question."""

    title: str
    heading: Sequence[str]
    page_label: str
    url: str
    strength: int  # percent
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class DocumentView:
    title: str
    url: str
    paged: bool
    tiles: Sequence[TileView]
    newer: bool  # it has a newer revision than the one that was read


@dataclass(frozen=True, slots=True)
class ReadingView:
    """`headline` and `verdict` say what came of it; `way` says by what means; `gaps` what was not read, "" for nothing."""

    id: UUID
    question: str
    state: str
    is_running: bool
    created: datetime
    done: int
    total: int
    headline: str
    verdict: str
    gaps: str
    way: str
    message: str
    hidden: int  # documents of it that can no longer be shown
    with_model: bool
    documents: Sequence[DocumentView]
    answers: Sequence[PassageView]
    nearest: Sequence[PassageView]


def view_of(reading: WholeReading, reader: User) -> ReadingView:
    """The reading as `reader`, who asked for it, may see it now."""
    principal = principal_of(reader)
    parts = list(
        reading.documents.readable_by(principal)
        .select_related("document__current", "extraction__revision")
        .order_by("ordinal")
    )
    pages = _Pages.of(reader, parts)
    found = FoundPassage.objects.filter(read__in=parts).select_related("read__document")
    answering = pages.passages(found.filter(answers=True).order_by("read__ordinal", "ordinal"))
    near = pages.passages(found.filter(answers=False).order_by("-strength", "read__ordinal", "ordinal")[:NEAREST])
    counted = _Counted.of(parts)
    running = reading.state in IN_WORK
    return ReadingView(
        id=reading.pk,
        question=reading.question,
        state=reading.state,
        is_running=running,
        created=reading.created,
        done=counted.read + counted.unread,
        total=counted.all,
        headline=_headline(reading, counted, len(answering)),
        verdict=_verdict(reading, counted, answering, near),
        gaps=_gaps(parts, pages),
        way=_way(reading),
        message=reading.message,
        hidden=reading.documents.count() - len(parts),
        with_model=reading.with_model,
        documents=[_document(part, pages) for part in parts],
        answers=answering,
        nearest=() if answering else near,
    )


def recent(reader: User, document: Document | None = None) -> list[WholeReading]:
    """The person's readings that can be opened, newest first; of one document where it is given."""
    found = WholeReading.objects.of(principal_of(reader))
    if document is not None:
        found = found.filter(documents__document=document)
    return list(found[:50])


def form(reader: User, documents: Sequence[Document], *, question: str = "", error: str = "") -> dict[str, object]:
    """What the form shows that puts a question to these documents."""
    collections = list(Collection.objects.filter(pk__in={document.collection_id for document in documents}))
    locked = modes.locked_among(collection.pk for collection in collections)
    return {
        "chosen": documents,
        "question": question,
        "error": error,
        "may_ask_model": bool(documents) and not locked and exhaustive_model.is_connected(collections),
        "earlier": recent(reader, documents[0]) if len(documents) == 1 else (),
    }


@dataclass(frozen=True, slots=True)
class _Counted:
    """Tiles of the documents that may be shown. What is blank is read: nothing is on it."""

    all: int
    read: int
    unread: int
    paged: bool

    @classmethod
    def of(cls, parts: Sequence[ReadDocument]) -> "_Counted":
        tiles = [Tile(tile) for part in parts for tile in part.tiles]
        unread = sum(tile in _UNREAD for tile in tiles)
        waiting = sum(tile in _WAITING for tile in tiles)
        return cls(len(tiles), len(tiles) - unread - waiting, unread, all(part.paged for part in parts))


def _headline(reading: WholeReading, counted: _Counted, answers: int) -> str:
    far = {"done": counted.read, "total": counted.all}
    paged = counted.paged
    if reading.state in IN_WORK:
        return (_("%(done)d of %(total)d pages read") if paged else _("%(done)d of %(total)d passages read")) % far
    if answers:
        return ngettext("%d passage seems to answer", "%d passages seem to answer", answers) % answers
    if reading.state != ReadingState.FINISHED:
        stopped = (
            _("Stopped after %(done)d of %(total)d pages")
            if paged
            else _("Stopped after %(done)d of %(total)d passages")
        )
        return stopped % far
    return (
        _("Not found in %(done)d of %(total)d pages") if paged else _("Not found in %(done)d of %(total)d passages")
    ) % far


def _verdict(
    reading: WholeReading, counted: _Counted, answers: Sequence[PassageView], near: Sequence[PassageView]
) -> str:
    """What may be said, and no more: of pages that were not read nothing."""
    if answers:
        return _("In the order of the document. Read them: a machine chose them.")
    if reading.state in IN_WORK:
        return _("Nothing that answers so far.")
    if reading.state != ReadingState.FINISHED:
        return _("Nothing that answers was found until then. The rest was not read.")
    if counted.paged:
        words = ngettext(
            "No passage of the %d page that could be read seems to answer.",
            "No passage of the %d pages that could be read seems to answer.",
            counted.read,
        )
    else:
        words = ngettext(
            "The %d passage does not seem to answer.", "None of the %d passages seems to answer.", counted.read
        )
    if not near:
        return words % counted.read
    where = ", ".join(filter(None, [near[0].heading[-1] if near[0].heading else "", near[0].page_label]))
    return " ".join([words % counted.read, *([_("Nearest: %(where)s.") % {"where": where}] if where else [])])


def _gaps(parts: Sequence[ReadDocument], pages: "_Pages") -> str:
    """Which pages could not be read, or only in part; named one by one while they are few."""
    sentences = []
    for kinds, one, several in (
        (_UNREAD, _("%(pages)s could not be read."), _("%(count)d pages could not be read.")),
        (_PARTLY, _("%(pages)s could be read only in part."), _("%(count)d pages could be read only in part.")),
    ):
        labels = [
            pages.named(part, place)
            for part in parts
            if part.paged
            for place, tile in enumerate(part.tiles)
            if Tile(tile) in kinds
        ]
        if labels:
            named = ", ".join(labels)
            sentences.append(
                one % {"pages": named[:1].upper() + named[1:]}
                if len(labels) <= NAMED_MOST
                else several % {"count": len(labels)}
            )
    return " ".join(sentences)


def _way(reading: WholeReading) -> str:
    if not reading.with_model:
        return _(
            "Every passage was judged by scores: likeness of meaning and the question's words. No model was asked."
        )
    if not reading.model:
        return _(
            "Every passage is shown to the language model; what it names counts only with a sentence copied from there."
        )
    told = ngettext(
        "Every passage was shown to %(model)s, in %(calls)d call. What it named counts only with a sentence copied from there.",
        "Every passage was shown to %(model)s, in %(calls)d calls. What it named counts only with a sentence copied from there.",
        reading.calls,
    )
    return told % {"model": reading.model, "calls": reading.calls}


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages of the documents as this reader may read them now, by part and place: labels of all, words of those needed."""

    labels: Mapping[tuple[int, int], str]
    readable: Mapping[int, Mapping[int, str]]  # extraction -> place -> text
    several: bool

    @classmethod
    def of(cls, reader: User, parts: Sequence[ReadDocument]) -> "_Pages":
        rows = Page.objects.readable_by(principal_of(reader)).filter(
            extraction__in=[part.extraction_id for part in parts]
        )
        labels = {
            (extraction, place): label or (str(number) if number else "")
            for extraction, place, number, label in rows.values_list("extraction_id", "place", "number", "label")
        }
        wanted: dict[int, set[int]] = {}
        for found in FoundPassage.objects.filter(read__in=parts).select_related("read"):
            wanted.setdefault(found.read.extraction_id, set()).update(range(found.page_from, found.page_to + 1))
        readable = {
            extraction: dict(rows.filter(extraction=extraction, place__in=places).values_list("place", "text"))
            for extraction, places in wanted.items()
        }
        return cls(labels, readable, len(parts) > 1)

    def label(self, part: ReadDocument, place: int) -> str:
        return self.labels.get((part.extraction_id, place), "") or str(place + 1)

    def named(self, part: ReadDocument, place: int) -> str:
        words = page_view.labelled(self.label(part, place))
        return _("%(page)s of “%(title)s”") % {"page": words, "title": part.document.title} if self.several else words

    def passages(self, found: Iterable[FoundPassage]) -> list[PassageView]:
        """Those whose words are there as they were read; the others are left out."""
        return [view for view in map(self._passage, found) if view is not None]

    def _passage(self, found: FoundPassage) -> PassageView | None:
        part, places = found.read, range(found.page_from, found.page_to + 1)
        texts = [self.readable.get(part.extraction_id, {}).get(place) for place in places]
        whole = [text for text in texts if text is not None]
        if len(whole) != len(places):
            return None
        words = words_between(whole, found.start, found.end)
        if hashlib.sha256(words.encode()).hexdigest() != found.sha256:
            return None
        lengths = [len(text) for text in whole]
        ends = [
            locate(lengths, found.page_from, found.start, offset) for offset in (found.quote_start, found.quote_end)
        ]
        address = reverse("page", args=[part.document_id, part.revision, ends[0].page + 1])
        return PassageView(
            title=part.document.title if self.several else "",
            heading=found.heading,
            page_label=page_view.labelled(self.labels.get((part.extraction_id, found.place), "")),
            url=f"{address}?passage={Stretch(*ends)}",
            strength=round(100 * found.strength),
            parts=mark_spans(words, {(found.quote_start, found.quote_end)}),
        )


def _document(part: ReadDocument, pages: _Pages) -> DocumentView:
    return DocumentView(
        title=part.document.title,
        url=reverse("document", args=[part.document_id]),
        paged=part.paged,
        tiles=[_tile(part, pages, place, Tile(tile)) for place, tile in enumerate(part.tiles)],
        newer=part.document.current_id != part.extraction.revision_id,
    )


_KINDS = {"w": "waiting", "r": "read", "f": "found", "b": "blank", "u": "unread"}


def _tile(part: ReadDocument, pages: _Pages, place: int, tile: Tile) -> TileView:
    words = {
        "waiting": _("not read yet"),
        "read": _("read, no answer"),
        "found": _("answers"),
        "blank": _("nothing is on it"),
        "unread": _("could not be read"),
    }
    kind, partly = _KINDS[tile.lower()], tile in _PARTLY
    return TileView(
        label=pages.label(part, place) if part.paged else str(place + 1),
        kind=kind,
        partly=partly,
        words=f"{words[kind]}, {_('only in part readable')}" if partly else words[kind],
        url=reverse("page", args=[part.document_id, part.revision, place + 1]) if part.paged else "",
    )
