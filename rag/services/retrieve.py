"""Hybrid retrieval on one screen: embed, ask both indexes of each collection, join, and read what the asker may see."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rag.domain.evidence import Evidence, weigh
from rag.domain.fusion import Fused, fuse
from rag.domain.types import Hit, Scope, Source
from rag.models import Chunk
from rag.models import Page as StoredPage
from rag.services.indexing import reader
from rag.slots import question_embedder

DEPTH = 50  # hits taken from each index of each collection
SOURCES = 8  # passages shown as evidence
CONSIDERED = 30  # passages read to fill them: some may be barred, deleted or near copies


@dataclass
class Retrieved:
    """What a search found: `sources` best first and numbered from 1, how strong the evidence is, and milliseconds per stage."""

    sources: list[Source]
    evidence: Evidence
    timings: dict[str, float] = field(default_factory=dict)


def search(question: str, scope: Scope, *, limit: int = SOURCES) -> Retrieved:
    """The best passages that this asker may read now. An empty scope finds nothing, and so does an empty question."""
    timings: dict[str, float] = {}
    dense: list[Hit] = []
    keyword: list[Hit] = []
    if scope.collections and question.strip():
        with _timed(timings, "embed"):
            vector = question_embedder().embed_question(question)
        with _timed(timings, "search"):
            for collection_id in sorted(scope.collections):
                index = reader(collection_id)
                dense += index.dense(vector, limit=DEPTH)
                keyword += index.keywords(question, limit=DEPTH)
    best_first = fuse(_best(dense), _best(keyword))
    with _timed(timings, "read"):
        sources = _hydrate(best_first, scope, limit)
    return Retrieved(sources, weigh(question, sources), timings)


def _best(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))[: 2 * DEPTH]


def _hydrate(fused: list[Fused], scope: Scope, limit: int) -> list[Source]:
    """Reads the passages through visible_to: an id that an index should not have given ends here."""
    sources: list[Source] = []
    seen: set[str] = set()
    for start in range(0, len(fused), CONSIDERED):
        batch = fused[start : start + CONSIDERED]
        rows = Chunk.objects.visible_to(scope).filter(id__in=[item.chunk_id for item in batch])
        visible = {row.pk: row for row in rows.select_related("document", "extraction__revision")}
        for item in batch:
            chunk = visible.get(item.chunk_id)
            if chunk is None or (words := " ".join(chunk.text.split()).casefold()) in seen:
                continue
            seen.add(words)
            sources.append(_source(len(sources) + 1, chunk, item))
            if len(sources) == limit:
                return _labelled(sources)
    return _labelled(sources)


def _source(number: int, chunk: Chunk, item: Fused) -> Source:
    return Source(
        number=number,
        chunk_id=chunk.pk,
        document_id=chunk.document_id,
        collection_id=chunk.collection_id,
        extraction_id=chunk.extraction_id,
        revision=chunk.extraction.revision.number,
        title=chunk.document.title,
        heading=tuple(chunk.heading),
        page_from=chunk.page_from,
        page_to=chunk.page_to,
        page_label="",
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        score=item.score,
        cosine=item.scores.get("dense"),
        ranks=item.ranks,
    )


def _labelled(sources: list[Source]) -> list[Source]:
    """The sources with the page numbers that people see, in one query."""
    rows = StoredPage.objects.filter(
        extraction_id__in={source.extraction_id for source in sources},
        place__in={source.page_from for source in sources},
    ).values_list("extraction_id", "place", "number", "label")
    labels: Mapping[tuple[int, int], str] = {
        (extraction, place): label or (str(number) if number else "") for extraction, place, number, label in rows
    }
    return [replace(source, page_label=labels.get((source.extraction_id, source.page_from), "")) for source in sources]


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = round((time.perf_counter() - started) * 1000, 2)
