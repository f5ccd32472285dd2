"""Retrieval measures as the literature defines them, and how sure one can be of their means. Pure.

A ranking is ids, best first; `grades` are the judged ids with a grade above 0; everything else counts as 0.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item", bound=Hashable)  # what ids are: names of a public set, numbers of chunks
Ranking = Sequence[str]
Grades = Mapping[str, float]
Measure = Callable[[Ranking, Grades], float]

_RESAMPLES = 2_000


def ndcg(ranking: Sequence[Item], grades: Mapping[Item, float], *, k: int = 10) -> float:
    """Normalised discounted cumulative gain at k, 0 to 1; the gain is the grade, the discount log2(rank + 1).

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, as trec_eval computes it.
    """
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(best))
    gained = sum(max(grades.get(item, 0.0), 0.0) / math.log2(place + 2) for place, item in enumerate(ranking[:k]))
    return gained / ideal if ideal else 0.0


def recall(ranking: Ranking, grades: Grades, *, k: int) -> float:
    """The share of the relevant ids among the first k, 0 to 1."""
    relevant = {item for item, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Ranking, grades: Grades, *, k: int = 10) -> float:
    """1 over the place of the first relevant id among the first k, or 0."""
    for place, item in enumerate(ranking[:k], start=1):
        if grades.get(item, 0.0) > 0:
            return 1 / place
    return 0.0


MEASURES: dict[str, Measure] = {
    "nDCG@10": lambda ranking, grades: ndcg(ranking, grades, k=10),
    "recall@5": lambda ranking, grades: recall(ranking, grades, k=5),
    "recall@10": lambda ranking, grades: recall(ranking, grades, k=10),
    "recall@100": lambda ranking, grades: recall(ranking, grades, k=100),
    "MRR@10": lambda ranking, grades: reciprocal_rank(ranking, grades, k=10),
}


def interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of the means of bootstrap resamples (Efron 1979): how far the mean may move with other questions."""
    if not values:
        return 0.0, 0.0
    means = _resampled_means(np.asarray(values, dtype=np.float64), seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def difference(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """The mean difference over the same questions, and its paired bootstrap interval: one that spans 0 proves nothing.

    Raises ValueError when the two do not have the same length.
    """
    if len(ours) != len(theirs):
        raise ValueError("paired values are needed")
    deltas = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    if not len(deltas):
        return 0.0, 0.0, 0.0
    low, high = np.percentile(_resampled_means(deltas, seed), [2.5, 97.5])
    return float(deltas.mean()), float(low), float(high)


def _resampled_means(values: "np.typing.NDArray[np.float64]", seed: int) -> "np.typing.NDArray[np.float64]":
    random = np.random.default_rng(seed)
    # In slices: 2,000 resamples of thousands of questions at once would take hundreds of megabytes.
    means = np.empty(_RESAMPLES)
    for start in range(0, _RESAMPLES, 100):
        chosen = random.integers(0, len(values), size=(100, len(values)))
        means[start : start + 100] = values[chosen].mean(axis=1)
    return means
