"""How well a score tells questions that documents answer from those that they do not, and where to draw the line. Pure.

A score speaks for an answer: refused is whatever lies below the threshold. A wrong refusal is as bad as a wrong answer, so a
threshold is set by the wrong refusals that it makes, and what it rightly refuses is what one gets for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FALSE_MOST = 0.05  # share of answerable questions that a threshold may refuse
RIGHT_LEAST = 0.9  # share of unanswerable questions, for the figure the other way round
ANSWERABLE_FEWEST, UNANSWERABLE_FEWEST = 20, 10  # questions from which a threshold may be set: one of 20 is 5 %
_RESAMPLES = 1_000

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure from 0 to 1, and the middle 95 % of what other questions of the kind would give (bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Separation:
    """How well scores separate: the area under the ROC curve (Hanley and McNeil 1982: how often an answerable question scores
    above an unanswerable one), the share refused at `FALSE_MOST` false refusals, and the false refusals at `RIGHT_LEAST`
    right ones."""

    area: Estimate
    refused: Estimate
    false_refusals: Estimate


def separation(answerable: Sequence[float], unanswerable: Sequence[float]) -> Separation:
    """The figures with their intervals. Raises ValueError where one of the two kinds has no question."""
    if not len(answerable) or not len(unanswerable):
        raise ValueError("questions of both kinds are needed")
    yes, no = np.asarray(answerable, dtype=np.float64), np.asarray(unanswerable, dtype=np.float64)
    return Separation(
        area=_estimate(area, yes, no),
        refused=_estimate(lambda yes, no: share_below(no, line(yes, FALSE_MOST)), yes, no),
        false_refusals=_estimate(lambda yes, no: share_below(yes, _line_above(no, RIGHT_LEAST)), yes, no),
    )


def area(yes: Scores, no: Scores) -> float:
    """How often a score of `yes` lies above one of `no`, 0 to 1; equal ones count half."""
    ordered = np.sort(no)
    below = np.searchsorted(ordered, yes, side="left")
    level = np.searchsorted(ordered, yes, side="right") - below
    return float((below + level / 2).sum() / (len(yes) * len(no)))


def line(yes: Scores, most: float) -> float:
    """The highest threshold that refuses at most the share `most` of the scores `yes`."""
    ordered = np.sort(yes)
    return float(ordered[min(int(most * len(ordered) + 1e-9), len(ordered) - 1)])


def _line_above(no: Scores, least: float) -> float:
    """The lowest threshold that refuses at least the share `least` of the scores `no`."""
    ordered = np.sort(no)
    place = int(np.ceil(least * len(ordered) - 1e-9)) - 1
    return float(np.nextafter(ordered[max(place, 0)], np.inf))


def share_below(scores: Scores, threshold: float) -> float:
    """The share of the scores that the threshold refuses."""
    return float((scores < threshold).mean())


def _estimate(figure: Callable[[Scores, Scores], float], yes: Scores, no: Scores) -> Estimate:
    random = np.random.default_rng(0)
    found = [figure(random.choice(yes, len(yes)), random.choice(no, len(no))) for _ in range(_RESAMPLES)]
    low, high = np.percentile(found, [2.5, 97.5])
    return Estimate(figure(yes, no), float(low), float(high))
