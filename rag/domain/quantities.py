"""The values that a text states: numbers, amounts, measures, dates, identifiers; in English and German forms.

Why sets of readings: "1.000" is a thousand in German and one in English, "3/4/2024" is in March or in April. A value
keeps every reading that its form allows, and two values agree when they share one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from rag.domain.words import word_set

_MONTH_NAMES = (
    "january januar jänner jan",
    "february februar feb",
    "march märz maerz mar mär",
    "april apr",
    "may mai",
    "june juni jun",
    "july juli jul",
    "august aug",
    "september sept sep",
    "october oktober oct okt",
    "november nov",
    "december dezember dec dez",
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
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
_WORDS = {word: Decimal(value) for value, words in enumerate(_ONES) for word in words.split()}
_WORDS |= {word: Decimal(10 * value) for value, words in enumerate(_TENS, start=2) for word in words.split()}
_WORDS |= {
    f"{ten}-{one}": Decimal(10 * tens + ones)
    for tens, ten in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2)
    for ones, one in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), start=1)
}
# Words that are articles or pronouns as often as numbers: a number only in front of a unit.
_WEAK = word_set("one ein eins eine einen einem einer null zero")
_SCALES = {
    "hundred": 100, "hundert": 100, "thousand": 1000, "tausend": 1000, "k": 1000, "tsd": 1000,
    "million": 10**6, "millions": 10**6, "millionen": 10**6, "mio": 10**6, "m": 10**6, "mn": 10**6,
    "billion": 10**9, "billions": 10**9, "bn": 10**9, "milliarde": 10**9, "milliarden": 10**9, "mrd": 10**9,
}  # fmt: skip
_UNIT_NAMES = {
    "%": "% percent per_cent pct prozent",
    "EUR": "€ eur euro euros",
    "USD": "$ usd us$ dollar dollars",
    "GBP": "£ gbp pound pounds",
    "CHF": "chf franken francs",
    "cent": "cent cents ct",
    "second": "second seconds sec secs sekunde sekunden",
    "minute": "minute minutes min mins minuten",
    "hour": "hour hours hr hrs stunde stunden std",
    "day": "day days tag tage tagen tages",
    "working day": (
        "working_day working_days business_day business_days werktag werktage werktagen arbeitstag arbeitstage "
        "arbeitstagen"
    ),
    "week": "week weeks woche wochen",
    "month": "month months monat monate monaten monats",
    "year": "year years jahr jahre jahren",
    "mg": "mg milligram milligrams milligramm",
    "µg": "µg μg mcg microgram micrograms mikrogramm",
    "g": "g gram grams gramm",
    "kg": "kg kilogram kilograms kilo kilos kilogramm",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "l": "l litre litres liter liters",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters zentimeter",
    "metre": "metre metres meter meters",
    "km": "km kilometre kilometres kilometer kilometers",
    "°C": "°c",
    "page": "page pages seite seiten",
}
_UNITS = {name.replace("_", " "): unit for unit, names in _UNIT_NAMES.items() for name in names.split(" ")}
_DURATIONS = frozenset({"second", "minute", "hour", "day", "working day", "week", "month", "year"})
_CURRENCIES = frozenset({"EUR", "USD", "GBP", "CHF", "cent"})


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(names, key=len, reverse=True))


_SIGN = r"€|\$|£|us\$|eur|usd|gbp|chf"
_DIGITS = r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)*"
_DATE = re.compile(
    rf"(?P<iso>\b(\d{{4}})-(\d{{2}})-(\d{{2}})\b)|(?P<dotted>\b(\d{{1,2}})[./](\d{{1,2}})[./](\d{{4}})\b)"
    rf"|(?P<dmy>\b(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+|day\s+of\s+)?({_MONTH})(?:,?\s+(\d{{4}})\b)?)"
    rf"|(?P<mdy>\b({_MONTH})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s*\d*\s*%)(?:,?\s+(\d{{4}})\b)?)"
    rf"|(?P<my>\b({_MONTH})\s+(\d{{4}})\b)",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:may|march|mar)\b")  # in lower case a verb: "employees may 10 times"
_IDENTIFIER = re.compile(r"\b(?=[\w/-]*\d)(?=[\w/-]*[^\W\d_])\w+(?:[/-]\w+)*\b")
_NUMBER = re.compile(
    rf"(?<![\w.,])(?:(?P<before>{_SIGN})\s?)?(?P<sign>[-−](?=\d))?(?P<digits>{_DIGITS})(?!\d)"
    rf"(?:\s?(?P<scale>{_alternatives(_SCALES)})\b\.?)?(?:[\s-]?(?P<after>{_alternatives(_UNITS)})(?!\w))?",
    re.IGNORECASE,
)
_SPELLED = re.compile(
    rf"\b(?P<word>{_alternatives(_WORDS)})(?:[\s-](?P<scale>hundred|thousand|million|millionen|billion))?\b"
    rf"(?:[\s-](?P<after>{_alternatives(_UNITS)})(?!\w))?",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?i)\d+(?:st|nd|rd|th)")
_GLUED = re.compile(rf"(?i)\d+(?:{_alternatives(n for n in _UNITS if n[0].isalpha())}|k|m|bn|mn)")


class Kind(StrEnum):
    NUMBER = "number"
    DATE = "date"
    IDENTIFIER = "identifier"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value at code points [start, end) of a text: every reading that its form allows, and its unit or ""."""

    kind: Kind
    text: str
    start: int
    end: int
    readings: frozenset[str]
    unit: str = ""

    def stands_in(self, others: Sequence["Quantity"]) -> bool:
        """Whether one of `others` says the same. A unit that only one of the two gives is no difference (tables)."""
        return any(self._agrees(other) for other in others)

    def _agrees(self, other: "Quantity") -> bool:
        if self.unit and other.unit and self.unit != other.unit:
            return False
        if self.kind is Kind.NUMBER and other.kind is Kind.DATE:  # a bare year or day that stands in a date
            return not self.unit and any(self.readings & set(reading.split("-")) for reading in other.readings)
        if self.kind is not other.kind:
            return False
        if self.kind is Kind.DATE:
            return any(_date_within(mine, theirs) for mine in self.readings for theirs in other.readings)
        return bool(self.readings & other.readings)

    def same_kind(self, other: "Quantity") -> bool:
        """Whether the two could stand in one place: both dates, amounts, spans of time, or counts of one unit."""
        if self.kind is not other.kind or self.kind is Kind.IDENTIFIER:
            return False
        if self.kind is Kind.DATE:
            return True
        units = {self.unit, other.unit}
        return bool(self.unit) and (len(units) == 1 or units <= _CURRENCIES or units <= _DURATIONS)


