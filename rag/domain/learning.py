"""What a collection's own questions teach about ranking: weights that correct the prior. Pure, numpy alone.

Why corrections and not weights: with twenty questions there is little to learn from. The score stays the prior's, plus a
weighted sum of features whose weights are drawn towards 0, so that where the questions teach nothing, nothing changes.
Why a softmax over the candidates of one question: only the order within a question matters (ListNet, Cao et al. 2007). It
is convex, so that the same questions always give the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag.domain.ranking import Found, Named, Numbers, share_of_best

FEATURES = (
    "cosine below the best",
    "share of the best BM25",
    "logarithm of that share",
    "place by cosine",
    "place by BM25",
    "both lists",
    "length",
    "fit of the name",
    "cosine of what is asked",
    "BM25 of what is asked",
)
Matrix = NDArray[np.float64]

FEWEST = 20  # questions from which it may be tried
SHARPNESS = 3.6  # of the softmax over the prior's scores: what fitted best on five collections
DRAWS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # how strongly weights are drawn to 0: cross-validation picks
FOLDS = 5
_STEPS = 30
_NEAR = 1e-6


def features(found: Found, named: Named | None, lengths: Numbers) -> Matrix:
    """What the candidates are judged by, (candidates, FEATURES); `lengths` are their texts', in characters, in the order of `found`."""
    count = len(found.ids)
    nothing = np.zeros(count)
    words = share_of_best(found.keyword)
    asked_cosine, asked_words, fit = nothing, nothing, nothing
    if named is not None and (meant := named.fit > 0).any():
        fit = named.fit
        asked_cosine = named.cosine - named.cosine[meant].max()
        asked_words = np.minimum(share_of_best(named.keyword, among=meant), 1.5)
    both = np.array([len(found.places.get(int(number), ())) == 2 for number in found.ids], dtype=np.float64)
    return np.column_stack(
        (
            found.cosine - found.cosine.max(initial=-1.0),
            words,
            np.log(words + 0.05),
            _places(found.cosine),
            np.where(found.keyword > 0, _places(found.keyword), 0.0),
            both,
            np.log1p(lengths),
            fit,
            asked_cosine,
            asked_words,
        )
    )


