"""Which passages a search weighed for a question, sources or not: kept with the answer, and shown as its reader may see them now.

Kept are places, never words: a chunk's number means nothing once its document is read anew, so the extraction, page and offsets are
kept beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from core.models import User
from rag.access import Need, principal_of
from rag.domain.places import Place, Stretch
from rag.domain.types import Scope
from rag.models import Answer, Chunk, Document, Page
from rag.services.page_view import labelled
from rag.services.retrieve import Candidate


@dataclass(frozen=True, slots=True)
class Row:
    """A passage that was weighed; ranks count from 1, None where that search did not find it."""

    number: int  # its place in the last order, from 1
    title: str
    page_label: str
    url: str
    dense_rank: int | None
    keyword_rank: int | None
    cosine: float | None
    bm25: float | None
    source: int | None  # its number as a source, if it became one
    offered: bool  # a model was given it


def kept(candidates: Sequence[Candidate], scope: Scope) -> list[dict[str, Any]]:
    """What is stored of the candidates, in their order, some 140 bytes each: of those that the asker may read, in one query."""
    rows = Chunk.objects.visible_to(scope).filter(id__in=[each.chunk_id for each in candidates]).order_by()
    columns = ("document_id", "extraction_id", "extraction__revision__number", "page_from", "page_to", "start", "end")
    places = {row[0]: row[1:] for row in rows.values_list("id", *columns)}
    found = []
    for each in candidates:
        if each.chunk_id not in places:
            continue
        document, *place = places[each.chunk_id]
        found.append(
            {
                "chunk": each.chunk_id,
                "document": str(document),
                "place": place,
                "ranks": dict(each.ranks),
                "cosine": each.cosine,
                "bm25": each.bm25,
            }
        )
    return found


def rows(answer: Answer, reader: User, *, asked_model: bool) -> list[Row]:
    """The passages that were weighed for the answer, of documents that `reader` may read now, in the order that the search gave."""
    stored: list[dict[str, Any]] = answer.considered
    usable = Document.objects.usable_by(principal_of(reader), role=Need.READ)
    titles = {
        str(key): title
        for key, title in usable.filter(pk__in=[each["document"] for each in stored]).values_list("pk", "title")
    }
    labels = _labels(stored)
    sources = {source.chunk_id: source for source in answer.sources.all()}
    found = []
    for number, each in enumerate(stored, start=1):
        if each["document"] not in titles:
            continue
        extraction, revision, page_from, page_to, start, end = each["place"]
        stretch = Stretch(Place(page_from, start), Place(page_to, end))
        source = sources.get(each["chunk"])
        found.append(
            Row(
                number=number,
                title=titles[each["document"]],
                page_label=labelled(labels.get((extraction, page_from), "")),
                url=f"{reverse('page', args=[each['document'], revision, page_from + 1])}?passage={stretch}",
                dense_rank=each["ranks"].get("dense"),
                keyword_rank=each["ranks"].get("keyword"),
                cosine=each["cosine"],
                bm25=each["bm25"],
                source=source.number if source is not None else None,
                offered=asked_model and source is not None and source.offered,
            )
        )
    return found


def _labels(stored: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], str]:
    wanted = {(each["place"][0], each["place"][2]) for each in stored}
    pages = Page.objects.filter(
        extraction_id__in={extraction for extraction, _page in wanted}, place__in={page for _extraction, page in wanted}
    )
    return {
        (extraction, place): label or (str(number) if number else "")
        for extraction, place, number, label in pages.values_list("extraction_id", "place", "number", "label")
    }