def dates(text: str) -> list[Quantity]:
    """The dates stated in `text`, in order."""
    return [date for match in _DATE.finditer(text) if (date := _date(match)) is not None]


def quantities(text: str) -> list[Quantity]:
    """The values stated in `text`, in order; none overlap."""
    found: list[Quantity] = []
    taken: list[tuple[int, int]] = []

    def free(start: int, end: int) -> bool:
        return all(end <= first or start >= last for first, last in taken)

    def add(quantity: Quantity | None) -> None:
        if quantity and free(quantity.start, quantity.end):
            found.append(quantity)
            taken.append((quantity.start, quantity.end))

    for match in _DATE.finditer(text):
        add(_date(match))
    for match in _IDENTIFIER.finditer(text):
        word = match.group()
        if not _ORDINAL.fullmatch(word) and not _GLUED.fullmatch(word) and not re.fullmatch(r"[\d]+-[^\W\d_]+", word):
            add(Quantity(Kind.IDENTIFIER, word, *match.span(), frozenset({word.casefold()})))
    for match in _NUMBER.finditer(text):
        add(_number(match))
    for match in _SPELLED.finditer(text):
        add(_spelled(match))
    return sorted(found, key=lambda quantity: quantity.start)


def _date(match: re.Match[str]) -> Quantity | None:
    if _VERB.search(match.group()):
        return None
    groups = [group for group in match.groups()[1:] if group is not None]
    kind = next(name for name, value in match.groupdict().items() if value is not None)
    parts = [part for part in groups if part != match.group(kind)]
    options: list[tuple[int | None, int, int | None]]
    if kind == "iso":
        options = [(int(parts[0]), int(parts[1]), int(parts[2]))]
    elif kind == "dotted":
        first, second, year = (int(part) for part in parts)
        options = [(year, second, first)] if "." in match.group() else [(year, second, first), (year, first, second)]
    elif kind == "dmy":
        options = [(int(parts[2]) if len(parts) > 2 else None, _month(parts[1]), int(parts[0]))]
    elif kind == "mdy":
        options = [(int(parts[2]) if len(parts) > 2 else None, _month(parts[0]), int(parts[1]))]
    else:
        options = [(int(parts[1]), _month(parts[0]), None)]
    readings = {
        f"{'' if year is None else year}-{month}-{'' if day is None else day}"
        for year, month, day in options
        if 1 <= month <= 12 and (day is None or 1 <= day <= 31)
    }
    if not readings:
        return None
    return Quantity(Kind.DATE, match.group().strip(), *match.span(), frozenset(readings))


def _month(name: str) -> int:
    return _MONTHS[name.rstrip(".").lower()]


def _date_within(mine: str, theirs: str) -> bool:
    """Whether `theirs` says at least as much as `mine`, or the same with the year or day left out."""
    return all(not a or not b or a == b for a, b in zip(mine.split("-"), theirs.split("-"), strict=True))


def _number(match: re.Match[str]) -> Quantity:
    unit = _unit(match.group("before")) or _unit(match.group("after"))
    scale = _SCALES[match.group("scale").lower()] if match.group("scale") else 1
    if len(match.group("scale") or "") == 1 and not match.group("before"):
        scale = 1  # "5 m" are metres, "$5 m" are millions
    readings = {_plain(value * scale) for value in _values(match.group("digits"))} or {match.group("digits")}
    return Quantity(Kind.NUMBER, match.group().strip(), *match.span(), frozenset(readings), unit)


def _spelled(match: re.Match[str]) -> Quantity | None:
    word = re.sub(r"\s+", " ", match.group("word").lower())
    unit = _unit(match.group("after"))
    if word in _WEAK and not unit and not match.group("scale"):
        return None
    value = _WORDS[word] * (_SCALES[match.group("scale").lower()] if match.group("scale") else 1)
    return Quantity(Kind.NUMBER, match.group().strip(), *match.span(), frozenset({_plain(value)}), unit)


def _unit(name: str | None) -> str:
    return _UNITS[re.sub(r"\s+", " ", name.lower())] if name else ""


def _values(digits: str) -> list[Decimal]:
    """Every number that the digits can mean: "1,000" a thousand or one, "4.2" four point two, "4.2.1" none."""
    bare = re.sub(r"['’\u00a0\u202f ]", "", digits)
    readings: list[str] = []
    for thousands, point in ((",", "."), (".", ",")):
        whole, _, fraction = bare.partition(point)
        grouped = thousands not in whole or re.fullmatch(rf"\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+", whole)
        if grouped and (not fraction or fraction.isdigit()):
            readings.append(f"{whole.replace(thousands, '')}.{fraction or '0'}")
    try:
        return [Decimal(reading) for reading in readings]
    except InvalidOperation as error:  # pragma: no cover - the pattern lets digits through only
        raise ValueError(f"not a number: {digits!r}") from error


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")
