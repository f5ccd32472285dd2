"""What a search without a model shows: the passages that `retrieve.search` finds, grouped by their documents."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse
from django.utils.translation import gettext as _

from rag.domain.errors import Permanent
from rag.domain.highlight import Part, mark_words
from rag.domain.places import Place, Stretch
from rag.domain.types import Scope, Source
from rag.models import Document
from rag.services import page_view, retrieve, validity
from rag.services.validity import Tag

QUESTION_MOST = 1000  # characters
PASSAGES = 40  # that a search shows at most
AT_ONCE = 3  # passages of one document that are seen without opening the rest


@dataclass(frozen=True, slots=True)
class PassageView:
    """A passage; `url` opens it in the viewer, `score` orders passages of one search only."""

    url: str
    page_label: str
    heading: Sequence[str]
    text: str
    question: str
    score: float

    @property
    def parts(self) -> Sequence[Part]:
        """The text with the searched words marked."""
        return mark_words(self.text, self.question)


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document and its passages, best first; `more` are those behind the first three."""

    id: UUID
    title: str
    collection: str
    collection_id: UUID
    tags: Sequence[Tag]
    passages: Sequence[PassageView]
    more: Sequence[PassageView]


@dataclass(frozen=True, slots=True)
class Results:
    """What a search found: documents in the order of their best passages. `enough`: whether the passages seem to answer it."""

    question: str
    documents: Sequence[DocumentView]
    passages: int
    enough: bool
    milliseconds: float


def results(question: str, scope: Scope, *, limit: int = PASSAGES) -> Results:
    """What this asker may read now that fits the question best. Raises Permanent, with a sentence, for one that is too long."""
    question = question.strip()
    if len(question) > QUESTION_MOST:
        raise Permanent(
            _("This search has %(length)d characters; at most %(most)d are possible.")
            % {"length": len(question), "most": QUESTION_MOST}
        )
    began = time.perf_counter()
    found = retrieve.search(question, scope, limit=limit)
    documents = _documents(found.sources, question)
    passed = (time.perf_counter() - began) * 1000
    return Results(question, documents, len(found.sources), found.evidence.enough, passed)


def _documents(sources: Sequence[Source], question: str) -> list[DocumentView]:
    by_document: dict[UUID, list[Source]] = {}
    for source in sources:
        by_document.setdefault(source.document_id, []).append(source)
    rows = Document.objects.filter(pk__in=by_document).select_related("collection").order_by()
    shown = rows.only("title", "collection__name", "valid_from", "review_by", "superseded_by")
    documents = {document.pk: document for document in shown}
    standings = validity.standings(documents.values())
    return [
        _document(documents[pk], [_passage(source, question) for source in passages], validity.tags(standings[pk]))
        for pk, passages in by_document.items()
        if pk in documents  # deleted this very moment
    ]


def _document(document: Document, passages: Sequence[PassageView], tags: Sequence[Tag]) -> DocumentView:
    return DocumentView(
        id=document.pk,
        title=document.title,
        collection=document.collection.name,
        collection_id=document.collection_id,
        tags=tags,
        passages=passages[:AT_ONCE],
        more=passages[AT_ONCE:],
    )


def _passage(source: Source, question: str) -> PassageView:
    page = reverse("page", args=[source.document_id, source.revision, source.page_from + 1])
    stretch = Stretch(Place(source.page_from, source.start), Place(source.page_to, source.end))
    return PassageView(
        url=f"{page}?passage={stretch}",
        page_label=page_view.labelled(source.page_label),
        heading=[heading for heading in source.heading if heading != source.title],
        text=source.text,
        question=question,
        score=source.score,
    )
