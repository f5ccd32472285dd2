"""Hybrid retrieval: embed, ask both indexes of each collection, rank, and read what the asker may see."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID

import numpy as np
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Length
from numpy.typing import NDArray

from rag.domain.evidence import Evidence, weigh
from rag.domain.followups import Turn
from rag.domain.learning import features, part, rearranged
from rag.domain.naming import meant
from rag.domain.ranking import Found, Named, Numbers, Spread, best_first, gather, in_order, prior, trust
from rag.domain.types import Allowed, Everything, Hit, Only, Scope, Source, Vectors, without
from rag.models import Chunk
from rag.models import Page as StoredPage
from rag.services.asking import Asking, asking, by_words, word_scores
from rag.services.indexing import Reader, readers, vector_digest
from rag.services.naming import names_of
from rag.services.rankers import reranked, weights_of
from rag.services.reranking import rerank
from rag.services.together import Together, holding_quotations
from rag.services.validity import left_out

DEPTH = 100  # hits taken from each index of each collection
SOURCES = 8  # passages shown as evidence
WEIGHED = 50  # candidates that a search tells of, sources or not
CONSIDERED = 16  # passages read at a time to fill them: some may be barred, deleted or near copies


class Stage(StrEnum):
    """An order of the candidates on the way to the last one."""

    MEANING = "meaning"  # the dense index alone
    WORDS = "words"  # the keyword index alone
    FUSED = "fused"  # both
    NAMED = "named"  # and the documents that the question names
    LEARNED = "learned"  # and what a collection's own questions taught, where that is switched on
    RERANKED = "reranked"  # and as a reranking model judges the best, where that is switched on


Orders = dict[Stage, list[int]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that a search weighed, by its number alone: whether its asker may read it is not known yet."""

    chunk_id: int
    cosine: float | None
    bm25: float
    ranks: Mapping[str, int]


@dataclass
class Retrieved:
    """What a search found: `sources` best first and numbered from 1, how strong the evidence is, and milliseconds per stage."""

    sources: list[Source]
    evidence: Evidence
    timings: dict[str, float] = field(default_factory=dict)
    standalone: str = ""  # the question in words that can be read alone
    earlier: tuple[str, ...] = ()  # the texts of its conversation that counted beside it
    candidates: Sequence[Candidate] = ()  # the best that were weighed, sources or not, best first


def search(
    question: str, scope: Scope, *, turns: Sequence[Turn] = (), limit: int = SOURCES, orders: Orders | None = None
) -> Retrieved:
    """The best passages that this asker may read now. An empty scope finds nothing, and so does an empty question.

    Documents that are not in force (superseded, or before their first day) are left out while others answer the question, unless
    it asks for them.
    `turns` are those before it in its conversation, oldest first, with what the asker may still read of the answers.
    `orders`, for measuring, is given the ids of the chunks as each stage put them, best first.
    """
    timings: dict[str, float] = {}
    if not scope.collections or not question.strip():
        return Retrieved([], weigh(question, []), timings)
    with _timed(timings, "embed"):
        asked = asking(question, turns)
    within = _within(scope)
    lapsed = _left_out(asked.standalone, scope)
    in_force = _less(within, lapsed)
    sources, ranked = _find(asked, scope, in_force, limit, timings, orders)
    evidence = weigh(asked.standalone, sources)
    if lapsed and not evidence.enough:
        # Better the old words, marked as such, than none.
        sources, ranked = _find(asked, scope, within, limit, timings, orders)
        evidence = weigh(asked.standalone, sources)
    earlier = tuple(each.text for each in asked.earlier)
    return Retrieved(
        sources, evidence, timings, asked.standalone, earlier, [item.candidate for item in ranked[:WEIGHED]]
    )


