"""Does the cited passage carry the sentence? Compared by rule, without a model, in under five milliseconds. Pure.

Why these verdicts: a changed number, date or quotation is a fact that can be shown to be missing, so it is said aloud;
a paraphrase cannot be judged by rule, so low overlap only whispers (`PARTLY`). False alarms would teach readers to look
away.

| the sentence | verdict |
|---|---|
| stands in a passage word for word | supported |
| gives a value or name where the same words of a passage give another | contradicted |
| says "not", "may", "at most" where the same words of a passage say the opposite | contradicted |
| has a number, date, amount, identifier, name or quotation that no cited passage has | unsupported |
| has a value that the passage has in another connection | partly |
| shares most of its content words with the passages | supported |
| shares some | partly |
| shares almost none | unsupported |

A value counts as standing in a passage where the words around it stand around it there too: see binding.py.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rag.domain import binding, claims
from rag.domain.binding import Place
from rag.domain.quantities import Bound, Kind
from rag.domain.reading import Fact, Reading, Statement, flat, folded, read, statement
from rag.domain.words import stem

_CARRIED = 0.55  # share of content words from which a sentence counts as carried
_PARTLY = 0.2
_SAME_CLAIM = 0.55  # share of the other content words from which a differing value is a contradiction, not another fact
_RESTATED = 0.75  # share of words from which a sentence says what a statement says
_LOOSE = 0.12  # how well the words must fit a value that stands in the passage
_QUOTED = re.compile(r'"([^"]{3,400})"|“([^”"]{3,400})[”"]|„([^“”"]{3,400})[“”"]|«([^»]{3,400})»|»([^«]{3,400})«')
_COMMON = frozenset(
    [
        "use",
        "make",
        "give",
        "take",
        "need",
        "keep",
        "go",
        "come",
        "day",
        "year",
        "time",
        "person",
        "people",
        "thing",
        "way",
        "part",
        "work",
        "say",
        "state",
        "mean",
        "include",
        "provide",
        "follow",
        "accord",
        "case",
        "number",
        "amount",
        "new",
        "good",
        "well",
        "certain",
        "general",
        "respect",
        "relat",
        "refer",
        "apply",
    ]
)


class Verdict(StrEnum):
    SUPPORTED = "supported"
    PARTLY = "partly"
    UNSUPPORTED = "unsupported"
    CONTRADICTED = "contradicted"
    UNCHECKED = "unchecked"  # says nothing that could be true or false: "According to the documents:"


class Doubt(StrEnum):
    """Why a sentence is not supported."""

    NONE = ""
    NO_SOURCE = "no source"
    VALUE = "value"
    NAME = "name"
    QUOTATION = "quotation"
    DENIAL = "denial"
    MODE = "mode"
    CONDITION = "condition"
    WORDS = "words"  # too few of its words stand there: the one kind that a model may settle


@dataclass(frozen=True, slots=True)
class Support:
    """What the comparison found.

    `reason` is a sentence for the reader, empty when supported. `passage` is the index of the passage that speaks most
    to the sentence and `start`, `end` the code points of its best stretch; None and zeros when there is none. `missing`
    are the stretches of the sentence that stand in no passage, or not so.
    """

    verdict: Verdict
    reason: str = ""
    passage: int | None = None
    start: int = 0
    end: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    doubt: Doubt = Doubt.NONE

    @property
    def alarm(self) -> bool:
        """Whether the page says it aloud."""
        return self.verdict in (Verdict.UNSUPPORTED, Verdict.CONTRADICTED)


_LOUDNESS = {Verdict.CONTRADICTED: 0, Verdict.UNSUPPORTED: 1, Verdict.PARTLY: 2}


@dataclass(frozen=True, slots=True)
class _Trouble:
    verdict: Verdict
    doubt: Doubt
    reason: str
    place: Place | None = None
    span: tuple[int, int] | None = None


def check(sentence: str, passages: Sequence[str], *, known: str = "") -> Support:
    """How far the cited `passages` carry `sentence`. What stands in `known`, as titles and headings do, may be named too."""
    if not passages:
        if not _says_something(sentence):
            return Support(Verdict.UNCHECKED)
        return Support(Verdict.UNSUPPORTED, "This sentence cites no source.", doubt=Doubt.NO_SOURCE)
    readings = [read(passage) for passage in passages]
    said = statement(sentence)
    verbatim = _verbatim(sentence, said, passages, readings)
    if verbatim:
        return verbatim
    weights = _weights(said, readings)
    places = list(_places(said, weights, readings))
    best = max(places, key=lambda place: place.share, default=None)
    background = read(known) if known else None
    troubles = [
        *_wrong_facts(said, weights, places, background),
        *_wrong_quotations(sentence, readings),
        *_wrong_claims(said, weights, places),
    ]
    if not troubles:
        return _by_words(sentence, said, weights, places, best)
    worst = min(troubles, key=lambda trouble: _LOUDNESS[trouble.verdict])
    at = worst.place or best
    missing = tuple(sorted({trouble.span for trouble in troubles if trouble.span}))
    if worst.verdict is Verdict.PARTLY and worst.doubt is not Doubt.VALUE:
        plain = _by_words(sentence, said, weights, places, best)
        if plain.verdict is Verdict.UNSUPPORTED:
            return plain
    return Support(worst.verdict, worst.reason, *_span(at), missing, worst.doubt)


def _says_something(sentence: str) -> bool:
    """Whether it can be true or false: a heading or "According to the documents:" cannot."""
    bare = sentence.strip().rstrip("*_ ")
    if bare.endswith(":") or bare.startswith("#"):
        return any(character.isdigit() for character in bare.lstrip("#0123456789. "))
    return any(character.isalpha() for character in bare)


def _span(place: Place | None) -> tuple[int | None, int, int]:
    return (place.passage, place.statement.start, place.statement.end) if place else (None, 0, 0)


# --- Words


def _weights(said: Statement, readings: Sequence[Reading]) -> dict[str, float]:
    """What each word of the sentence counts: a name double, a rare word among the statements more, a common word less."""
    statements = [each for reading in readings for each in reading.statements]
    named = {word for fact in said.facts if fact.name for word in map(stem, fact.name.words)}
    weights = {}
    for word in said.words:
        common = sum(word in each.words for each in statements) / (len(statements) + 1)
        weight = 0.5 if word in _COMMON else 1.0 - 0.5 * common
        weights[word] = weight * (1.6 if word in named else 1.0)
    return weights


def _share(weights: dict[str, float], statements: Iterable[Statement]) -> float:
    """The share of the words, by weight, that stand in the statements."""
    there = list(statements)
    total = sum(weights.values())
    found = sum(weight * max((each.places(word)[1] for each in there), default=0.0) for word, weight in weights.items())
    return found / total if total else 0.0


def _places(said: Statement, weights: dict[str, float], readings: Sequence[Reading]) -> Iterator[Place]:
    for index, reading in enumerate(readings):
        before: Statement | None = None
        for each in reading.statements:
            share = _share(weights, (each,)) if weights else 0.0
            agreeing = sum(any(fact.agrees(other) for other in each.facts) for fact in said.facts)
            if said.facts:
                share = 0.8 * share + 0.2 * agreeing / len(said.facts)
            yield Place(index, each, before, share)
            before = each


def _by_words(
    sentence: str, said: Statement, weights: dict[str, float], places: Sequence[Place], best: Place | None
) -> Support:
    """The verdict where nothing speaks against the sentence: by how much of it stands there."""
    values = [fact for fact in said.facts if fact.value is not None]
    if not weights and values:
        return Support(Verdict.SUPPORTED, "", *_span(best))
    if not weights:
        if not _says_something(sentence):
            return Support(Verdict.UNCHECKED)
        return Support(
            Verdict.PARTLY, "There is too little in this sentence to compare.", *_span(best), doubt=Doubt.WORDS
        )
    covered = _share(weights, (place.statement for place in places))
    if covered >= _CARRIED:
        return Support(Verdict.SUPPORTED, "", *_span(best))
    if covered >= _PARTLY or values:
        reason = "Only part of this sentence was found in the cited passage."
        return Support(Verdict.PARTLY, reason, *_span(best), doubt=Doubt.WORDS)
    reason = "The cited passage does not seem to speak of this."
    return Support(Verdict.UNSUPPORTED, reason, *_span(best), doubt=Doubt.WORDS)


def _verbatim(sentence: str, said: Statement, passages: Sequence[str], readings: Sequence[Reading]) -> Support | None:
    words = folded(sentence)
    if len(words) < 3:
        return None
    for index, passage in enumerate(passages):
        if f" {words} " not in f" {readings[index].flat} ":
            continue
        whole, origins = flat(passage)
        at = f" {whole} ".index(f" {words} ")
        start, end = origins[at], origins[at + len(words) - 1] + 1
        touched = [each for each in readings[index].statements if each.start < end and start < each.end]
        same = all(any(_same(fact, other) for each in touched for other in each.facts) for fact in said.facts)
        denied = sum(len(each.claim.denials) for each in touched)
        if same and denied == len(said.claim.denials):
            return Support(Verdict.SUPPORTED, "", index, start, end)
    return None


def _same(fact: Fact, other: Fact) -> bool:
    return fact.agrees(other) or fact.text.casefold() == other.text.casefold()


# --- Values and names


def _wrong_facts(
    said: Statement, weights: dict[str, float], places: Sequence[Place], background: Reading | None
) -> Iterator[_Trouble]:
    for fact in said.facts:
        trouble = (
            _wrong_name(fact, said, weights, places, background)
            if fact.name
            else _wrong_value(fact, said, weights, places, background)
        )
        if trouble is not None:
            yield trouble


def _wrong_value(
    fact: Fact, said: Statement, weights: dict[str, float], places: Sequence[Place], background: Reading | None
) -> _Trouble | None:
    span = (fact.start, fact.end)
    fitting, rival = binding.search(fact, said, weights, places)
    if fitting is None:
        return _absent(fact, said, places, background, rival)
    if rival is not None:
        others = [each for each in said.facts if each is not fact and each.value is not None]
        all_there = all(any(each.agrees(there) for there in rival.place.statement.facts) for each in others)
        loud = fact.strict and all_there and rival.clear and rival.place.share >= _SAME_CLAIM
        reason = f"The cited passage says {rival.fact.text}."
        return _Trouble(Verdict.CONTRADICTED if loud else Verdict.PARTLY, Doubt.VALUE, reason, rival.place, span)
    if fitting.fit < _LOOSE and weights:
        reason = f"“{fact.text}” stands in the cited passage, but in another connection."
        return _Trouble(Verdict.PARTLY, Doubt.VALUE, reason, fitting.place, span)
    mine, theirs = fact.value, fitting.fact.value
    if mine and theirs and mine.bound is not theirs.bound:
        loud = bool(mine.bound and theirs.bound) and fitting.place.share >= _SAME_CLAIM
        if loud or (mine.bound and theirs.bound) or Bound.FROM in (mine.bound, theirs.bound):
            reason = f"The cited passage says “{_with_bound(fitting.fact, fitting.place)}”."
            return _Trouble(Verdict.CONTRADICTED if loud else Verdict.PARTLY, Doubt.VALUE, reason, fitting.place, span)
    return None


def _absent(
    fact: Fact, said: Statement, places: Sequence[Place], background: Reading | None, rival: binding.Match | None
) -> _Trouble | None:
    """What to say of a value that no passage gives."""
    span = (fact.start, fact.end)
    near = next((other for place in places for other in place.statement.facts if fact.nearly(other)), None)
    if near is not None:
        return _Trouble(Verdict.PARTLY, Doubt.VALUE, f"The cited passage says {near.text}.", None, span)
    if background and _in_background(fact, background):
        return None
    told = rival is not None and any(rival.fact.agrees(mine) for mine in said.facts)  # it says something else there
    if rival is not None and not told and rival.place.share >= _SAME_CLAIM * 0.8:
        reason = f"The cited passage says {rival.fact.text}."
        return _Trouble(Verdict.CONTRADICTED, Doubt.VALUE, reason, rival.place, span)
    reason = f"“{fact.text}” does not stand in the cited passage."
    return _Trouble(Verdict.UNSUPPORTED if fact.strict else Verdict.PARTLY, Doubt.VALUE, reason, None, span)


def _with_bound(fact: Fact, place: Place) -> str:
    """The value with the words before it that say "at least"."""
    before = place.statement.text[: fact.start - place.statement.start].split()[-3:]
    return " ".join([*before, fact.text])


def _in_background(fact: Fact, background: Reading) -> bool:
    """A date, identifier or section that the document's title or headings give."""
    if fact.value is None or (fact.value.kind is Kind.NUMBER and fact.value.unit != "§"):
        return False
    return any(fact.agrees(other) for each in background.statements for other in each.facts)


