"""Numbers in words, English and German: "one hundred and twenty", "einundzwanzig", "two thirds", "third", "dritten". Pure."""

import re
from collections.abc import Iterable
from decimal import Decimal

from rag.domain.words import word_set

_ONES = (
    "zero null",
    "one ein eins eine einen einem einer",
    "two zwei",
    "three drei",
    "four vier",
    "five fünf",
    "six sechs",
    "seven sieben",
    "eight acht",
    "nine neun",
    "ten zehn",
    "eleven elf",
    "twelve zwölf",
    "thirteen dreizehn",
    "fourteen vierzehn",
    "fifteen fünfzehn",
    "sixteen sechzehn",
    "seventeen siebzehn",
    "eighteen achtzehn",
    "nineteen neunzehn",
)
_TENS = (
    "twenty zwanzig",
    "thirty dreißig dreissig",
    "forty vierzig",
    "fifty fünfzig",
    "sixty sechzig",
    "seventy siebzig",
    "eighty achtzig",
    "ninety neunzig",
)
_SMALL = {word: value for value, words in enumerate(_ONES) for word in words.split()}
_SMALL |= {word: 10 * value for value, words in enumerate(_TENS, start=2) for word in words.split()}
_HUNDRED = {"hundred": 100, "hundert": 100}
_LARGE = {
    "thousand": 1000, "tausend": 1000, "million": 10**6, "millions": 10**6, "millionen": 10**6,
    "billion": 10**9, "billions": 10**9, "milliarde": 10**9, "milliarden": 10**9,
}  # fmt: skip
SCALES = _HUNDRED | _LARGE | {"k": 1000, "tsd": 1000, "mio": 10**6, "m": 10**6, "mn": 10**6, "bn": 10**9, "mrd": 10**9}
# Words that are articles or pronouns as often as numbers: a number only in front of a unit.
WEAK = word_set("one ein eins eine einen einem einer null zero")

_GERMAN_ONES = (
    "null",
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
)
_GERMAN_TEENS = ("dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn")
_GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
_GERMAN = {word: value for value, word in enumerate((*_GERMAN_ONES, *_GERMAN_TEENS)) if value}
_GERMAN |= {word: 10 * value for value, word in enumerate(_GERMAN_TENS, start=2)}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_ONE = rf"(?:{_any_of(_SMALL)})"
_TWO = rf"(?:(?:{_any_of(' '.join(_TENS).split())})[\s-](?:{_any_of(' '.join(_ONES[1:10]).split())})|{_ONE})\b"
NUMERAL = (
    rf"(?:(?:a|{_TWO})[\s-]+(?:{_any_of(_HUNDRED)})\b(?:[\s-]+(?:and\s+)?{_TWO})?|{_TWO})"
    rf"(?:[\s-]+(?:{_any_of(_LARGE)}))?"
)
COMPOUND = rf"(?:{_any_of((*_GERMAN, 'und', 'hundert', 'tausend'))}){{2,}}"

_ORDINALS = {
    1: "first erste ersten erster erstes erstem",
    2: "second zweite zweiten zweiter zweites zweitem",
    3: "third dritte dritten dritter drittes drittem",
    4: "fourth vierte vierten vierter viertes viertem",
    5: "fifth fünfte fünften fünfter fünftes fünftem",
    6: "sixth sechste sechsten sechster sechstes sechstem",
    7: "seventh siebte siebten siebter siebtes siebtem",
    8: "eighth achte achten achter achtes",
    9: "ninth neunte neunten neunter neuntes",
    10: "tenth zehnte zehnten zehnter zehntes",
    11: "eleventh elfte elften elfter",
    12: "twelfth zwölfte zwölften zwölfter",
    15: "fifteenth fünfzehnte fünfzehnten",
    20: "twentieth zwanzigste zwanzigsten",
    30: "thirtieth dreißigste dreißigsten",
}
ORDINALS = {word: value for value, words in _ORDINALS.items() for word in words.split()}
ORDINAL = _any_of(ORDINALS)

_PARTS = {
    2: "half halves hälfte",
    3: "third thirds drittel",
    4: "quarter quarters viertel",
    5: "fifth fifths fünftel",
    6: "sixth sixths sechstel",
    8: "eighth eighths achtel",
    10: "tenth tenths zehntel",
    12: "twelfth twelfths zwölftel",
}
PARTS = {word: value for value, words in _PARTS.items() for word in words.split()}
_PLURAL = _any_of(word for word in PARTS if word.endswith("s") or word.endswith("tel"))
# "a third of", "two thirds", "half of", "one in nine", "nine out of ten": a share, where "a third telephone" is the third one.
SHARE = (
    rf"(?:(?P<top>{_ONE})\s+(?P<part>{_PLURAL})|(?P<one>an?|one|ein|eine|die)\s+(?P<single>{_any_of(PARTS)})(?=\s+(?:of|der|des|von)\b)"
    rf"|(?P<half>half|hälfte)(?=\s+(?:of|der|des|the)\b)|(?P<few>{_ONE}|\d{{1,3}})\s+(?:in|out\s+of|von|aus)\s+(?P<many>{_ONE}|\d{{1,3}})\b"
    rf"(?!\s+(?:{_any_of(PARTS)}))|(?P<glyph>[½⅓⅔¼¾]))"
)
_GLYPHS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4)}


def numeral(text: str) -> Decimal:
    """The value of words that `NUMERAL` or `COMPOUND` matched; raises ValueError for others."""
    words = re.sub(r"[\s-]+", " ", text.casefold()).split()
    if len(words) == 1 and words[0] not in _SMALL:
        return Decimal(_compound(words[0]))
    total = current = 0
    for word in words:
        if word in _SMALL:
            current += _SMALL[word]
        elif word == "a":
            current = 1
        elif word in _HUNDRED:
            current = max(current, 1) * 100
        elif word in _LARGE:
            total += max(current, 1) * _LARGE[word]
            current = 0
        elif word != "and":
            raise ValueError(f"not a number: {text!r}")
    return Decimal(total + current)


def _compound(word: str) -> int:
    """A German number in one word: "zweihundertfünfzig", "einundzwanzig"."""
    for scale, value in (("tausend", 1000), ("hundert", 100)):
        before, found, after = word.partition(scale)
        if found:
            return (_compound(before) if before else 1) * value + (_compound(after.removeprefix("und")) if after else 0)
    ones, found, tens = word.partition("und")
    if found and ones in _GERMAN and tens in _GERMAN:
        return _GERMAN[ones] + _GERMAN[tens]
    if word not in _GERMAN:
        raise ValueError(f"not a number: {word!r}")
    return _GERMAN[word]


def share(match: re.Match[str]) -> Decimal | None:
    """The part of a whole that a match of `SHARE` names, or None where it names none ("in two in three")."""
    groups = match.groupdict()
    if groups["glyph"]:
        top, bottom = _GLYPHS[groups["glyph"]]
    elif groups["top"]:
        top, bottom = _SMALL[groups["top"].casefold()], PARTS[groups["part"].casefold()]
    elif groups["single"]:
        top, bottom = 1, PARTS[groups["single"].casefold()]
    elif groups["half"]:
        top, bottom = 1, 2
    else:
        top, bottom = _small(groups["few"]), _small(groups["many"])
    return None if not 0 < top < bottom else Decimal(top) / Decimal(bottom)


def _small(text: str) -> int:
    return int(text) if text.isdigit() else _SMALL[text.casefold()]
