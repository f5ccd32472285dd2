"""A text as the checker reads it: sentence by sentence, its words with their places, its values and names, its claim. Pure.

A place counts content words, and a comma or bracket as one more: it says how near two words stand in what they say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rag.domain.claims import Claim, claim
from rag.domain.proper_names import Name, names
from rag.domain.quantities import Kind, Quantity, quantities
from rag.domain.sentences import sentences
from rag.domain.units import CURRENCIES
from rag.domain.words import STOPWORDS, stem

_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[,;:()–—|\n]")
_PAUSES = frozenset(",;:()–—|\n")
_JOINS = frozenset(
    ["and", "or", "but", "while", "whereas", "against", "versus", "und", "oder", "aber", "gegen", "sowie", "während"]
)
_KEPT = frozenset(
    {"before", "after", "vor", "nach", "once", "only", "nur"}
)  # stop words of a question that say much in a statement
_SKIPPED = (STOPWORDS | {"one", "ones"}) - _KEPT
_PREFIX = 5


@dataclass(frozen=True, slots=True)
class Fact:
    """A value or a name at code points [start, end) of its text, and its place."""

    text: str
    start: int
    end: int
    place: int
    value: Quantity | None = None
    name: Name | None = None

    @property
    def strict(self) -> bool:
        """Whether a sentence that has it where its source has not is wrong, and not merely free."""
        if self.name is not None:
            return self.name.sure
        value = self.value
        if value is None:
            return False
        if value.kind in (Kind.FREQUENCY, Kind.ORDINAL):
            return False
        if value.kind is Kind.IDENTIFIER:  # a file or case number; "NLRP3" has a second name somewhere
            return sum(map(str.isdigit, self.text)) >= 3 or " " in self.text
        counted = value.kind is Kind.NUMBER and not value.unit and self.text.isalpha()
        return not counted  # "three conditions": a writer may count

    def agrees(self, other: "Fact") -> bool:
        """Whether the two say the same."""
        if self.value is not None and other.value is not None:
            return self.value.agrees(other.value) and not _counts_otherwise(self.value, other.value)
        if self.name is not None and other.name is not None:
            mine, theirs = set(self.name.words), set(other.name.words)
            return mine <= theirs or theirs <= mine
        return False

    def nearly(self, other: "Fact") -> bool:
        """The same number of days and of working days: told, since it may matter, and no contradiction, since people speak so."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None:
            return False
        return {mine.unit, theirs.unit} == {"day", "working day"} and bool(mine.readings & theirs.readings)

    def rivals(self, other: "Fact") -> bool:
        """Whether the other could stand in its place and says something else."""
        if self.agrees(other) or self.nearly(other):
            return False
        mine, theirs = self.value, other.value
        if mine is not None and theirs is not None:
            if mine.same_kind(theirs):
                return True
            if mine.kind is theirs.kind is Kind.NUMBER:
                return _same_count(mine, theirs)
            if mine.kind is theirs.kind is Kind.IDENTIFIER:
                return _series(mine.text) == _series(theirs.text)
            return False
        return bool(self.name and other.name and self.name.sure and other.name.sure)


def _counts_otherwise(mine: Quantity, theirs: Quantity) -> bool:
    """30 days are not found in "30 patients", nor "§ 5" in "5 days"."""
    if mine.kind is not Kind.NUMBER or theirs.kind is not Kind.NUMBER:
        return False
    bare, other = (mine, theirs) if not mine.unit else (theirs, mine)
    return not bare.unit and bool(other.unit) and other.unit not in CURRENCIES and bool(_counted(bare))


def _counted(value: Quantity) -> str:
    """What a bare number counts: the word behind it, where that is no little word."""
    return "" if value.noun in STOPWORDS or len(value.noun) < 2 else stem(value.noun)


def _same_count(mine: Quantity, theirs: Quantity) -> bool:
    if _is_year(mine) is not _is_year(theirs):
        return False
    if mine.unit and not theirs.unit:
        return not theirs.noun  # "the small press holds 60 litres, the large one 240."
    if mine.unit or theirs.unit:
        return False
    one, other = _counted(mine), _counted(theirs)
    return not one or not other or one == other


def _is_year(value: Quantity) -> bool:
    return re.fullmatch(r"(?:1[6-9]|20)\d\d", value.text) is not None


