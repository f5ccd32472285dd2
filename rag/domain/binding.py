"""Of which value of a passage does a value of a sentence speak? Of the one that the same words stand around. Pure.

Why: a passage gives many numbers, and a wrong one may stand there for something else ("2 % in the south" where it is 6 %).
Two ways to tell: between statements, how near which words stand; between values of one kind in one statement, which words
belong to each alone ("6 % in the north and 2 % in the south").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rag.domain.reading import Fact, Statement
from rag.domain.words import STOPWORDS

_MARGIN = 0.08  # by how much the words must fit another value better to doubt a value that stands in the passage
_CLEAR = 0.55  # how well they must fit it to contradict
_NEARBY = 0.82  # what a word of the sentence counts that stands one place further from the value
_FADES, _FAR = 0.8, 0.3  # the same for a word of the passage, and the least that it counts
_OTHER_SIDE = 0.75  # a word that stands behind the value in the one and before it in the other
_FACT = 1.2  # what another value of the sentence counts beside words
_NOUN = 0.8  # what the noun behind a bare number counts
_OWNED = 0.3  # by how much more the words that belong to another value alone must be said


@dataclass(frozen=True, slots=True)
class Place:
    """A statement of a passage, and how much of the sentence it shares."""

    passage: int
    statement: Statement
    before: Statement | None  # what stands before it, which "it" and "they" speak of
    share: float


@dataclass(frozen=True, slots=True)
class Match:
    """A value of a passage beside one of the sentence: how well what stands around the one stands around the other, from 0 to 1."""

    place: Place
    fact: Fact
    fit: float
    clear: bool = False  # for a value that says otherwise: there is hardly a doubt that it is the one meant


def search(
    fact: Fact, said: Statement, weights: Mapping[str, float], places: Sequence[Place]
) -> tuple[Match | None, Match | None]:
    """The value of the passages that agrees with `fact` and fits best, and the one that says otherwise and fits better still."""
    fitting, rival = _best(fact, said, weights, places)
    if fitting is None:
        return None, rival
    beside = [other for other in fitting.place.statement.facts if fact.rivals(other)]
    if beside:
        found = _owner(fact, said, fitting, beside)
        if found is not None:
            return fitting, found
        if rival is not None and rival.fact in beside:
            return fitting, None
    return fitting, rival if rival is not None and rival.fit > fitting.fit + _MARGIN else None


def _best(
    fact: Fact, said: Statement, weights: Mapping[str, float], places: Sequence[Place]
) -> tuple[Match | None, Match | None]:
    fitting: Match | None = None
    rival: Match | None = None
    for place in places:
        for other in place.statement.facts:
            if other.value is None:
                continue
            agrees = fact.agrees(other)
            if not agrees and not fact.rivals(other):
                continue
            fit = _fit(fact, said, weights, other, place)
            if agrees and (fitting is None or fit > fitting.fit):
                fitting = Match(place, other, fit)
            elif not agrees and fit > 0 and (rival is None or fit > rival.fit):
                rival = Match(place, other, fit, clear=fit >= _CLEAR)
    return fitting, rival


def _fit(fact: Fact, said: Statement, weights: Mapping[str, float], other: Fact, place: Place) -> float:
    """How well what stands around `fact` in the sentence stands around `other` in the passage; nearer counts more."""
    total = got = 0.0
    there = place.statement
    for word, own in said.words.items():
        weight = weights[word] * max(0.1, _NEARBY ** min(abs(at - fact.place) for at in own))
        total += weight
        found, how = there.places(word)
        if found:
            got += weight * how * _nearness(other.place, found, before=min(own) < fact.place)
        elif place.before is not None and place.before.places(word)[1]:
            got += weight * _FAR
    for each in said.facts:
        if each is fact:
            continue
        weight = _FACT * max(0.15, _NEARBY ** abs(each.place - fact.place))
        total += weight
        same = tuple(that.place for that in there.facts if that is not other and each.agrees(that))
        if same:
            got += weight * _nearness(other.place, same, before=each.place < fact.place)
    mine, theirs = fact.value, other.value
    if mine and theirs and mine.noun and theirs.noun and mine.noun not in STOPWORDS:
        total += _NOUN
        got += _NOUN * (mine.noun == theirs.noun)
    return got / total if total else 1.0


def _nearness(place: int, others: Sequence[int], *, before: bool) -> float:
    return max(
        max(_FAR, _FADES ** (abs(other - place) - 1)) * (1.0 if (other < place) is before else _OTHER_SIDE)
        for other in others
    )


def _owner(fact: Fact, said: Statement, fitting: Match, beside: Sequence[Fact]) -> Match | None:
    """The value beside `fitting` in its statement whose own words the sentence says, where it does not say those of `fitting`."""
    there = fitting.place.statement
    group = sorted((fitting.fact, *beside), key=lambda each: each.place)
    owned = _owned(there, group)
    mine = _meant(fact, said)
    scores = [_said_share(own, mine) for own in owned]
    this = scores[group.index(fitting.fact)]
    if (
        this is None
    ):  # "from Norrhaven at 06:40 and 15:10, and from the island at 08:20": what leads to another value counts alone
        scores = [score if part.leads else None for score, part in zip(scores, owned, strict=True)]
    best = max((score for score in scores if score is not None), default=None)
    # All that belongs to another alone is said, or much more of it.
    if best is None or not (best == 1 if this is None else best >= this + _OWNED or this < best == 1):
        return None
    other = group[scores.index(best)]
    return Match(fitting.place, other, fitting.fit, clear=this is not None and best - this >= 2 * _OWNED)


@dataclass(frozen=True, slots=True)
class _Part:
    """Words and values that belong to one value of a statement."""

    words: frozenset[str]
    facts: tuple[Fact, ...]
    leads: bool = False  # whether some of it stands before the value


def _owned(statement: Statement, group: Sequence[Fact]) -> list[_Part]:
    """For each of several values of one kind, in order, what belongs to it alone: nothing where it cannot be told."""
    ends: list[int] = []
    for one, other in pairwise(group):
        between = [at for at in statement.breaks if one.place <= at < other.place]
        if not between:
            return [_Part(frozenset(), ())] * len(group)
        ends.append(max(between))
    # "Adults take 500 mg, children 250 mg": what stands before the first belongs to it, as it does for the second. In "6 % in
    # the north and 2 % in the south" it belongs to both.
    others = [at for places in statement.words.values() for at in places]
    others += [fact.place for fact in statement.facts if fact not in group]
    leads = any(ends[0] < at < group[1].place for at in others)
    starts = [0 if leads else group[0].place, *(end + 1 for end in ends)]
    parts = [_part(statement, first, last, group) for first, last in zip(starts, [*ends, 10**6], strict=True)]
    alone = [_alone(part, [each for each in parts if each is not part]) for part in parts]
    return [
        replace(part, leads=any(first <= at < value.place for at in others))
        for part, first, value in zip(alone, starts, group, strict=True)
    ]


def _part(statement: Statement, first: int, last: int, group: Sequence[Fact]) -> _Part:
    words = frozenset(word for word, places in statement.words.items() if any(first <= at <= last for at in places))
    return _Part(words, tuple(fact for fact in statement.facts if first <= fact.place <= last and fact not in group))


def _alone(part: _Part, others: Sequence[_Part]) -> _Part:
    words = part.words.difference(*(other.words for other in others))
    shared = [fact for other in others for fact in other.facts]
    return _Part(words, tuple(fact for fact in part.facts if not any(fact.agrees(other) for other in shared)))


def _meant(fact: Fact, said: Statement) -> tuple[Statement, _Part]:
    """The sentence, and what of it belongs to another of its values alone."""
    group = sorted((fact, *(other for other in said.facts if fact.rivals(other))), key=lambda each: each.place)
    if len(group) == 1:
        return said, _Part(frozenset(), ())
    owned = [part for each, part in zip(group, _owned(said, group), strict=True) if each is not fact]
    words = frozenset().union(*(part.words for part in owned))
    return said, _Part(words, tuple(each for part in owned for each in part.facts))


def _said_share(own: _Part, meant: tuple[Statement, _Part]) -> float | None:
    """How much of what belongs to a value alone the sentence says of its own value; None where nothing does."""
    said, elsewhere = meant
    count = len(own.words) + len(own.facts)
    if not count:
        return None
    words = sum(bool(said.places(word)[1]) and word not in elsewhere.words for word in own.words)
    facts = sum(any(fact.agrees(other) for other in said.facts if other not in elsewhere.facts) for fact in own.facts)
    return (words + facts) / count
