"""A collection's questions with known places: how they come, how they go, and which passages carry them now.

Whoever manages the collection sees them. Those from answers come by their asker's consent alone: `kept_answers`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from core import audit
from core.models import Role, User
from rag.access import principal_of, scope_for
from rag.domain.errors import Permanent
from rag.domain.learning import Figures
from rag.domain.places import Place, Stretch
from rag.domain.quoted import Pages, letters, overlap
from rag.domain.types import Scope
from rag.models import Chunk, Collection, Document, JudgedPlace, KeptQuestion, Page
from rag.models.content import ChunkQuerySet, PageQuerySet
from rag.models.ranking import QuestionOrigin
from rag.services import field_csv, question_files
from rag.services.question_files import Row, Wrong

KEPT_MOST = 5000  # in one collection: learning from more would take minutes and teach nothing more
QUESTION_MOST = 2000  # characters
QUOTE_MOST = 5000

Words = tuple[UUID, str]  # a document, and the letters of what is quoted of it


@dataclass
class Taken:
    """What became of an uploaded file: questions and places that came, lines that were there already, and lines that are wrong."""

    questions: int = 0
    places: int = 0
    same: int = 0
    wrong: list[Wrong] = field(default_factory=list)


@transaction.atomic
def upload(actor: User, collection: Collection, data: bytes) -> Taken:
    """Keeps the questions of a CSV or JSON-lines file. What is there already stays as it is: the same file may come again.

    Raises Permanent when the file as a whole cannot be read.
    """
    rows, wrong = question_files.read(field_csv.decode(data))
    # One upload at a time: two would each keep a question that both hold.
    Collection.objects.select_for_update().get(pk=collection.pk)
    taken = Taken(wrong=wrong)
    known = _Known(collection)
    documents = field_csv.Documents(collection)
    contents = _Contents(scope_for(actor, asked=[collection.pk]))
    judged: list[tuple[Row, UUID | None]] = []
    for row in rows:
        try:
            judged.append((row, _checked(row, documents, contents)))
        except Permanent as error:
            taken.wrong.append((row.line, error.message))
    for row, document in judged:
        try:
            if document is None:
                known.keep_unanswered(actor, row, taken)
            else:
                known.keep(actor, row, document, taken)
        except Permanent as error:
            taken.wrong.append((row.line, error.message))
    taken.wrong.sort()
    if taken.questions or taken.places:
        audit.record(
            "questions.uploaded", actor=actor, subject=collection, questions=taken.questions, places=taken.places
        )
    return taken


def _checked(row: Row, documents: field_csv.Documents, contents: "_Contents") -> UUID | None:
    """The document that the row names, None for a question that nothing answers; raises Permanent when it cannot teach
    anything as it is."""
    if len(row.question) > QUESTION_MOST:
        raise Permanent(
            _("This question has %(length)d characters; %(most)d is the most.")
            % {"length": len(row.question), "most": QUESTION_MOST}
        )
    if len(row.quote) > QUOTE_MOST:
        raise Permanent(
            _("These quoted words have %(length)d characters; %(most)d is the most.")
            % {"length": len(row.quote), "most": QUOTE_MOST}
        )
    if not row.answerable:
        return None
    document, title = documents.named(row.document)
    pages = contents.of(document)
    if pages is None:
        raise Permanent(_("Nothing of “%(title)s” can be searched yet.") % {"title": title})
    if row.quote and not pages.find(row.quote):
        raise Permanent(_("The quoted words are not in “%(title)s”.") % {"title": title})
    return document


class _Contents:
    """What documents say now, as whoever asks may read it; the last one is kept at hand, as a file often names it again."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._last: tuple[UUID, Pages | None] | None = None

    def of(self, document: UUID) -> Pages | None:
        """The document's pages, or None where nothing of it can be searched."""
        if self._last is None or self._last[0] != document:
            chunks = Chunk.objects.visible_to(self._scope).filter(document_id=document)
            texts = _texts(chunks, Page.objects.readable_by(self._scope.principal))
            self._last = document, Pages(texts) if texts else None
        return self._last[1]