def _places(scores: Numbers) -> Numbers:
    """1 for the best, falling with the place: 10 / (10 + places behind it)."""
    places = np.empty(len(scores))
    places[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return 10.0 / (10.0 + places)


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question with its candidates: `features` (n, FEATURES), the `prior` scores and the judged `gains` (0 for no answer).

    `ideal` is the best discounted gain that any order of all judged passages could have.
    """

    features: Matrix
    prior: Numbers
    gains: Numbers
    ideal: float

    def ndcg(self, scores: Numbers, *, k: int = 10) -> float:
        """nDCG at k of the candidates in the order of `scores`."""
        order = np.argsort(-scores, kind="stable")[:k]
        return discounted(self.gains[order]) / self.ideal if self.ideal > 0 else 0.0


def discounted(gains: Numbers) -> float:
    """The discounted gain of `gains` in this order."""
    return float((gains / np.log2(np.arange(len(gains)) + 2)).sum())


@dataclass(frozen=True, slots=True)
class Weights:
    """Corrections to the prior, one for each of FEATURES."""

    values: tuple[float, ...]

    def scores(self, prior: Numbers, features: Matrix) -> Numbers:
        """The candidates' scores, larger is better."""
        corrected: Numbers = SHARPNESS * prior + features @ np.asarray(self.values)
        return corrected


@dataclass(frozen=True, slots=True)
class Learned:
    """`weights`, and nDCG@10 of the prior (`before`) and with the weights (`after`), each question scored by weights that had
    not seen it. `questions` counts those that taught: an answer among the candidates."""

    weights: Weights
    before: float
    after: float
    questions: int

    @property
    def helps(self) -> bool:
        """Whether switching it on may be proposed."""
        return self.after >= self.before + 0.005


def learn(lessons: Sequence[Lesson], *, seed: int = 0) -> Learned:
    """Weights from these questions, by cross-validation as strong as they deserve.

    Raises ValueError when fewer than FEWEST have an answer among their candidates.
    """
    usable = [lesson for lesson in lessons if lesson.gains.max(initial=0.0) > 0]
    if len(usable) < FEWEST:
        raise ValueError(f"At least {FEWEST} questions with a known answer are needed; there are {len(usable)}.")
    fold = np.random.default_rng(seed).permutation(len(usable)) % FOLDS
    before = float(np.mean([lesson.ndcg(lesson.prior) for lesson in usable]))
    best_after, best_draw = -1.0, DRAWS[-1]
    for draw in reversed(DRAWS):  # the strongest first: a freer one must be better to win
        gained = np.zeros(len(usable))
        for held in range(FOLDS):
            weights = fit([lesson for lesson, at in zip(usable, fold, strict=True) if at != held], draw=draw)
            for index in np.flatnonzero(fold == held):
                lesson = usable[index]
                gained[index] = lesson.ndcg(weights.scores(lesson.prior, lesson.features))
        if gained.mean() > best_after + 0.001:
            best_after, best_draw = float(gained.mean()), draw
    return Learned(fit(usable, draw=best_draw), before, best_after, len(usable))


def fit(lessons: Sequence[Lesson], *, draw: float) -> Weights:
    """The weights that make the answers likeliest under a softmax of each question's candidates, drawn to 0 by `draw`."""
    problem = _Problem.of(lessons, draw)
    weights = np.zeros(len(problem.scale))
    loss, slope, curve = problem.at(weights)
    for _ in range(_STEPS):
        step = np.linalg.solve(curve, slope)
        # A whole Newton step may go too far where the softmax is steep; the loss is convex, so some part of it does not.
        while (found := problem.at(weights - step))[0] > loss and np.abs(step).max() >= _NEAR:
            step = step / 2
        if np.abs(step).max() < _NEAR:
            break
        weights = weights - step
        loss, slope, curve = found
    return Weights(tuple(float(value) for value in weights / problem.scale))


@dataclass(frozen=True, slots=True)
class _Problem:
    """All questions' candidates under one another; `starts` and `sizes` say which rows are one question's."""

    table: Matrix
    offset: Numbers
    wanted: Numbers
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    scale: Numbers
    draw: float

    @classmethod
    def of(cls, lessons: Sequence[Lesson], draw: float) -> Self:
        sizes = np.array([len(lesson.prior) for lesson in lessons], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        table = np.concatenate([lesson.features for lesson in lessons])
        # What all candidates of a question share orders nothing.
        table = table - np.repeat(np.add.reduceat(table, starts) / sizes[:, None], sizes, axis=0)
        scale = table.std(axis=0)
        scale[scale < _NEAR] = np.inf  # the same for all: its weight is 0
        return cls(
            table=table / scale,
            offset=SHARPNESS * np.concatenate([lesson.prior for lesson in lessons]),
            wanted=np.concatenate([lesson.gains / lesson.gains.sum() for lesson in lessons]),
            starts=starts,
            sizes=sizes,
            scale=scale,
            draw=draw,
        )

    def at(self, weights: Numbers) -> tuple[float, Numbers, Matrix]:
        """The loss, its slope and its curvature."""
        raw = self.offset + self.table @ weights
        raw = raw - np.repeat(np.maximum.reduceat(raw, self.starts), self.sizes)
        powers = np.exp(raw)
        sums = np.add.reduceat(powers, self.starts)
        chances = powers / np.repeat(sums, self.sizes)
        loss = float(np.log(sums).sum() - self.wanted @ raw + self.draw / 2 * weights @ weights)
        slope = self.table.T @ (chances - self.wanted) + self.draw * weights
        weighted = self.table * chances[:, None]
        expected = np.add.reduceat(weighted, self.starts)
        curve = weighted.T @ self.table - expected.T @ expected + self.draw * np.eye(len(weights))
        return loss, slope, curve