def _wrong_name(
    fact: Fact, said: Statement, weights: dict[str, float], places: Sequence[Place], background: Reading | None
) -> _Trouble | None:
    name = fact.name
    if name is None:
        return None
    stems = [stem(word) for word in name.words]
    absent = [
        word
        for word in stems
        if not any(place.statement.places(word)[1] for place in places)
        and not (background and any(each.places(word)[1] for each in background.statements))
    ]
    if not absent:
        return None
    span = (fact.start, fact.end)
    rest = {word: weight for word, weight in weights.items() if word not in stems}
    rivals = [
        (place, other)
        for place in places
        if rest and _share(rest, (place.statement,)) >= _SAME_CLAIM
        for other in place.statement.facts
        if fact.rivals(other) and not any(other.agrees(mine) for mine in said.facts)
    ]
    if name.sure and len({other.text for _, other in rivals}) == 1:
        place, other = rivals[0]
        return _Trouble(Verdict.CONTRADICTED, Doubt.NAME, f"The cited passage says {other.text}.", place, span)
    reason = f"“{fact.text}” does not stand in the cited passage."
    return _Trouble(Verdict.UNSUPPORTED if name.sure else Verdict.PARTLY, Doubt.NAME, reason, None, span)


# --- Quotations


def _wrong_quotations(sentence: str, readings: Sequence[Reading]) -> Iterator[_Trouble]:
    for match in _QUOTED.finditer(sentence):
        words = folded(match.group(match.lastindex or 0))
        # One quoted word is emphasis as often as a quotation.
        if " " in words and not any(words in reading.flat for reading in readings):
            reason = "The quoted words do not stand in the cited passage."
            yield _Trouble(Verdict.UNSUPPORTED, Doubt.QUOTATION, reason, None, match.span())