class _Known:
    """The uploaded questions of a collection, by their words."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._left = KEPT_MOST - KeptQuestion.objects.filter(collection=collection).count()
        self._questions: dict[str, KeptQuestion] = {}
        self._places: defaultdict[int, set[Words]] = defaultdict(set)
        uploaded = KeptQuestion.objects.filter(collection=collection, origin=QuestionOrigin.UPLOADED)
        for question in uploaded.prefetch_related("places"):
            self._questions.setdefault(question.text.casefold(), question)
            self._places[question.pk] |= {(place.document_id, letters(place.quote)) for place in question.places.all()}

    def keep(self, actor: User, row: Row, document: UUID, taken: Taken) -> None:
        """Keeps the row unless it is there; raises Permanent when the collection has as many questions as it may have."""
        question = self._questions.get(row.question.casefold()) or self._new(actor, row, taken)
        if not question.answerable:
            raise Permanent(_("This question is kept as one that nothing answers."))
        place = document, letters(row.quote)
        if place in self._places[question.pk]:
            taken.same += 1
            return
        self._places[question.pk].add(place)
        JudgedPlace.objects.create(question=question, document_id=document, quote=row.quote)
        taken.places += 1

    def keep_unanswered(self, actor: User, row: Row, taken: Taken) -> None:
        """The same for a question that nothing in the documents answers."""
        question = self._questions.get(row.question.casefold())
        if question is None:
            self._new(actor, row, taken)
        elif question.answerable:
            raise Permanent(_("This question is kept with a place that answers it."))
        else:
            taken.same += 1

    def _new(self, actor: User, row: Row, taken: Taken) -> KeptQuestion:
        if self._left <= 0:
            raise Permanent(_("A collection keeps at most %(most)d questions.") % {"most": KEPT_MOST})
        question = KeptQuestion.objects.create(
            collection=self._collection,
            text=row.question,
            answerable=row.answerable,
            origin=QuestionOrigin.UPLOADED,
            keeper=actor,
        )
        self._questions[row.question.casefold()] = question
        self._left -= 1
        taken.questions += 1
        return question


def of(collection: Collection) -> QuerySet[KeptQuestion]:
    """The collection's kept questions, the newest first. The caller has checked that whoever asks manages it."""
    return KeptQuestion.objects.filter(collection=collection)


@dataclass(frozen=True, slots=True)
class PlaceView:
    """One place of a question, as it is shown: the document, and the words in it or ""."""

    document: Document
    quote: str


@dataclass(frozen=True, slots=True)
class QuestionView:
    """A kept question, the places of it that the reader may see, and its figures where it was measured."""

    question: KeptQuestion
    places: Sequence[PlaceView]
    figures: Figures | None


def rows(reader: User, questions: Sequence[KeptQuestion], figures: Mapping[int, Figures]) -> list[QuestionView]:
    """The questions as they are listed."""
    readable = Document.objects.usable_by(principal_of(reader), role=Role.READER)
    places: defaultdict[int, list[PlaceView]] = defaultdict(list)
    found = JudgedPlace.objects.filter(question__in=[each.pk for each in questions], document__in=readable)
    for place in found.select_related("document").order_by("id"):
        places[place.question_id].append(PlaceView(place.document, place.quote))
    return [QuestionView(each, places[each.pk], figures.get(each.pk)) for each in questions]


@transaction.atomic
def delete(actor: User, collection: Collection, questions: Iterable[int]) -> int:
    """Removes these questions of the collection; how many there were."""
    found = KeptQuestion.objects.filter(collection=collection, pk__in=list(questions))
    count = found.count()
    if count:
        audit.record("questions.deleted", actor=actor, subject=collection, questions=count)
        found.delete()
    return count


