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
GAIN_LEAST = 0.005  # nDCG@10 that is worth a switch
# Standard errors that a gain must exceed. At 1, draws of 50 questions gained others .051 nDCG@10 on cuad and cost them .001 on
# SciFact and .003 on mtragun; at 1.64 nothing was ever lost, and a third of cuad's draws were not proposed.
SURE = 1.0
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
    """One question with its candidates: `features` (n, FEATURES) and the `prior` scores.

    `answers`: for each place where it is answered and that some candidates carry, those candidates' indexes: the first of them
    counts, the others repeat it. `places` counts all places, also those that no candidate carries.
    """

    features: Matrix
    prior: Numbers
    answers: tuple[tuple[int, ...], ...]
    places: int

    def ndcg(self, scores: Numbers, *, k: int = 10) -> float:
        """nDCG at k of the candidates in the order of `scores`, 0 to 1; each place gains 1 where it is first carried."""
        gained = sum(1 / np.log2(place + 2) for place in self._reached(scores) if place < k)
        ideal = sum(1 / np.log2(place + 2) for place in range(min(self.places, k)))
        return min(1.0, float(gained / ideal)) if self.places else 0.0

    def recall(self, scores: Numbers, *, k: int = 10) -> float:
        """The share of the places that the first k candidates carry, 0 to 1."""
        return sum(place < k for place in self._reached(scores)) / self.places if self.places else 0.0

    def _reached(self, scores: Numbers) -> list[int]:
        """From 0, where each place is first carried."""
        places = np.empty(len(scores), dtype=np.int64)
        places[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
        return [int(places[list(indexes)].min()) for indexes in self.answers]

    def wanted(self) -> Numbers:
        """What share of the attention each candidate should get: an equal part for each place, given to the candidates that
        carry it as the prior shares it among them (one step of expectation, so that the loss stays convex)."""
        shares = np.zeros(len(self.prior))
        for indexes in self.answers:
            own = list(indexes)
            powers = np.exp(SHARPNESS * (self.prior[own] - self.prior[own].max()))
            shares[own] += powers / powers.sum() / len(self.answers)
        return shares


@dataclass(frozen=True, slots=True)
class Weights:
    """Corrections to the prior, one for each of FEATURES."""

    values: tuple[float, ...]

    def scores(self, prior: Numbers, features: Matrix) -> Numbers:
        """The candidates' scores, larger is better."""
        corrected: Numbers = SHARPNESS * prior + features @ np.asarray(self.values)
        return corrected


@dataclass(frozen=True, slots=True)
class Figures:
    """nDCG@10 and recall@10 of one question, as shipped and in the new order."""

    ndcg_before: float
    ndcg_after: float
    recall_before: float
    recall_after: float

    @classmethod
    def of(cls, lesson: Lesson, before: Numbers, after: Numbers) -> Self:
        """What the two orders make of the question."""
        return cls(lesson.ndcg(before), lesson.ndcg(after), lesson.recall(before), lesson.recall(after))


@dataclass(frozen=True, slots=True)
class Learned:
    """`weights`, and what each question gained from weights that had not seen it, in the order of the lessons."""

    weights: Weights
    figures: tuple[Figures, ...]

    @property
    def before(self) -> float:
        """Mean nDCG@10 as shipped."""
        return float(np.mean([each.ndcg_before for each in self.figures]))

    @property
    def after(self) -> float:
        """Mean nDCG@10 with the weights."""
        return float(np.mean([each.ndcg_after for each in self.figures]))

    @property
    def helps(self) -> bool:
        """Whether switching it on may be proposed."""
        return helps(self.figures)


def helps(figures: Sequence[Figures]) -> bool:
    """Whether the gain is worth having, and larger than its standard error: chance gives that once in six times."""
    gains = np.array([each.ndcg_after - each.ndcg_before for each in figures])
    if len(gains) < FEWEST:
        return False
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() >= GAIN_LEAST and gains.mean() > SURE * error)


def learn(lessons: Sequence[Lesson], *, seed: int = 0) -> Learned:
    """Weights from these questions, as strong as they deserve.

    Each question is scored by weights, and at a strength, that were found without it (nested cross-validation).
    Raises ValueError when fewer than FEWEST have an answer among their candidates.
    """
    taught = sum(bool(lesson.answers) for lesson in lessons)
    if taught < FEWEST:
        raise ValueError(f"At least {FEWEST} questions with a known answer are needed; there are {taught}.")
    figures: dict[int, Figures] = {}
    for held in _folds(len(lessons), seed):
        weights = best([lesson for index, lesson in enumerate(lessons) if index not in held], seed=seed)
        for index in held:
            lesson = lessons[index]
            figures[index] = Figures.of(lesson, lesson.prior, weights.scores(lesson.prior, lesson.features))
    return Learned(best(lessons, seed=seed), tuple(figures[index] for index in range(len(lessons))))


def _folds(count: int, seed: int) -> list[frozenset[int]]:
    """FOLDS parts of nearly the same size, drawn by chance."""
    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    return [frozenset(np.flatnonzero(fold == held).tolist()) for held in range(FOLDS)]


def best(lessons: Sequence[Lesson], *, seed: int = 0) -> Weights:
    """Weights at the strength at which those of some questions serve the others best; the strongest draw where it hardly matters."""
    usable = [lesson for lesson in lessons if lesson.answers]
    folds = _folds(len(usable), seed)
    most, found = -1.0, DRAWS[-1]
    for draw in reversed(DRAWS):  # the strongest first: a freer one must be better to win
        gained = 0.0
        for held in folds:
            weights = fit([lesson for index, lesson in enumerate(usable) if index not in held], draw=draw)
            gained += sum(usable[i].ndcg(weights.scores(usable[i].prior, usable[i].features)) for i in held)
        if gained / len(usable) > most + 0.001:
            most, found = gained / len(usable), draw
    return fit(usable, draw=found)


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
            wanted=np.concatenate([lesson.wanted() for lesson in lessons]),
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


def part(found: Found, named: Named | None, own: NDArray[np.bool_]) -> tuple[Found, Named | None]:
    """The candidates at `own` alone, as if no others had been found."""
    ids = found.ids[own]
    kept = frozenset(ids.tolist())
    alone = Found(
        ids=ids,
        cosine=found.cosine[own],
        keyword=found.keyword[own],
        places={number: places for number, places in found.places.items() if number in kept},
        unlike=found.unlike & kept,
        trust=found.trust,
    )
    if named is None:
        return alone, None
    return alone, Named(fit=named.fit[own], cosine=named.cosine[own], keyword=named.keyword[own])


def rearranged(scores: Numbers, own: NDArray[np.bool_], wanted: Numbers) -> Numbers:
    """`scores` with those at `own` dealt out anew among themselves, so that they come in the order of `wanted`.

    `wanted` has one number for each of `own`. Every score stays what it was and only changes hands: whatever else was found
    keeps its place among them.
    """
    changed = scores.copy()
    indexes = np.flatnonzero(own)
    changed[indexes[np.argsort(-wanted, kind="stable")]] = np.sort(scores[indexes])[::-1]
    return changed
