"""A question as both indexes are asked: its own words, what of the conversation counts beside them, and all of it as one vector."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag.domain.followups import Earlier, Turn, earlier, on_topic, standalone
from rag.domain.types import Allowed, Hit, Only, Vectors
from rag.services.indexing import Reader
from rag.services.together import Together
from rag.slots import Model, embedding_model, question_embedder


@dataclass(frozen=True, slots=True)
class Asking:
    """`text` as typed; `standalone`, which can be read alone; `vector`, of length 1, and the `model` that made it, whose vectors
    alone it may be compared with and which reads the question so fluently (`Embedder.fluency`); and what counts beside it."""

    text: str
    standalone: str
    vector: Vectors
    model: Model
    fluency: float
    earlier: tuple[Earlier, ...] = ()

    @property
    def texts(self) -> list[tuple[str, float]]:
        """What its words are, and what each text is worth."""
        return [(self.text, 1.0), *((each.text, each.weight) for each in self.earlier)]


def asking(question: str, turns: Sequence[Turn] = (), *, model: Model | None = None) -> Asking:
    """The question with what it takes from the `turns` before it, oldest first; by `model`, or the one in use."""
    model = model or embedding_model()  # asked once: it may be switched at any moment
    embedder = question_embedder(model)
    embed, fluency = embedder.embed_question, embedder.fluency(question)
    own = embed(question)
    before = earlier(question, turns)
    vectors = [embed(each.text) for each in before]
    share = on_topic(question, own, vectors, likeness=model.identity.likeness)
    if not before or share <= 0:
        return Asking(question, question, own, model, fluency)
    weighed = tuple(replace(each, weight=share * each.weight) for each in before)
    # Cosines are linear: ranking by the sum of the vectors is ranking by the weighted sum of their cosines.
    mixed = own + np.sum([each.weight * vector for each, vector in zip(weighed, vectors, strict=True)], axis=0)
    vector = (mixed / np.linalg.norm(mixed)).astype(own.dtype)
    return Asking(question, standalone(question, turns), vector, model, fluency, weighed)


def by_words(index: Reader, asked: Asking, *, limit: int, allowed: Allowed, together: Together) -> list[Hit]:
    """The `limit` best by BM25, best first, each text with its weight; exact where one collection is asked."""
    texts = asked.texts
    lists = [index.keywords(text, limit=limit, allowed=allowed, pool=together.statistics(text)) for text, _ in texts]
    if len(lists) == 1:
        return lists[0]
    ids = {hit.chunk_id for hits in lists for hit in hits}
    scores: defaultdict[int, float] = defaultdict(float)
    for (text, weight), hits in zip(texts, lists, strict=True):
        missing = frozenset(ids.difference(hit.chunk_id for hit in hits)) if len(hits) == limit else frozenset()
        pool = together.statistics(text)
        rest = index.keywords(text, limit=len(missing), allowed=Only(missing), pool=pool) if missing else []
        for hit in (*hits, *rest):
            scores[hit.chunk_id] += weight * hit.score
    return _best_first(scores)[:limit]


def word_scores(index: Reader, asked: Asking, *, ids: frozenset[int], together: Together) -> list[Hit]:
    """Those of `ids` that hold a word of what is asked, best first, by their exact BM25 over all collections asked."""
    scores: defaultdict[int, float] = defaultdict(float)
    for text, weight in asked.texts:
        pool = together.statistics(text)
        if pool is None:
            hits = index.keywords(text, limit=len(ids), allowed=Only(ids))
        else:
            hits = index.keyword_scores(text, ids=ids, pool=pool)
        for hit in hits:
            scores[hit.chunk_id] += weight * hit.score
    return _best_first(scores)


def _best_first(scores: Mapping[int, float]) -> list[Hit]:
    return [Hit(*item) for item in sorted(scores.items(), key=lambda item: (-item[1], item[0]))]
