"""Word statistics of several collections as if they were one: what makes their BM25 scores comparable. Pure.

Why: a word's rarity and a passage's length count against the collection in which they stand. A word that is rare in one
collection and on every page of another would else push that one's passages up, whatever they say.
Why only what was asked: statistics over more than the collections that the asker may read and asked would tell, through
scores, what stands in the others.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

K1, B = (
    1.2,
    0.75,
)  # Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, their usual values

Term = tuple[str, str]  # a field of the index, and a word in it


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the words of one question are measured by: how many passages there are, how many words their fields hold in all,
    how many passages hold each term (terms that none holds are left out), and the languages in which passages are written."""

    passages: int
    words: Mapping[str, float]
    holding: Mapping[Term, int]
    languages: frozenset[str] = frozenset()

    def rarity(self, term: Term) -> float:
        """The term's inverse document frequency as Lucene counts it: above 0 for every term."""
        holding = self.holding.get(term, 0)
        return math.log1p((max(self.passages - holding, 0) + 0.5) / (holding + 0.5))

    def mean_length(self, field: str) -> float:
        """Words of a passage in this field, on average; 0 where there are no passages."""
        return self.words.get(field, 0.0) / self.passages if self.passages else 0.0


def pooled(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of one collection that holds what all of `parts` hold."""
    passages, words, holding = 0, Counter[str](), Counter[Term]()
    languages: set[str] = set()
    for part in parts:
        passages += part.passages
        for field, count in part.words.items():
            words[field] += count  # type: ignore[assignment]
        holding.update(part.holding)
        languages |= part.languages
    return Statistics(passages, dict(words), dict(holding), frozenset(languages))


def saturation(times: float, length: float, mean: float) -> float:
    """BM25's part for a term that stands `times` times in a field of `length` words, where fields have `mean` on average: 0 to 1."""
    return times / (times + K1 * (1 - B + B * length / mean))