def _find(
    asked: Asking,
    scope: Scope,
    within: Mapping[UUID, Allowed],
    limit: int,
    timings: dict[str, float],
    orders: Orders | None,
) -> tuple[list[Source], list["_Ranked"]]:
    with _timed(timings, "search"):
        pools, together = _asked(asked, within, timings)
        found = _gathered(pools, asked, together)
        with _timed(timings, "names"):
            named = _named(pools, asked, found, scope, together)
        shipped = prior(found, named)
        learned = _learned(shipped, pools, asked, found, named, scope)
    with _timed(timings, "rerank"):
        scores = _reranked(asked.standalone, learned, pools, found, scope)
    if orders is not None:
        orders |= {Stage.MEANING: _listed(found, "dense"), Stage.WORDS: _listed(found, "keyword")}
        orders |= {Stage.FUSED: _ordered(found, prior(found)), Stage.NAMED: _ordered(found, shipped)}
        orders |= {Stage.LEARNED: _ordered(found, learned), Stage.RERANKED: _ordered(found, scores)}
    with _timed(timings, "read"):
        ranked = [_Ranked(found, index, float(scores[index])) for index in best_first(found, scores)]
        return _hydrate(ranked, scope, limit), ranked


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a search chooses from, in the order of `found`: the passages' `lengths`, in characters, and their scores as `shipped`
    and as `learned`, which is the same where nothing learned is switched on."""

    found: Found
    named: Named | None
    lengths: Numbers
    shipped: Numbers
    learned: Numbers


def candidates(question: str, scope: Scope) -> Candidates:
    """What a search for the question would choose from, of documents that are in force: for learning how to choose."""
    asked = asking(question)
    pools, together = _asked(asked, _less(_within(scope), _left_out(question, scope)), {})
    found = _gathered(pools, asked, together)
    named = _named(pools, asked, found, scope, together)
    shipped = prior(found, named)
    return Candidates(
        found, named, _lengths(found, scope), shipped, _learned(shipped, pools, asked, found, named, scope)
    )


def _lengths(found: Found, scope: Scope) -> Numbers:
    rows = Chunk.objects.visible_to(scope).filter(id__in=found.ids.tolist()).order_by()
    return in_order(found.ids.tolist(), dict(rows.values_list("id", Length("text"))), 0.0)


def _learned(
    scores: Numbers, pools: list["_Pool"], asked: Asking, found: Found, named: Named | None, scope: Scope
) -> Numbers:
    """The scores with each collection's own candidates in the order that its own questions taught, where that is switched on.

    Asked together with others, a collection's candidates change places among themselves: its weights say nothing of others'.
    """
    basis = vector_digest(asked.model.identity.digest)
    weights = weights_of((pool.index.collection_id for pool in pools), basis=basis)
    if not weights:
        return scores
    lengths = _lengths(found, scope)
    for pool in pools:
        taught, own = weights.get(pool.index.collection_id), pool.own(found)
        if taught is not None and own.any():
            alone = part(found, named, own)
            scores = rearranged(scores, own, taught.scores(prior(*alone), features(*alone, lengths[own])))
    return scores


def _reranked(question: str, scores: Numbers, pools: list["_Pool"], found: Found, scope: Scope) -> Numbers:
    """The scores with the best candidates of those collections as the reranking model judges them that have it switched on."""
    collections = reranked(pool.index.collection_id for pool in pools)
    for pool in pools:
        if pool.index.collection_id in collections:
            scores = rerank(question, found, scores, pool.own(found), scope)
    return scores


@dataclass
class _Pool:
    """One collection's indexes and what they gave."""

    index: Reader
    dense: list[Hit]
    keyword: list[Hit]

    def of(self, ids: Iterable[int]) -> frozenset[int]:
        """Those of `ids` that this collection gave."""
        return frozenset(hit.chunk_id for hit in (*self.dense, *self.keyword)).intersection(ids)

    def own(self, found: Found) -> NDArray[np.bool_]:
        """Which of the candidates this collection gave."""
        return np.isin(found.ids, list(self.of(found.ids.tolist())))


def _asked(asked: Asking, within: Mapping[UUID, Allowed], timings: dict[str, float]) -> tuple[list[_Pool], Together]:
    """What each collection gives, of what holds the question's quotations where anything does."""
    indexes = readers(within, asked.model.identity)
    together = Together(indexes.values())
    pools = []
    for collection, allowed in holding_quotations(asked.text, indexes, within).items():
        index = indexes[collection]
        with _timed(timings, "meaning"):
            dense = index.dense(asked.vector, limit=DEPTH, allowed=allowed)
        with _timed(timings, "words"):
            keyword = by_words(index, asked, limit=DEPTH, allowed=allowed, together=together)
        pools.append(_Pool(index, dense, keyword))
    return pools, together


