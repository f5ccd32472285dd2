"""A citation that is missing or wrong is mended where exactly one of the offered passages carries the sentence. Pure.

Why only then: with two that carry it, nobody knows which one the writer read, and with none there is nothing to cite.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag.domain.support import Doubt, Support, Verdict, check

Judge = Callable[
    [str, str], tuple[float, float]
]  # premise and hypothesis to: how likely carried, how likely contradicted

_SURE = 0.9  # from which a judge decides
_OPEN = frozenset(
    {Doubt.WORDS, Doubt.CONDITION, Doubt.MODE, Doubt.DENIAL}
)  # a value, name or quotation is there or it is not


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


def cited(
    sentence: str,
    numbers: Sequence[int],
    offered: Mapping[int, Offered],
    *,
    known: str = "",
    judge: Judge | None = None,
) -> Cited:
    """The sentence checked against what it cites, or against the one passage that carries it where that does not.

    `known` are words that a sentence may name whatever the passages say, as those of the question. `judge` decides what the rules
    leave open, both ways; it is not asked about a value, a name or a quotation.
    """
    found = _check(sentence, numbers, offered, known)
    if judge is not None and numbers:
        found = judged(sentence, found, [offered[number].text for number in numbers], judge)
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


def judged(sentence: str, found: Support, passages: Sequence[str], judge: Judge) -> Support:
    """The check's result, or what the judge makes of it where it was open and the judge is sure."""
    if found.verdict not in (Verdict.PARTLY, Verdict.UNSUPPORTED) or found.doubt not in _OPEN or found.passage is None:
        return found
    passage = passages[found.passage]
    carried, contradicted = judge(passage, sentence)
    if carried >= _SURE:
        return replace(found, verdict=Verdict.SUPPORTED, reason="", doubt=Doubt.NONE, missing=())
    if contradicted >= _SURE and found.verdict is Verdict.PARTLY:
        words = " ".join(passage[found.start : found.end].split())
        return replace(found, verdict=Verdict.CONTRADICTED, reason=f"The cited passage says “{words[:200]}”.")
    return found


def _check(sentence: str, numbers: Sequence[int], offered: Mapping[int, Offered], known: str) -> Support:
    passages = [offered[number] for number in numbers]
    return check(
        sentence, [each.text for each in passages], known="\n".join([known, *(each.known for each in passages)]).strip()
    )
