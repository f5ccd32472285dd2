"""What the quality page says of a collection's rankings: which serves, which is proposed, and what was measured of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from rag.domain.learning import Figures
from rag.domain.metrics import difference, interval
from rag.models import Collection, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services import measurements, rankers

POINTS = 11  # one more measuring than is shown
EARLIER = 5  # rankings that were on before and can be gone back to


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure (`called` as in the literature) as shipped and in the new order, and the gain; all from 0 to 1.

    Each has the interval in which its mean would lie for 95 of 100 such sets of questions.
    """

    name: str
    called: str
    before: float
    before_between: tuple[float, float]
    after: float
    after_between: tuple[float, float]
    gain: float
    gain_between: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """A ranker with its measures; `serves` is false where it was measured with another model."""

    ranker: Ranker
    questions: int
    measures: Sequence[Measure]
    serves: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one kind of ranking of a collection stands. `by_question` are the figures of the newest measuring."""

    kind: str
    on: Shown | None
    waiting: Ranker | None
    proposed: Shown | None
    last: Shown | None  # the newest measuring, where nothing came of it
    earlier: Sequence[Shown]
    by_question: Mapping[int, Figures]


def standing(collection: Collection, kind: RankerKind) -> Standing:
    """All of it, for whoever manages the collection."""
    every = list(Ranker.objects.filter(collection=collection, kind=kind).select_related("switched_by"))
    states = {state: [each for each in every if each.state == state] for state in RankerState}
    measured = [each for each in every if each.state != RankerState.WAITING]
    newest = measured[0] if measured else None
    return Standing(
        kind=kind.value,
        on=_first(states[RankerState.ON]),
        waiting=next(iter(states[RankerState.WAITING]), None),
        proposed=_first(states[RankerState.PROPOSED]),
        last=_shown(newest) if newest and newest.message else None,
        earlier=[_shown(each) for each in states[RankerState.OFF][:EARLIER]],
        by_question=figures_of(newest) if newest else {},
    )


def _first(found: Sequence[Ranker]) -> Shown | None:
    return _shown(found[0]) if found else None


def _shown(ranker: Ranker) -> Shown:
    figures = list(figures_of(ranker).values())
    ndcg = [each.ndcg_before for each in figures], [each.ndcg_after for each in figures]
    recall = [each.recall_before for each in figures], [each.recall_after for each in figures]
    measures = [_measure(_("Order"), "nDCG@10", *ndcg), _measure(_("In the first ten"), "recall@10", *recall)]
    return Shown(ranker, len(figures), measures if figures else [], rankers.serves(ranker))


def figures_of(ranker: Ranker) -> dict[int, Figures]:
    """What was measured of each question, by its id."""
    return {int(question): Figures(*figures) for question, *figures in ranker.figures}


def _measure(name: str, called: str, before: Sequence[float], after: Sequence[float]) -> Measure:
    gain, low, high = difference(after, before)
    count = max(len(before), 1)
    return Measure(
        name=name,
        called=called,
        before=sum(before) / count,
        before_between=interval(before),
        after=sum(after) / count,
        after_between=interval(after),
        gain=gain,
        gain_between=(low, high),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """What the whole search reached on the collection's kept questions at one time."""

    made: datetime
    questions: int
    ndcg: float
    recall: float


def over_time(collection: Collection) -> list[Point]:
    """The newest measurings of the collection, the newest first."""
    points = []
    for each in measurements.history(collection)[:-POINTS:-1]:
        means = each.stages[-1]["means"] if each.stages else {}
        points.append(Point(each.made, each.questions, means.get("nDCG@10", 0.0), means.get("recall@10", 0.0)))
    return points
