"""Does the cited passage carry the sentence? Compared by rule, without a model, in under five milliseconds. Pure.

Why these verdicts: a changed number, date or quotation is a fact that can be shown to be missing, so it is said aloud;
a paraphrase cannot be judged by rule, so low overlap only whispers (`PARTLY`). False alarms would teach readers to look
away.

| the sentence | verdict |
|---|---|
| stands in a passage word for word | supported |
| names a value where the same words of a passage name another | contradicted |
| has a number, date, amount, percentage, identifier or quotation that no cited passage has | unsupported |
| shares most of its content words with the passages | supported |
| shares some, or says "not" where the passage does not | partly |
| shares almost none | unsupported |
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from rag.domain.quantities import Kind, Quantity, quantities
from rag.domain.sentences import sentences
from rag.domain.words import STOPWORDS, WORD, stem, word_set

_CARRIED = 0.6  # share of content words from which a sentence counts as carried
_PARTLY = 0.2
_SAME_CLAIM = 0.6  # share of the other content words from which a differing value is a contradiction, not another fact
_QUOTED = re.compile(r'"([^"]{3,400})"|“([^”"]{3,400})[”"]|„([^“”"]{3,400})[“”"]|«([^»]{3,400})»|»([^«]{3,400})«')
_NEGATIONS = word_set(
    "not no never none neither nor without cannot can't don't doesn't isn't aren't won't mustn't wasn't weren't didn't "
    "hasn't haven't shouldn't couldn't wouldn't nicht kein keine keinen keiner keinem keines nie niemals ohne weder"
)


class Verdict(StrEnum):
    SUPPORTED = "supported"
    PARTLY = "partly"
    UNSUPPORTED = "unsupported"
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, slots=True)
class Support:
    """What the comparison found.

    `reason` is a sentence for the reader, empty when supported. `passage` is the index of the passage that speaks most
    to the sentence and `start`, `end` the code points of its best stretch; None and zeros when there is none. `missing`
    are the stretches of the sentence that stand in no passage.
    """

    verdict: Verdict
    reason: str = ""
    passage: int | None = None
    start: int = 0
    end: int = 0
    missing: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Stretch:
    start: int
    end: int
    stems: frozenset[str]
    negative: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """A passage, read once."""

    flat: str
    stretches: tuple[_Stretch, ...]
    stems: frozenset[str]
    quantities: tuple[Quantity, ...]


def check(sentence: str, passages: Sequence[str]) -> Support:
    """How far the cited `passages` carry `sentence`."""
    if not passages:
        return Support(Verdict.UNSUPPORTED, "This sentence cites no source.")
    read = [_read(passage) for passage in passages]
    verbatim = _verbatim(sentence, passages, read)
    if verbatim:
        return verbatim
    wanted = _weights(sentence)
    index, stretch, best = _best(wanted, read)
    place = (index, stretch.start, stretch.end) if stretch else (None, 0, 0)

    missing = [q for q in quantities(sentence) if not any(q.stands_in(r.quantities) for r in read)]
    if missing:
        spans = tuple((q.start, q.end) for q in missing)
        other = _contradicting(missing[0], sentence, read[index], stretch) if stretch and index is not None else None
        if other:
            return Support(Verdict.CONTRADICTED, f"The cited passage says {other.text}.", *place, spans)
        named = ", ".join(f"“{q.text}”" for q in missing[:3])
        verb = "does" if len(missing) == 1 else "do"
        return Support(Verdict.UNSUPPORTED, f"{named} {verb} not stand in the cited passage.", *place, spans)
    absent = [span for span, quoted in _quotations(sentence) if not any(quoted in r.flat for r in read)]
    if absent:
        return Support(
            Verdict.UNSUPPORTED, "The quoted words do not stand in the cited passage.", *place, tuple(absent)
        )
    return _judge(sentence, wanted, read, place, stretch, best)


def _judge(
    sentence: str,
    wanted: dict[str, float],
    read: Sequence[_Read],
    place: tuple[int | None, int, int],
    stretch: _Stretch | None,
    best: float,
) -> Support:
    stated = bool(quantities(sentence))  # and found, or this would not be asked
    if not wanted and stated:
        return Support(Verdict.SUPPORTED, "", *place)
    if not wanted:
        return Support(Verdict.PARTLY, "There is too little in this sentence to compare.", *place)
    everywhere = frozenset().union(*(r.stems for r in read))
    covered = _share(wanted, everywhere)
    if stretch and best >= _CARRIED and _negative(sentence) != stretch.negative:
        return Support(
            Verdict.PARTLY, "One of the two says “not” and the other does not: read the cited passage.", *place
        )
    if covered >= _CARRIED:
        return Support(Verdict.SUPPORTED, "", *place)
    if covered >= _PARTLY or stated:
        return Support(Verdict.PARTLY, "Only part of this sentence was found in the cited passage.", *place)
    return Support(Verdict.UNSUPPORTED, "The cited passage does not seem to speak of this.", *place)


@lru_cache(maxsize=256)
def _read(passage: str) -> _Read:
    stretches = tuple(
        _Stretch(start, end, frozenset(_weights(passage[start:end])), _negative(passage[start:end]))
        for start, end in sentences(passage)
    )
    stems = frozenset().union(*(s.stems for s in stretches))
    return _Read(_flat(passage)[0], stretches, stems, tuple(quantities(passage)))


def _flat(text: str) -> tuple[str, list[int]]:
    """The text folded to words with single blanks and no punctuation, and where each of its code points came from."""
    flat: list[str] = []
    places: list[int] = []
    for match in re.finditer(r"\w+|[%€$£§]", text):
        if flat:
            flat.append(" ")
            places.append(match.start())
        for offset, letter in enumerate(match.group()):
            folded = letter.casefold()
            flat.append(folded)
            places.extend([match.start() + offset] * len(folded))
    return "".join(flat), places


def _verbatim(sentence: str, passages: Sequence[str], read: Sequence[_Read]) -> Support | None:
    flat = _flat(sentence)[0]
    if len(flat) < 3:
        return None
    for index, passage in enumerate(passages):
        if f" {flat} " in f" {read[index].flat} ":
            folded, places = _flat(passage)
            at = f" {folded} ".index(f" {flat} ")
            return Support(Verdict.SUPPORTED, "", index, places[at], places[at + len(flat) - 1] + 1)
    return None


def _quotations(sentence: str) -> list[tuple[tuple[int, int], str]]:
    """Quoted stretches of at least two words, with their span; one quoted word is emphasis as often as a quotation."""
    found = []
    for match in _QUOTED.finditer(sentence):
        flat = _flat(match.group(match.lastindex or 0))[0]
        if " " in flat:
            found.append((match.span(), flat))
    return found


def _weights(sentence: str) -> dict[str, float]:
    """The stems of the content words, values aside (they are compared by themselves); a name counts double."""
    weights: dict[str, float] = {}
    for value in reversed(quantities(sentence)):
        if value.kind is not Kind.IDENTIFIER:
            sentence = sentence[: value.start] + " " * (value.end - value.start) + sentence[value.end :]
    for match in WORD.finditer(sentence):
        word = match.group()
        if word.casefold() in STOPWORDS:
            continue
        name = word[0].isupper() and match.start() > 0 and sentence[match.start() - 2 : match.start() - 1] not in ".!?:"
        weights[stem(word)] = max(weights.get(stem(word), 0.0), 2.0 if name else 1.0)
    return weights


def _share(wanted: dict[str, float], there: frozenset[str]) -> float:
    total = sum(wanted.values())
    return sum(weight for word, weight in wanted.items() if word in there) / total if total else 0.0


def _best(wanted: dict[str, float], read: Sequence[_Read]) -> tuple[int | None, _Stretch | None, float]:
    """Passage, stretch and share of the stretch that shares most with the sentence; the first of equals."""
    best: tuple[int | None, _Stretch | None, float] = (None, None, 0.0)
    for index, passage in enumerate(read):
        for stretch in passage.stretches:
            share = _share(wanted, stretch.stems)
            if share > best[2]:
                best = (index, stretch, share)
    return best


def _negative(text: str) -> bool:
    return sum(word.casefold().replace("’", "'") in _NEGATIONS for word in WORD.findall(text)) % 2 == 1


def _contradicting(missing: Quantity, sentence: str, passage: _Read, stretch: _Stretch) -> Quantity | None:
    """The value that the best stretch gives where the sentence gives another of the same kind.

    Only when the two otherwise say the same, and when the stretch has just one value of that kind that the sentence has
    not: with more it is not known which one was meant.
    """
    rest = _weights(sentence[: missing.start] + " " + sentence[missing.end :])
    if _share(rest, stretch.stems) < _SAME_CLAIM:
        return None
    said = quantities(sentence)
    others = [
        q
        for q in passage.quantities
        if stretch.start <= q.start < stretch.end and q.same_kind(missing) and not q.stands_in(said)
    ]
    return others[0] if len(others) == 1 else None
