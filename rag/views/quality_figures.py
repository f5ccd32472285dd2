"""What the quality page says of a collection's rankings: which serves, which is proposed, and what was measured of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from rag.domain.learning import Figures
from rag.domain.metrics import difference, interval
from rag.models import Collection, Ranker
from rag.models.ranking import RankerKind, RankerState
from rag.services import measurements, rankers
from rag.views.plots import Plot, Value, plot

POINTS = 40  # measurings that are drawn, the newest ones: more would not be told apart
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
    every = Ranker.objects.filter(collection=collection, kind=kind).select_related("switched_by")
    measured = every.exclude(state=RankerState.WAITING)
    newest = measured.first()  # rankers come the newest first, each with figures for every question: only few are read
    return Standing(
        kind=kind.value,
        on=_first(every.filter(state=RankerState.ON)),
        waiting=every.filter(state=RankerState.WAITING).first(),
        proposed=_first(every.filter(state=RankerState.PROPOSED)),
        last=_shown(newest) if newest and newest.message else None,
        earlier=[_shown(each) for each in every.filter(state=RankerState.OFF)[:EARLIER]],
        by_question=figures_of(newest) if newest else {},
    )


def _first(found: QuerySet[Ranker]) -> Shown | None:
    ranker = found.first()
    return _shown(ranker) if ranker else None


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
    """What the whole search reached on the collection's kept questions at one time. Half of the questions took `usual`
    milliseconds or less, 95 of 100 `long`; None where that was not measured. `new`: with another embedding model than before."""

    made: datetime
    questions: int
    ndcg: float
    recall: float
    usual: float | None
    long: float | None
    new: bool


@dataclass(frozen=True, slots=True)
class OverTime:
    """The newest measurings of a collection, as rows, the newest first, and as pictures; `changed`: another model came meanwhile."""

    points: Sequence[Point]
    plots: Sequence[Plot]
    changed: bool


def over_time(collection: Collection) -> OverTime | None:
    """How good and how quick finding was, each time that it was measured; None where it never was."""
    measured = measurements.history(collection, most=POINTS)
    if not measured:
        return None
    points: list[Point] = []
    shares: dict[str, list[Value]] = {"nDCG@10": [], "recall@10": []}
    times: list[Value] = []
    before = measured[0].embedder
    for each in measured:
        reached: dict[str, dict[str, Any]] = each.stages[-1] if each.stages else {}
        means, intervals = reached.get("means", {}), reached.get("intervals", {})
        usual, long = each.timings.get("all", (None, None))
        label, new, before = date_format(each.made), each.embedder != before, each.embedder
        for measure, values in shares.items():
            between = intervals.get(measure)
            values.append(Value(means.get(measure, 0.0), label, tuple(between) if between else None, new))
        if usual is not None:
            times.append(Value(usual, label, new=new))
        points.append(
            Point(each.made, each.questions, means.get("nDCG@10", 0.0), means.get("recall@10", 0.0), usual, long, new)
        )
    plots = [
        plot(_("Order"), "nDCG@10", shares["nDCG@10"], digits=3),
        plot(_("In the first ten"), "recall@10", shares["recall@10"], digits=3),
    ]
    if times:
        plots.append(plot(_("Time"), _("ms, half of the questions"), times, digits=0, least=0.0))
    return OverTime(points[::-1], plots, any(point.new for point in points))
