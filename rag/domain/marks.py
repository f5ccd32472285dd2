"""Dates, years and versions in questions and names, as words that compare; and whether a question asks for what was. Pure.

"3 March 2024", "03.03.2024" and "2024-03-03" are the same three words: the year, its month, its day. "v3", "Version 3.0" and
"Fassung 3" are one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.domain.lookalikes import MONTHS
from rag.domain.words import content_stems, word_set

_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_YEAR = r"(?:19|20)\d\d"
_MARK = re.compile(
    rf"(?<![^\W_])(?<!\.)(?P<y1>{_YEAR})[-/.](?P<m1>0?[1-9]|1[0-2])(?:[-/.](?P<d1>0?[1-9]|[12]\d|3[01]))?(?![^\W_])"
    rf"|(?<![^\W_])(?<!\.)(?P<d2>0?[1-9]|[12]\d|3[01])\.\s?(?P<m2>0?[1-9]|1[0-2])\.\s?(?P<y2>{_YEAR})(?![^\W_])"
    rf"|\b(?:(?P<d3>[1-9]|[12]\d|3[01])(?:st|nd|rd|th|\.)?\s+(?:day\s+of\s+|of\s+)?)?(?P<n3>{_MONTH})\.?,?\s+(?:of\s+)?(?P<y3>{_YEAR})(?!\w)"
    rf"|\b(?P<n4>{_MONTH})\.?\s+(?P<d4>[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?,?\s+(?P<y4>{_YEAR})(?!\w)"
    rf"|(?<![^\W_])(?<![.,])(?P<y5>{_YEAR})(?![^\W_]|[.,]\d)"
    r"|(?<![^\W_])(?:version|fassung|revision|edition|ausgabe|ver|rev|v)\.?[\s_-]*(?P<v>\d{1,3}(?:[._]\d{1,3}){0,2}|[a-h])(?![^\W_])",
    re.IGNORECASE,
)

_KINDS = (
    r"(?:version|edition|revision|policy|policies|guideline|guide|contract|agreement|rule|regulation|document|form|handbook|manual"
    r"|procedure|terms|text|wording|draft|plan|standard|statute|instruction|template|law|act|list)s?"
)
_PAST = re.compile(
    r"\b(?:superseded|obsolete|outdated|repealed|no longer (?:in force|valid|in effect)|used to be|in those days|back then)\b"
    r"|\b(?:former|previous|prior|earlier|(?<!how )old(?:er)?|original|historic(?:al)?|past|archived|expired|replaced)"
    rf"\s+(?:\w+\s+){{0,2}}{_KINDS}\b"
    r"|\b(?:überholt|aufgehoben|außer kraft|veraltet|abgelöst|damals|ehemals|nicht mehr (?:gültig|in kraft))\w*"
    r"|\b(?:frühere|vorherige|vorige|alte|bisherige|ursprüngliche|ehemalige|ersetzte)[nrms]?\s+(?:\w+\s+){0,1}[A-ZÄÖÜ]\w+",
    re.IGNORECASE,
)
_VERSIONS = word_set("version edition revision fassung ausgabe stand")


@dataclass(frozen=True, slots=True)
class Mark:
    """A date, year or version at [start, end) of a text, as words that compare with those of other marks."""

    start: int
    end: int
    words: tuple[str, ...]


def marks(text: str) -> Iterator[Mark]:
    """The dates, years and versions of a text, in order."""
    for match in _MARK.finditer(text):
        yield Mark(match.start(), match.end(), _words(match))


def _words(match: re.Match[str]) -> tuple[str, ...]:
    found = match.groupdict()
    if version := found["v"]:
        parts = re.split(r"[._]", version.casefold())
        while len(parts) > 1 and parts[-1] == "0":
            parts.pop()
        return ("v" + ".".join(parts),)
    year = next(found[name] for name in ("y1", "y2", "y3", "y4", "y5") if found[name])
    named = found["n3"] or found["n4"]
    month = MONTHS[named.casefold()] if named else int(found["m1"] or found["m2"] or 0)
    day = int(found["d1"] or found["d2"] or found["d3"] or found["d4"] or 0)
    words = [year]
    if month:
        words.append(f"{year}-{month:02}")
    if month and day:
        words.append(f"{year}-{month:02}-{day:02}")
    return tuple(words)


def is_mark(word: str) -> bool:
    """Whether a word is one of those that a mark has, or any other number."""
    return word[:1].isdigit() or bool(re.fullmatch(r"v(?:\d[\d.]*|[a-h])", word))


def asks_for_the_past(question: str) -> bool:
    """Whether the question asks for what is no longer in force, without saying which one: "the previous version"."""
    return bool(_PAST.search(question))


def asks_for(question: str, older: str, newer: str) -> bool:
    """Whether the question asks for the document called `older` although `newer` has its place: it says a date, year or version
    that the older one's name has and the newer one's has not, and a word of the older one's name, or that it means a version."""
    said = _all(question) & _all(older)
    if not said or said <= _all(newer) or _all(question) & (_all(newer) - _all(older)):
        return False
    words = set(content_stems(question))
    return bool(words & {word for word in content_stems(older) if not is_mark(word)} or words & _VERSION_STEMS)


def _all(text: str) -> set[str]:
    return {word for mark in marks(text) for word in mark.words}


_VERSION_STEMS = frozenset(stem for word in _VERSIONS for stem in content_stems(word))