def _series(text: str) -> str:
    """What identifiers of one series have in common: "KV-2024/17" and "KV-2024/18", "building B" and "building C"."""
    return re.sub(r"\d+|(?<=\s)\w\Z", "0", text.casefold())


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence, heading, list item or row at code points [start, end): `words` are the stems of its content words with
    their places, in order."""

    start: int
    end: int
    text: str
    words: Mapping[str, tuple[int, ...]]
    prefixes: Mapping[str, tuple[str, ...]]
    facts: tuple[Fact, ...]
    breaks: tuple[int, ...]  # the places behind which a comma or an "and" stands
    claim: Claim

    def places(self, word: str) -> tuple[tuple[int, ...], float]:
        """Where `word`, or one that begins like it, stands, and how much of it that is: 1 for the word itself."""
        there = self.words.get(word)
        if there is not None:
            return there, 1.0
        for form in (f"{word}s", word.removesuffix("s")):
            if form in self.words:
                return self.words[form], 1.0
        if len(word) > _PREFIX:
            for other in self.prefixes.get(word[:_PREFIX], ()):
                least = max(_PREFIX, min(len(word), len(other)) - 2)
                if word[:least] == other[:least]:
                    return self.words[other], 0.8
        return (), 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A passage, read once."""

    flat: str
    statements: tuple[Statement, ...]
    words: frozenset[str]


@lru_cache(maxsize=512)
def read(passage: str) -> Reading:
    """What the checker knows of a passage."""
    found = tuple(statement(passage, start, end) for start, end in sentences(passage))
    return Reading(folded(passage), found, frozenset().union(*(each.words for each in found)))


def statement(text: str, start: int = 0, end: int | None = None) -> Statement:
    """The sentence at [start, end) of `text`; its facts' offsets count from the beginning of `text`."""
    end = len(text) if end is None else end
    own = text[start:end]
    values = quantities(own)
    taken = sorted(
        [(value.start, value.end, value, None) for value in values] + _named(own, values), key=lambda each: each[0]
    )
    words: dict[str, list[int]] = {}
    facts: list[Fact] = []
    breaks: list[int] = []
    place = 0
    waiting = iter(taken)
    upcoming = next(waiting, None)
    covered = 0
    for match in _TOKEN.finditer(own):
        while upcoming is not None and match.start() >= upcoming[0]:
            begin, stop, value, name = upcoming
            place += 1
            facts.append(Fact(own[begin:stop].strip(), start + begin, start + stop, place, value, name))
            covered = max(covered, stop) if value is not None and value.kind is not Kind.IDENTIFIER else covered
            upcoming = next(waiting, None)
        if match.start() < covered:
            continue
        token = match.group()
        if token in _PAUSES or token.casefold() in _JOINS:
            breaks.append(place)
            place += 2 if token in _PAUSES else 0
        elif token.casefold() not in _SKIPPED:
            place += 1
            words.setdefault(stem(token), []).append(place)
    while upcoming is not None:  # a value of signs alone at the very end
        begin, stop, value, name = upcoming
        place += 1
        facts.append(Fact(own[begin:stop].strip(), start + begin, start + stop, place, value, name))
        upcoming = next(waiting, None)
    prefixes: dict[str, list[str]] = {}
    for word in words:
        if len(word) >= _PREFIX:
            prefixes.setdefault(word[:_PREFIX], []).append(word)
    return Statement(
        start,
        end,
        own,
        {word: tuple(places) for word, places in words.items()},
        {prefix: tuple(others) for prefix, others in prefixes.items()},
        tuple(facts),
        tuple(breaks),
        claim(own),
    )


def _named(text: str, values: list[Quantity]) -> list[tuple[int, int, Quantity | None, Name | None]]:
    return [
        (name.start, name.end, None, name)
        for name in names(text)
        if not any(value.start < name.end and name.start < value.end for value in values)
    ]


_FLAT = re.compile(r"\w+|[%€$£§]")


def folded(text: str) -> str:
    """The text folded to words with single blanks and no punctuation."""
    return " ".join(word.casefold() for word in _FLAT.findall(text))


def flat(text: str) -> tuple[str, list[int]]:
    """The text as `folded`, and where each of its code points came from."""
    letters: list[str] = []
    places: list[int] = []
    for match in _FLAT.finditer(text):
        if letters:
            letters.append(" ")
            places.append(match.start())
        for offset, letter in enumerate(match.group()):
            low = letter.casefold()
            letters.append(low)
            places.extend([match.start() + offset] * len(low))
    return "".join(letters), places