def _listed(found: Found, place: str) -> list[int]:
    """The ids that the list `place` gave, in its order."""
    places = {chunk_id: given[place] for chunk_id, given in found.places.items() if place in given}
    return sorted(places, key=places.__getitem__)


def _ordered(found: Found, scores: Numbers) -> list[int]:
    return [int(found.ids[index]) for index in best_first(found, scores)]


def _gathered(pools: list[_Pool], asked: Asking, together: Together) -> Found:
    """The best of all collections, each with its exact cosine and BM25."""
    dense = _best(hit for pool in pools for hit in pool.dense)
    keyword = _best(hit for pool in pools for hit in pool.keyword)
    liked, worded = ({hit.chunk_id for hit in hits} for hits in (dense, keyword))
    if not together.several:
        completed = _words(pools, asked, liked - worded, together)
    else:
        # The indexes chose by the lengths of their own passages.
        exact = _words(pools, asked, liked | worded, together)
        keyword = _best(hit for hit in exact if hit.chunk_id in worded)
        completed = [hit for hit in exact if hit.chunk_id not in worded]
    cosines = _cosines(pools, asked.vector, worded - liked)
    return gather(dense, keyword, cosines, completed, trust=trust(asked.fluency))


def _cosines(pools: list[_Pool], vector: Vectors, ids: Iterable[int]) -> list[Hit]:
    asked = [(pool.index, pool.of(ids)) for pool in pools]
    return [hit for index, own in asked if own for hit in index.dense(vector, limit=len(own), allowed=Only(own))]


def _words(pools: list[_Pool], asked: Asking, ids: Iterable[int], together: Together) -> list[Hit]:
    each = [(pool.index, pool.of(ids)) for pool in pools]
    return [hit for index, own in each if own for hit in word_scores(index, asked, ids=own, together=together)]


def _named(pools: list[_Pool], asked: Asking, found: Found, scope: Scope, together: Together) -> Named | None:
    """Where the question names documents: how well each candidate's fits, and how near each is to what is asked of them.

    Only documents of several passages can be named: one of a single passage is a candidate like any other, and its names are
    among the words by which it was found.
    """
    ids: list[int] = found.ids.tolist()
    # Unordered: sorting would cost a join. A live document has one extraction here, so that its number stands for it.
    rows = Chunk.objects.visible_to(scope).filter(id__in=ids).order_by()
    home: dict[int, int] = {}
    titles: dict[int, str] = {}
    several: set[int] = set()
    for chunk, extraction, ordinal, title in rows.values_list("id", "extraction_id", "ordinal", "document__title"):
        if ordinal or extraction in titles:
            several.add(extraction)
        home[chunk], titles[extraction] = extraction, title
    called = names_of({extraction: titles[extraction] for extraction in several})
    what = meant(asked.standalone, called)
    if not what.documents:
        return None
    # What a follow-up asks of the document is in its own words; that it means this one may stand in those before it.
    own = meant(asked.text, called).question if asked.earlier else what.question
    inside = asking(own, model=asked.model)
    cosines = {hit.chunk_id: hit.score for hit in _cosines(pools, inside.vector, ids)}
    words = {hit.chunk_id: hit.score for hit in _words(pools, inside, ids, together)}
    fits = {chunk: what.documents.get(extraction, 0.0) for chunk, extraction in home.items()}
    return Named(
        fit=in_order(ids, fits, 0.0),
        cosine=in_order(ids, cosines, min(cosines.values(), default=0.0)),
        keyword=in_order(ids, words, 0.0),
    )


def _within(scope: Scope) -> Mapping[UUID, Allowed]:
    """What each collection's indexes may look at. Under filters exactly the chunks that fulfil them: filtering what the indexes
    gave would lose all but the few of them among the nearest."""
    collections = sorted(scope.collections)
    if not scope.filters:
        return dict.fromkeys(collections, Everything())
    chunks = _by_collection(Chunk.objects.visible_to(scope).order_by().values_list("collection_id", "id"))
    return {collection: Only(chunks[collection]) for collection in collections if collection in chunks}