# --- Not, must, may, before, after


def _wrong_claims(said: Statement, weights: dict[str, float], places: Sequence[Place]) -> Iterator[_Trouble]:
    """What the statements that the sentence restates deny, require or allow otherwise; nothing where one of them agrees."""
    shares = [(place, *_restates(said, weights, place)) for place in places]
    most = max((forward for _, forward, _ in shares), default=0.0)
    nearest = [(place, forward) for place, forward, _ in shares if forward >= max(_CARRIED, most - 0.1)]
    found = [list(_against(said, place, how)) for place, how in nearest]
    if found and all(found):
        yield found[0][0]
        return
    # A sentence that joins two statements is near to neither, and still says each.
    said_too = [
        (place, back)
        for place, forward, back in shares
        if back >= _RESTATED and place not in [each for each, _ in nearest]
    ]
    for place, how in said_too:
        yield from list(_against(said, place, how, joined=True))[:1]


def _restates(said: Statement, weights: dict[str, float], place: Place) -> tuple[float, float]:
    """How much of the sentence the statement says, and how much of the statement, where it is no stump, the sentence says."""
    forward = _share(weights, (place.statement,))
    theirs = place.statement.words
    if len(theirs) < 4 or forward < 0.3:
        return forward, 0.0
    return forward, sum(bool(said.places(word)[1]) for word in theirs) / len(theirs)


