"""A citation that is missing or wrong is mended where exactly one of the offered passages carries the sentence. Pure.

Why only then: with two that carry it, nobody knows which one the writer read, and with none there is nothing to cite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.domain.support import Doubt, Support, Verdict, check


@dataclass(frozen=True, slots=True)
class Offered:
    """A passage that the writer was shown, and the words of its title and headings."""

    text: str
    known: str = ""


@dataclass(frozen=True, slots=True)
class Cited:
    """The numbers that a sentence cites now, what the check against these passages said, and whether they were mended."""

    numbers: tuple[int, ...]
    check: Support
    repaired: bool = False


def cited(sentence: str, numbers: Sequence[int], offered: Mapping[int, Offered], *, known: str = "") -> Cited:
    """The sentence checked against what it cites, or against the one passage that carries it where that does not.

    `known` are words that a sentence may name whatever the passages say, as those of the question.
    """
    found = _check(sentence, numbers, offered, known)
    if found.verdict in (Verdict.SUPPORTED, Verdict.UNCHECKED):
        return Cited(tuple(numbers), found)
    carrying = [
        number
        for number in offered
        if number not in numbers and _check(sentence, (number,), offered, known).verdict is Verdict.SUPPORTED
    ]
    if len(carrying) == 1:
        return Cited((carrying[0],), _check(sentence, carrying, offered, known), repaired=True)
    if carrying and found.doubt is Doubt.NO_SOURCE:
        named = ", ".join(map(str, carrying[:-1])) + f" and {carrying[-1]}"
        reason = f"This sentence cites no source; passages {named} say it."
        return Cited(tuple(numbers), Support(Verdict.PARTLY, reason, doubt=Doubt.NO_SOURCE))
    return Cited(tuple(numbers), found)


def _check(sentence: str, numbers: Sequence[int], offered: Mapping[int, Offered], known: str) -> Support:
    passages = [offered[number] for number in numbers]
    return check(
        sentence, [each.text for each in passages], known="\n".join([known, *(each.known for each in passages)]).strip()
    )