def _less(within: Mapping[UUID, Allowed], lapsed: Mapping[UUID, frozenset[int]]) -> Mapping[UUID, Allowed]:
    return {each: without(allowed, lapsed[each]) if each in lapsed else allowed for each, allowed in within.items()}


def _left_out(question: str, scope: Scope) -> Mapping[UUID, frozenset[int]]:
    """The chunks of documents that do not answer this question because others are in force, by collection."""
    documents = left_out(question, scope.collections)
    if not documents:
        return {}
    chunks = Chunk.objects.visible_to(scope).filter(document_id__in=documents)
    return _by_collection(chunks.order_by().values_list("collection_id", "id"))


def _by_collection(rows: Iterable[tuple[UUID, int]]) -> Mapping[UUID, frozenset[int]]:
    found: defaultdict[UUID, set[int]] = defaultdict(set)
    for collection, chunk in rows:
        found[collection].add(chunk)
    return {collection: frozenset(chunks) for collection, chunks in found.items()}


def _best(hits: Iterable[Hit]) -> list[Hit]:
    """As many as one collection would give that holds all of them."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))[:DEPTH]


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The candidate at `index` of `found`."""

    found: Found
    index: int
    score: float

    @property
    def chunk_id(self) -> int:
        return int(self.found.ids[self.index])

    @property
    def cosine(self) -> float | None:
        return None if self.chunk_id in self.found.unlike else float(self.found.cosine[self.index])

    @property
    def candidate(self) -> Candidate:
        places = self.found.places.get(self.chunk_id, {})
        return Candidate(self.chunk_id, self.cosine, float(self.found.keyword[self.index]), places)


def _hydrate(ranked: list[_Ranked], scope: Scope, limit: int) -> list[Source]:
    """Reads the passages through visible_to: an id that an index should not have given ends here."""
    sources: list[Source] = []
    spread = Spread()
    for start in range(0, len(ranked), CONSIDERED):
        batch = ranked[start : start + CONSIDERED]
        visible = _read([item.chunk_id for item in batch], scope)
        for item in batch:
            source = visible.get(item.chunk_id)
            if source is None or not spread.adds(source.text):
                continue
            ranks = item.found.places.get(item.chunk_id, {})
            sources.append(replace(source, number=len(sources) + 1, score=item.score, cosine=item.cosine, ranks=ranks))
            if len(sources) == limit:
                return sources
    return sources


def _read(ids: Sequence[int], scope: Scope) -> Mapping[int, Source]:
    """Those of the passages that this asker may read now, without their places in an order, by id; in one query."""
    # With the number of its first page as people see it. A passage's other columns and tables are not for here: they would
    # take longer to unpack than all of this to find.
    page = StoredPage.objects.filter(extraction_id=OuterRef("extraction_id"), place=OuterRef("page_from")).order_by()
    rows = Chunk.objects.visible_to(scope).filter(id__in=ids).order_by()
    found = rows.values_list(
        "id",
        "document_id",
        "collection_id",
        "extraction_id",
        "extraction__revision__number",
        "document__title",
        "heading",
        "page_from",
        "page_to",
        Subquery(page.values("label")[:1]),
        Subquery(page.values("number")[:1]),
        "start",
        "end",
        "text",
    )
    return {
        chunk_id: Source(
            number=0,
            chunk_id=chunk_id,
            document_id=document,
            collection_id=collection,
            extraction_id=extraction,
            revision=revision,
            title=title,
            heading=tuple(heading),
            page_from=page_from,
            page_to=page_to,
            page_label=label or (str(number) if number else ""),
            start=start,
            end=end,
            text=text,
            score=0.0,
        )
        for (
            chunk_id,
            document,
            collection,
            extraction,
            revision,
            title,
            heading,
            page_from,
            page_to,
            label,
            number,
            start,
            end,
            text,
        ) in found
    }


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = round(timings.get(stage, 0) + (time.perf_counter() - started) * 1000, 2)
