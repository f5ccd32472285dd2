"""How the prior's one constant would have been chosen without a set, and what it then gives there.

A figure for a set that had a say in a constant flatters. Here each set is scored with what all the others would choose: what
somebody may expect whose documents had no say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag.domain.metrics import ndcg
from rag.domain.ranking import COSINE, best_first, prior
from rag.domain.types import Scope
from rag.evaluation.retrieval import LEGS, MAIN, Asked, Measured
from rag.services.retrieve import candidates

CONSTANTS = (1.0, 1.5, 2.0, 2.5, 3.0, COSINE, 4.0, 5.0, 6.0, 8.0, 12.0)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One set with the constant that the others choose: nDCG@10 with it, with the shipped one, and of the better leg."""

    name: str
    constant: float
    ndcg: float
    shipped: float
    better_leg: float


def curve(questions: Sequence[Asked], scope: Scope) -> tuple[float, ...]:
    """nDCG@10 for each of CONSTANTS; each question by itself, without what was said before it."""
    rows = []
    for question in questions:
        found = candidates(question.text, scope)
        rows.append(
            [
                ndcg(question.named([int(found.found.ids[index]) for index in order]), question.grades)
                for order in (
                    best_first(found.found, prior(found.found, found.named, cosine=constant)) for constant in CONSTANTS
                )
            ]
        )
    return tuple(float(mean) for mean in np.mean(rows, axis=0))


def left_out(measured: Sequence[Measured]) -> list[LeftOut]:
    """Each set with the constant whose mean gain over the better leg is largest on the other sets. Needs two sets and their curves."""
    legs = {each.name: max(each.row(leg).means[MAIN] for leg in LEGS) for each in measured}
    gains: Mapping[str, Sequence[float]] = {
        each.name: [value - legs[each.name] for value in each.curve] for each in measured
    }
    found = []
    for each in measured:
        others = np.mean([gains[other] for other in gains if other != each.name], axis=0)
        best = int(np.argmax(others))
        shipped = each.curve[CONSTANTS.index(COSINE)]
        found.append(LeftOut(each.name, CONSTANTS[best], each.curve[best], shipped, legs[each.name]))
    return found
