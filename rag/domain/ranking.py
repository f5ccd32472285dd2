"""Joins what meaning and words found into one order. Pure; numpy alone; under a millisecond for 200 candidates.

Every candidate is judged by both, by its exact cosine and its exact BM25, also where only one list found it.

Why so few terms: some twenty features (shares of the words found, nearest windows, word pairs, places in either list,
likeness to the best), weighted by what four collections taught, were tried on a fifth: none was ahead there by more than
.001 nDCG@10 and most fell behind, for what makes a good feature differs between collections. Those that a collection can
learn from its own questions are in `rag.domain.learning`.
Why the best as the measure of each list: a min-max sum moves with each list's worst hit, which says nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rag.domain.types import Hit

Numbers = NDArray[np.float64]

# A cosine step beside a share of the best BM25. From 3 to 4 none of seven sets moves by more than .008 nDCG@10.
COSINE = 3.2

# Letters that the model reads at a time from which it knows a language: English questions have 5.2, German and Spanish 2.8, Arabic
# and Chinese none (`Embedder.fluency`). Below it cosines count by the square of the share. Trusted everywhere, they put the order
# .277 nDCG@10 below the words alone on Arabic, .234 on Thai and .011 on German; so they put it below none by more than .008.
# From 3 on Spanish would be .012 worse, from 4 on nq_clapnq .001.
FLUENT = 3.5
_LEAST_TRUST = 0.01  # so that they still order what words do not

# Where the question names documents: how much of the likeness is to what it asks of them, and what the words of the whole
# question, those of what it asks, and being the named document are worth.
ASKED = 0.7
WHOLE_WORDS, ASKED_WORDS = 0.3, 0.2
NAMED = 0.8
SURELY = 0.5  # a naming that fits this well makes a document one of those that are meant

# Share of a passage's shingles in one before it from which it says nothing new. Leaving out what is judged relevant costs nDCG@10:
# .008 on mtragun and .003 on nq_clapnq at .9; .004 and .001 at .98, most of it for passages that stand in another word for word.
CROWDED = 0.98
_SHINGLE = 5  # words
_FIGURE = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Found:
    """The candidates of one question, all fields in one order: ids, cosine to the question, BM25 (0 where no word matches).

    `places` are the 1-based places in the lists ("dense", "keyword") that found them. Those in `unlike` have no vector yet:
    their cosine is taken as the least of the others. `trust` is how far cosines count, from 0 to 1 (`trust`).
    """

    ids: NDArray[np.int64]
    cosine: Numbers
    keyword: Numbers
    places: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    unlike: frozenset[int] = frozenset()
    trust: float = 1.0


@dataclass(frozen=True, slots=True)
class Named:
    """What naming says of the candidates, in the order of `Found`: how well their document's names fit (0 to 1), and the
    cosine and the BM25 of each for the question without the naming words."""

    fit: Numbers
    cosine: Numbers
    keyword: Numbers


def trust(fluency: float) -> float:
    """How far the cosines of a question count that a model reads so fluently, from 0 to 1."""
    return max(_LEAST_TRUST, min(1.0, fluency / FLUENT) ** 2)


def gather(
    dense: Sequence[Hit],
    keyword: Sequence[Hit],
    completed: Sequence[Hit],
    worded: Sequence[Hit],
    *,
    trust: float = 1.0,
) -> Found:
    """Both lists as one, by id. `completed` are the cosines of what the dense list lacks, `worded` the BM25 of what the
    keyword list lacks; `trust` is how far cosines count."""
    cosines = {hit.chunk_id: hit.score for hit in (*completed, *dense)}
    words = {hit.chunk_id: hit.score for hit in (*worded, *keyword)}
    ids = sorted({hit.chunk_id for hit in (*dense, *keyword)})
    least = min(cosines.values(), default=0.0)
    places: dict[int, dict[str, int]] = {}
    for name, hits in (("dense", dense), ("keyword", keyword)):
        for place, hit in enumerate(hits, start=1):
            places.setdefault(hit.chunk_id, {})[name] = place
    return Found(
        ids=np.array(ids, dtype=np.int64),
        cosine=in_order(ids, cosines, least),
        keyword=in_order(ids, words, 0.0),
        places=places,
        unlike=frozenset(number for number in ids if number not in cosines),
        trust=trust,
    )


def in_order(ids: Iterable[int], scores: Mapping[int, float], otherwise: float) -> Numbers:
    """The scores of `ids`, in their order."""
    return np.array([scores.get(number, otherwise) for number in ids], dtype=np.float64)


def prior(found: Found, named: Named | None = None, *, cosine: float = COSINE) -> Numbers:
    """Each candidate's score as shipped, larger is better; comparable within one question only. `cosine` is for measuring."""
    if not len(found.ids):
        return np.zeros(0)
    cosine *= found.trust
    likeness: Numbers = found.cosine - found.cosine.max()
    words = share_of_best(found.keyword)
    if named is None or not (meant := named.fit >= SURELY).any():
        plain: Numbers = cosine * likeness + words
        return plain
    asked = named.cosine - named.cosine[meant].max()
    # Outside the named documents a match may be stronger than the best inside: it must not outweigh the naming.
    asked_words = np.minimum(share_of_best(named.keyword, among=meant), 1.5)
    steered: Numbers = (
        cosine * ((1 - ASKED) * likeness + ASKED * asked)
        + WHOLE_WORDS * words
        + ASKED_WORDS * asked_words
        + NAMED * named.fit
    )
    return steered


def share_of_best(scores: Numbers, *, among: NDArray[np.bool_] | None = None) -> Numbers:
    """Scores as shares of the best one, or of the best one of those `among`; all 0 where that is 0."""
    best = float((scores if among is None else scores[among]).max(initial=0.0))
    return scores / best if best > 0 else np.zeros_like(scores)


def best_first(found: Found, scores: Numbers) -> list[int]:
    """The candidates' indexes, best first, ties by smaller id."""
    return [int(i) for i in np.lexsort((found.ids, -scores))]


class Spread:
    """Passages that are let through one by one: a near copy of one before is not, unless it has another figure."""

    def __init__(self) -> None:
        self._seen: list[tuple[frozenset[int], frozenset[str]]] = []

    def adds(self, text: str) -> bool:
        """Whether `text` says something that none before did; it then counts as said."""
        shingles = _shingles(text)
        figures = frozenset(figure.rstrip(".,") for figure in _FIGURE.findall(text))
        for others, known in self._seen:
            if figures <= known and len(shingles & others) >= CROWDED * len(shingles):
                return False
        self._seen.append((shingles, figures))
        return True


def _shingles(text: str) -> frozenset[int]:
    words = text.casefold().split()
    if len(words) <= _SHINGLE:
        return frozenset({hash(tuple(words))})
    return frozenset(hash(tuple(words[i : i + _SHINGLE])) for i in range(len(words) - _SHINGLE + 1))