def forget(documents: Sequence[UUID]) -> None:
    """Removes what is kept of documents that are being deleted, and the questions that have no other place."""
    places = JudgedPlace.objects.filter(document_id__in=documents)
    questions = list(places.values_list("question_id", flat=True))
    places.delete()
    left = JudgedPlace.objects.filter(question=OuterRef("pk"))
    KeptQuestion.objects.filter(~Exists(left), pk__in=questions).delete()


@dataclass(frozen=True, slots=True)
class Judged:
    """A kept question and, for each of its places, the passages that carry it now (chunk ids); none where the words are gone."""

    id: int
    text: str
    places: tuple[frozenset[int], ...]


def judged(collection_id: UUID, scope: Scope) -> list[Judged]:
    """The collection's kept questions in the order in which they came, with the passages that whoever asks may read now.

    The same question kept twice is one, with the places of both. Places whose words are no longer there are left out, and
    questions without any other.
    """
    rows = JudgedPlace.objects.filter(
        question__collection_id=collection_id,
        question__collection_id__in=scope.collections,
        document__in=Document.objects.usable_by(scope.principal, role=Role.READER),
    ).order_by("question_id", "id")
    wanted: dict[str, tuple[int, str, list[Words]]] = {}
    for question_id, text, document, quote in rows.values_list("question_id", "question__text", "document", "quote"):
        _first, _text, places = wanted.setdefault(text.casefold(), (question_id, text, []))
        if (document, quote) not in places:
            places.append((document, quote))
    carried = carrying(
        {place for _id, _text, places in wanted.values() for place in places},
        chunks=Chunk.objects.visible_to(scope),
        pages=Page.objects.readable_by(scope.principal),
    )
    found = []
    for question_id, text, places in wanted.values():
        # Two quotes in the very same passages are one place: a passage can be found but once.
        chunks = tuple(dict.fromkeys(carried[place] for place in places if carried[place]))
        if chunks:
            found.append(Judged(question_id, text, chunks))
    return found


def unanswered(collection_id: UUID) -> list[str]:
    """The kept questions that nothing in the documents answers. The caller has checked that whoever asks manages the collection."""
    found = KeptQuestion.objects.filter(collection_id=collection_id, answerable=False).order_by("id")
    return list(found.values_list("text", flat=True))


def carrying(places: Iterable[Words], *, chunks: ChunkQuerySet, pages: PageQuerySet) -> dict[Words, frozenset[int]]:
    """Those of the passages `chunks`, cut from `pages`, that carry each place: hold the quoted words, or a part of them; all of the
    document where none are quoted. Read a document at a time, for the text of a whole collection may not fit into memory."""
    quotes: defaultdict[UUID, list[str]] = defaultdict(list)
    for document, quote in places:
        quotes[document].append(quote)
    found: dict[Words, frozenset[int]] = {}
    for document, quoted in quotes.items():
        own = chunks.filter(document_id=document)
        stretches = list(_stretches(own))
        texts = Pages(_texts(own, pages) if any(quoted) else [])
        for quote in quoted:
            spots = texts.find(quote) if quote else None
            found[document, quote] = frozenset(
                chunk for chunk, at in stretches if spots is None or any(overlap(at, spot) for spot in spots)
            )
    return found


def _stretches(chunks: ChunkQuerySet) -> Iterator[tuple[int, Stretch]]:
    """Each of a document's passages: its id, and where it stands."""
    rows = chunks.order_by("ordinal").values_list("id", "page_from", "start", "page_to", "end")
    for chunk, page_from, start, page_to, end in rows:
        yield chunk, Stretch(Place(page_from, start), Place(page_to, end))


def _texts(chunks: ChunkQuerySet, pages: PageQuerySet) -> list[str]:
    """The pages of the reading that a document's passages were cut from."""
    extraction = chunks.values_list("extraction_id", flat=True)[:1]
    return list(pages.filter(extraction_id__in=list(extraction)).order_by("place").values_list("text", flat=True))