def _against(said: Statement, place: Place, how: float, *, joined: bool = False) -> Iterator[_Trouble]:
    mine, theirs = said.claim, place.statement.claim
    loud = Verdict.CONTRADICTED if how >= _RESTATED else Verdict.PARTLY
    quoted = f"The cited passage says “{_short(place.statement.text)}”."
    if claims.denies_otherwise(mine, theirs):
        yield _Trouble(loud, Doubt.DENIAL, quoted, place)
    elif modes := claims.required_otherwise(mine, theirs):
        yield _Trouble(loud, Doubt.MODE, f"The cited passage says “{modes[1]}”, not “{modes[0]}”.", place)
    elif claims.bounded_otherwise(mine, theirs) or claims.opposite(mine, theirs):
        yield _Trouble(loud, Doubt.DENIAL, quoted, place)
    elif joined or how < _RESTATED:
        return
    elif claims.softened(mine, theirs):
        reason = "What is certain in one of the two is only possible in the other: read the cited passage."
        yield _Trouble(Verdict.PARTLY, Doubt.MODE, reason, place)
    elif mine.only is not theirs.only:
        yield _Trouble(Verdict.PARTLY, Doubt.CONDITION, "One of the two says “only”: read the cited passage.", place)
    elif theirs.conditional and not mine.conditional:
        reason = "The cited passage makes a condition or an exception that is not in this sentence."
        yield _Trouble(Verdict.PARTLY, Doubt.CONDITION, reason, place)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 160 else words[:160].rsplit(" ", 1)[0] + " …"
