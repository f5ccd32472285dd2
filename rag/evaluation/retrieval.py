"""Measures how well passages are found: public sets in a temporary installation, a collection's kept questions where it is.

Every question goes through `services.retrieve.search` as a reader's would, and each stage on its way is scored by itself.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rag.domain.followups import Turn
from rag.domain.metrics import MEASURES, difference, interval
from rag.domain.types import Scope
from rag.evaluation import datasets
from rag.evaluation.filling import VectorCache, as_given, fill
from rag.services.measurements import index_kinds
from rag.services.retrieve import Orders, Stage, search

SHOWN = "shown"  # what a person sees: the last order, less what they may not read and near copies
SHOWN_MOST = 10
LEGS = (Stage.MEANING.value, Stage.WORDS.value)
MAIN = "nDCG@10"
_PLAIN = (*LEGS, Stage.FUSED.value, Stage.NAMED.value, SHOWN)  # others a collection has to switch on

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the grades of what answers it; `named` gives passages, best first, the names by which those are known."""

    id: str
    text: str
    grades: dict[str, float]
    named: Callable[[Sequence[int]], list[str]]
    turns: tuple[Turn, ...] = ()  # of its conversation, before it


Curve = Callable[[Sequence[Asked], Scope], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Found:
    """What each stage found for one question, ids best first, and the milliseconds of each step."""

    question: Asked
    orders: dict[str, list[str]]
    timings: dict[str, float]

    def scores(self, stage: str) -> dict[str, float]:
        """The measures of one stage; those that look further than it goes are left out."""
        measures = {name: measure for name, measure in MEASURES.items() if stage != SHOWN or not name.endswith("@100")}
        return {name: measure(self.orders[stage], self.question.grades) for name, measure in measures.items()}


@dataclass(frozen=True)
class Row:
    """One stage over all questions: each measure's values in their order, and nDCG@10's difference to the better leg."""

    stage: str
    values: dict[str, list[float]]
    difference: tuple[float, float, float]  # mean, and its paired 95 % interval

    @cached_property
    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.values.items()}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        return {name: interval(values) for name, values in self.values.items()}


@dataclass(frozen=True)
class Measured:
    """One set, measured; `left_out` counts passages of it that were not searched."""

    name: str
    passages: int
    found: tuple[Found, ...]
    left_out: int = 0
    indexes: Mapping[str, str] = field(default_factory=dict)  # kind by leg
    curve: tuple[float, ...] = ()  # nDCG@10 for each of rag.evaluation.constant.CONSTANTS, where that was asked for

    @cached_property
    def rows(self) -> list[Row]:
        """A row for each stage, in the order of the way."""
        stages = [stage for stage in (self.found[0].orders if self.found else ()) if self._says(stage)]
        values = {stage: _columns([found.scores(stage) for found in self.found]) for stage in stages}
        better = max((values[leg][MAIN] for leg in LEGS if leg in values), key=np.mean, default=[])
        return [Row(stage, values[stage], difference(values[stage][MAIN], better)) for stage in stages]

    def _says(self, stage: str) -> bool:
        """Whether a stage is worth a row: always a step of the plain way, another one where it changed some order."""
        if stage in _PLAIN:
            return True
        return any(found.orders[stage] != found.orders[Stage.NAMED] for found in self.found)

    def row(self, stage: str) -> Row:
        """The row of one stage."""
        return next(row for row in self.rows if row.stage == stage)

    @cached_property
    def timings(self) -> dict[str, tuple[float, float]]:
        """Half of the questions, and 95 of 100, needed at most so many milliseconds, by step."""
        columns = _columns([found.timings for found in self.found])
        return {
            step: (float(np.percentile(values, 50)), float(np.percentile(values, 95)))
            for step, values in columns.items()
        }


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Values by name, where every row has that name."""
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: [row[name] for row in rows] for name in names}


def measure(questions: Sequence[Asked], scope: Scope) -> tuple[Found, ...]:
    """Each question as found under `scope`."""
    if questions:
        search(
            questions[0].text, scope
        )  # opens the indexes and loads the weights: no question is to be charged with that
    return tuple(_found(question, scope) for question in questions)


def _found(question: Asked, scope: Scope) -> Found:
    orders: Orders = {}
    started = time.perf_counter()
    retrieved = search(question.text, scope, turns=question.turns, limit=SHOWN_MOST, orders=orders)
    timings = retrieved.timings | {"all": round((time.perf_counter() - started) * 1000, 2)}
    listed = {stage.value: ids for stage, ids in orders.items()}
    listed[SHOWN] = [source.chunk_id for source in retrieved.sources]
    return Found(question, {stage: question.named(ids) for stage, ids in listed.items()}, timings)


# --- What is measured


def measure_set(
    dataset: datasets.Dataset,
    *,
    cache: VectorCache,
    told: Told,
    most: int | None = None,
    as_written: bool = False,
    curve: Curve | None = None,
) -> Measured:
    """A public set, its passages as given. Belongs into a temporary installation.

    `most` passages are searched, if it is given: the judged ones first, which makes it easier than the whole. `as_written`
    asks what was asked in a conversation without what was said before it. `curve` gives what becomes `Measured.curve`.
    """
    corpus = dataset.corpus if most is None else reduced(dataset, most)
    filled = fill(
        as_given(corpus),
        name=dataset.name,
        vectors=cache,
        told=lambda done, of: told(f"{dataset.name}: {done} of {of} passages embedded"),
    )
    told(f"{dataset.name}: asking")
    questions = [
        Asked(
            question.id,
            question.text,
            question.grades,
            named=lambda ids: [filled.names[number] for number in ids],
            turns=() if as_written else tuple(Turn(*turn) for turn in question.history),
        )
        for question in dataset.answerable
    ]
    found = measure(questions, filled.scope)
    kinds = index_kinds(next(iter(filled.scope.collections)))
    return Measured(
        dataset.name,
        len(corpus),
        found,
        left_out=len(dataset.corpus) - len(corpus),
        indexes=kinds,
        curve=curve(questions, filled.scope) if curve else (),
    )


def reduced(dataset: datasets.Dataset, most: int) -> tuple[datasets.Text, ...]:
    """At most `most` passages in their order: every judged one of the questions, however many, then the first of the others."""
    judged = {own for question in dataset.questions for own in question.grades}
    room = max(0, most - sum(1 for text in dataset.corpus if text.id in judged))
    kept = []
    for text in dataset.corpus:
        if text.id in judged:
            kept.append(text)
        elif room:
            kept.append(text)
            room -= 1
    return tuple(kept)


def sets_in(folder: Path) -> Iterator[datasets.Dataset]:
    """The sets at or below `folder`. Raises ValueError with a sentence where one cannot be read or there is none."""
    found = datasets.find(folder)
    if not found:
        raise ValueError(f"There is no question set (a corpus.jsonl with its questions) in {folder}.")
    for path in found:
        dataset = datasets.load(path, root=folder)
        if dataset.answerable:
            yield dataset


def as_lines(measured: Measured) -> Iterator[dict[str, Any]]:
    """A line for each question: what each stage put first, the measures, and the milliseconds."""
    for found in measured.found:
        stages = {
            stage: {
                "found": order[:SHOWN_MOST],
                "scores": {name: round(value, 5) for name, value in found.scores(stage).items()},
            }
            for stage, order in found.orders.items()
        }
        yield {"set": measured.name, "question": found.question.id, "stages": stages, "milliseconds": found.timings}
