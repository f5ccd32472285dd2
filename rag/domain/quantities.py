"""The values that a text states: numbers, amounts, measures, dates, times, identifiers; in English and German forms. Pure.

Why sets of readings: "1.000" is a thousand in German and one in English, "3/4/2024" is in March or in April. A value
keeps every reading that its form allows, and two values agree when they share one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import pairwise

from rag.domain.numerals import COMPOUND, NUMERAL, ORDINAL, ORDINALS, SCALES, SHARE, WEAK, numeral, share
from rag.domain.units import SECTION, UNITS, base, comparable, unit_of
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
_DAYS = (
    "monday montag",
    "tuesday dienstag",
    "wednesday mittwoch",
    "thursday donnerstag",
    "friday freitag",
    "saturday samstag sonnabend",
    "sunday sonntag",
)
_WEEKDAYS = {name: str(number) for number, names in enumerate(_DAYS, start=1) for name in names.split()}


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(names, key=len, reverse=True))


_SIGN = r"€|\$|£|us\$|eur|usd|gbp|chf"
_DIGITS = r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+(?:[.,·]\d+)?|\d+(?:[.,·]\d+)*"
_DATE = re.compile(
    rf"(?P<iso>\b(\d{{4}})-(\d{{2}})-(\d{{2}})\b)|(?P<dotted>\b(\d{{1,2}})[./](\d{{1,2}})[./](\d{{4}})\b)"
    rf"|(?P<dmy>\b(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+|day\s+of\s+)?({_MONTH})(?:,?\s+(\d{{4}})\b)?)"
    rf"|(?P<mdy>\b({_MONTH})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s*\d*\s*%)(?:,?\s+(\d{{4}})\b)?)"
    rf"|(?P<my>\b({_MONTH})\s+(\d{{4}})\b)",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:may|march|mar)\b")  # in lower case a verb: "employees may 10 times"
_FULL_MONTHS = "|".join(
    name.title() for names in _MONTH_NAMES for name in names.split() if len(name) > 3 or name == "mai"
)
# "May" and "March" open a question or an order as often as they name a month.
_BARE_MONTH = re.compile(rf"\b(?!March\b)(?:{_FULL_MONTHS})\b|(?<=\w )(?:May|March)\b")
_IDENTIFIER = re.compile(r"\b(?=[\w/-]*\d)(?=[\w/-]*[^\W\d_])\w+(?:[/-]\w+)*\b")
# "building C", "Schedule A": one letter that names one of several.
_LETTERED = re.compile(
    r"\b(?:building|room|group|class|schedule|annex|appendix|part|table|type|level|category|grade|block|wing"
    r"|phase|gebäude|raum|gruppe|klasse"
    r"|anlage|teil|stufe|block)\s+(?P<letter>(?-i:[A-Z]))\b(?!')",
    re.IGNORECASE,
)
_BETWEEN = r"(?:(?!(?:per|pro|je|each|every|an?|the|to|of|or|and|in|on|for|with|und|oder|am|im|bis|von)\b)(?-i:[^\W\d_A-Z]{3,14})\s)?"
_PLACES = (
    r"§+|sections?|clauses?|articles?|paragraphs?|schedules?|annex|appendix|chapter|abschnitt|artikel|absatz"
    r"|anlage|kapitel|ziffer"
    r"|(?:abs|art|ziff|nr|no|sec|para|rn|kap)\."
)
_NUMBER = re.compile(
    rf"(?<![\w.,])(?:(?P<before>{_SIGN})\s?"
    rf"|(?P<place>(?:{_PLACES})\s{{0,2}}))?(?P<sign>[-−](?=\d))?(?P<digits>{_DIGITS})(?!\d)"
    rf"(?P<half>½|\s(?:and|und)\s+(?:a|one|ein)\s+hal(?:f|b|be)\b)?(?:\s?(?P<scale>{_alternatives(SCALES)})\b\.?)?"
    rf"(?:(?!\s[€$£]\s?\d)[\s-]?(?P<after>{_alternatives(UNITS)})(?!\w)"
    rf"|\s{_BETWEEN}(?P<later>{_alternatives(n for n in UNITS if len(n) > 2)})(?!\w))?",
    re.IGNORECASE,
)
_SPELLED = re.compile(
    rf"\b(?=[adefnostvz])(?P<word>{NUMERAL}|{COMPOUND})\b(?P<half>\s(?:and|und)\s+(?:a|one|ein)\s+hal(?:f|b|be)\b)?"
    rf"(?:(?!\s[€$£]\s?\d)[\s-](?P<after>{_alternatives(UNITS)})(?!\w)"
    rf"|\s{_BETWEEN}(?P<later>{_alternatives(n for n in UNITS if len(n) > 2)})(?!\w))?",
    re.IGNORECASE,
)
_HALF = re.compile(
    r"\b(?:half\s+an?|(?:ein(?:e|en)?\s+)?halbe[nrs]?)\s+(?P<after>hour|minute|day|year|stunde|minute|tag|jahr)\b",
    re.IGNORECASE,
)
_A_UNIT = re.compile(
    r"(?:\b(?:within|after|before|at least|at most|up to|more than|less than|until|innerhalb|nach|binnen"
    r"|mindestens|höchstens)\s)"
    r"(?P<one>an?|einer|eines|einem|ein)\s(?P<after>second|minute|hour|day|week|fortnight|month|year|stunde|tag"
    r"|tages|woche|monats?|jahr(?:es)?)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(rf"(?<!\w){SHARE}", re.IGNORECASE)
_ORDINAL_WORD = re.compile(rf"\b(?:{ORDINAL})\b(?!\s+(?:of\s+all|aid)\b)(?=\s+[^\W\d_])", re.IGNORECASE)
_TIME = re.compile(
    r"(?<![\d.,:])(?P<hour>[01]?\d|2[0-4])(?::(?P<minute>[0-5]\d)(?!\d)(?:\s*(?P<half>[ap]\.?\s?m\b\.?)"
    r"|\s*(?:uhr|h|o'clock)\b)?"
    r"|\.(?P<dotted>[0-5]\d)\s*(?:(?P<half2>[ap]\.?\s?m\b\.?)|uhr\b|h\b)"
    r"|\s*(?:(?P<half3>[ap]\.?\s?m\b\.?)|(?:uhr|o['’]clock)\b(?:\s(?P<after>[0-5]\d)\b)?))"
    r"|\b(?P<named>noon|midday|midnight|mitternacht)\b",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(rf"\b(?P<day>{'|'.join(name.title() for name in _WEEKDAYS)})(?:s|e|en)?\b")
_TWICE = re.compile(r"\b(?:twice|zweimal|thrice|dreimal|viermal)\b", re.IGNORECASE)
_TIMES = {"twice": "2", "zweimal": "2", "thrice": "3", "dreimal": "3", "viermal": "4"}
_EVERY = re.compile(
    r"\b(?:(?P<each>per|pro|je|each|every|jede[nrsm]?|a|an|in each|in jedem)\s+(?:calendar\s+|contract\s+"
    r"|full\s+|school\s+)?"
    r"(?P<unit>second|minute|hour|day|week|fortnight|month|quarter|year|sekunde|minute|stunde|tag|woche|monat"
    r"|quartal|jahr)\b"
    r"|(?P<adverb>hourly|daily|weekly|fortnightly|monthly|quarterly|annual(?:ly)?|yearly|(?:stünd|täg|wöchent"
    r"|monat|vierteljähr|jähr)lich(?:e[nrsm]?)?)\b)",
    re.IGNORECASE,
)
_ADVERBS = {
    "hourly": "hour", "stündlich": "hour", "daily": "day", "täglich": "day", "weekly": "week", "wöchentlich": "week",
    "fortnightly": "fortnight", "monthly": "month", "monatlich": "month", "quarterly": "quarter",
    "vierteljährlich": "quarter", "annual": "year", "annually": "year", "yearly": "year", "jährlich": "year",
}  # fmt: skip
# "40 euros a month" says how often; "after a month" says how long.
_NO_RATE = word_set(
    "in of for after within half than such quite as at is was be with from about over under by to takes take lasts last what "
    "once such many and or nach in innerhalb binnen vor seit um"
)
_ORDINAL = re.compile(r"(?i)\d+(?:st|nd|rd|th)")
_GLUED = re.compile(rf"(?i)\d+(?:{_alternatives(n for n in UNITS if n[0].isalpha())}|k|m|bn|mn)")
_RANGE = re.compile(r"\s*(?:to|–|—|-|bis|and|und|or|oder|up to|bis zu|,)\s*", re.IGNORECASE)
_NOUN = re.compile(r"[\s-](?P<noun>[^\W\d_]{2,}|[\w€$£])")
_YEAR = re.compile(r"(?:1[6-9]|20)\d\d")


class Kind(StrEnum):
    NUMBER = "number"
    ORDINAL = "ordinal"
    DATE = "date"
    TIME = "time"
    WEEKDAY = "weekday"
    FREQUENCY = "frequency"
    IDENTIFIER = "identifier"


class Bound(StrEnum):
    """On which side of a value what is said lies."""

    NONE = ""
    FROM = "from"  # at least, more than, after
    UP_TO = "up to"  # at most, less than, within, before


_LOWER = (
    r"(?:at least|at the least|no less than|not less than|no fewer than|not fewer than|minimum(?: of)?"
    r"|more than|over|above|exceed(?:s|ing)?"
    r"|beyond|greater than|longer than|older than|higher than|upwards of|mindestens|wenigstens|mehr als|über|ab"
    r"|nicht weniger als"
    r"|after|since|nach|seit|≥|>|not before|not until|nicht vor|frühestens)"
)
_UPPER = (
    r"(?:at most|at the most|no more than|not more than|not exceed(?:ing)?|maximum(?: of)?|up to|less than"
    r"|fewer than|under|below|within"
    r"|no later than|not later than|at the latest|shorter than|younger than|lower than|before|until|by"
    r"|höchstens|maximal|bis zu|weniger als|unter"
    r"|innerhalb(?: von)?|binnen|spätestens|nicht mehr als|nicht länger als|vor|bis|≤|<|not beyond|not after|not over)"
)
_BOUND = re.compile(
    rf"(?:(?P<up>{_UPPER})|(?P<low>{_LOWER}))\s*(?:the\s+|a\s+|an\s+|of\s+|about\s+|the\s+age\s+of\s+"
    rf"|the\s+end\s+of\s+|am\s+|zum\s+|dem\s+|den\s+|der\s+)?\Z",
    re.IGNORECASE,
)
_BOUND_AFTER = re.compile(
    r"\s*(?:(?P<low>or (?:more|over|older|longer|above|later)|and (?:over|above|more)|oder (?:mehr|älter|länger"
    r"|später))"
    r"|(?P<up>or (?:less|fewer|under|younger|shorter|below|earlier)|at (?:the )?most|at the latest"
    r"|oder (?:weniger|jünger|kürzer|früher)))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value at code points [start, end) of a text: every reading that its form allows, and its unit or "".

    `bound` says whether it is a least or a most, `noun` is the word or sign behind a number that has no unit.
    """

    kind: Kind
    text: str
    start: int
    end: int
    readings: frozenset[str]
    unit: str = ""
    bound: Bound = Bound.NONE
    noun: str = ""

    def stands_in(self, others: Sequence["Quantity"]) -> bool:
        """Whether one of `others` says the same. A unit that only one of the two gives is no difference (tables)."""
        return any(self.agrees(other) for other in others)

    def agrees(self, other: "Quantity") -> bool:
        """Whether the two say the same value: 2 weeks and 14 days, 50 % and one half, 3 March and 2024-03-03."""
        if self.kind is Kind.NUMBER and other.kind is Kind.DATE:  # a bare year or day that stands in a date
            return not self.unit and any(self.readings & set(reading.split("-")) for reading in other.readings)
        if {self.kind, other.kind} == {Kind.NUMBER, Kind.ORDINAL}:
            return not self.unit and not other.unit and bool(self.readings & other.readings)
        if self.kind is not other.kind:
            return False
        if self.kind is Kind.DATE:
            return any(_date_within(mine, theirs) for mine in self.readings for theirs in other.readings)
        if self.unit and other.unit and self.unit != other.unit:
            return self._converted() & other._converted() != frozenset()
        return bool(self.readings & other.readings)

    def _converted(self) -> frozenset[tuple[str, Decimal]]:
        found = (
            base(self.unit, reading)
            for reading in self.readings
            if re.fullmatch(r"-?[\d.]+", reading) and reading.count(".") < 2
        )
        return frozenset((name, round(value, 9)) for name, value in filter(None, found))

    def same_kind(self, other: "Quantity") -> bool:
        """Whether the two could stand in one place: both dates, amounts, spans of time, or counts of one unit."""
        if self.kind is not other.kind or self.kind is Kind.IDENTIFIER:
            return False
        if self.kind is not Kind.NUMBER:
            return True
        return bool(self.unit) and bool(other.unit) and comparable(self.unit, other.unit)


def dates(text: str) -> list[Quantity]:
    """The dates stated in `text`, in order; a month alone is none."""
    return [date for match in _DATE.finditer(text) if (date := _date(match)) is not None]


def quantities(text: str) -> list[Quantity]:
    """The values stated in `text`, in order; none overlap."""
    found: list[Quantity] = []
    taken = bytearray(len(text))
    for quantity in _candidates(text):
        if not any(taken[quantity.start : quantity.end]):
            found.append(quantity)
            taken[quantity.start : quantity.end] = b"\x01" * (quantity.end - quantity.start)
    found.sort(key=lambda quantity: quantity.start)
    return [_with_bound(text, quantity) for quantity in _in_lists(text, found)]


def _candidates(text: str) -> Iterator[Quantity]:
    """Every reading of every stretch, the surest first: what a later one would take again is left to the first."""
    digits = any(map(str.isdigit, text))
    for pattern, read, needs_digits in _READERS_IN_ORDER:
        if needs_digits and not digits:
            continue
        for match in pattern.finditer(text):
            if (quantity := read(match)) is not None:
                yield quantity


def _in_lists(text: str, found: list[Quantity]) -> list[Quantity]:
    """With the unit or month that a value shares with its neighbour: "4 to 8 weeks", "€5 to 10", "24 and 31 December"."""
    result = list(found)
    for place in range(len(result) - 2, -1, -1):
        one, other = result[place], result[place + 1]
        year = _YEAR.fullmatch(one.text) and not _YEAR.fullmatch(other.text)  # "14 tonnes in 2022 and 9 tonnes in 2023"
        if one.kind is not Kind.NUMBER or one.unit or year or not _RANGE.fullmatch(text, one.end, other.start):
            continue
        if other.kind is Kind.NUMBER and other.unit and other.unit != SECTION:
            result[place] = replace(one, unit=other.unit, noun="")
        elif other.kind is Kind.DATE and all(r.isdigit() and 1 <= int(r) <= 31 for r in one.readings):
            months = {reading.rsplit("-", 1)[0] for reading in other.readings}
            readings = frozenset(f"{month}-{int(day)}" for month in months for day in one.readings)
            result[place] = replace(one, kind=Kind.DATE, readings=readings, noun="")
    for place, (one, other) in enumerate(pairwise(result), start=1):
        if (
            one.kind is other.kind is Kind.NUMBER
            and one.unit
            and not other.unit
            and not other.noun
            and text[one.start : one.start + 1] in "€$£§"
            and _RANGE.fullmatch(text, one.end, other.start)
        ):
            result[place] = replace(other, unit=one.unit)
    return result


_REACH = 26  # characters looked back for "not later than the end of"


def _with_bound(text: str, quantity: Quantity) -> Quantity:
    if quantity.kind in (Kind.IDENTIFIER, Kind.FREQUENCY) or quantity.unit == SECTION:
        return quantity
    before = _BOUND.search(text[max(0, quantity.start - _REACH) : quantity.start])
    match = before if before and _whole_word(text, quantity.start, before) else _BOUND_AFTER.match(text, quantity.end)
    if match is None:
        return quantity
    return replace(quantity, bound=Bound.UP_TO if match.group("up") else Bound.FROM)


def _whole_word(text: str, end: int, match: re.Match[str]) -> bool:
    begin = max(0, end - _REACH) + match.start()
    return not (begin and text[begin - 1].isalnum() and text[begin].isalnum())


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


def _bare_month(match: re.Match[str]) -> Quantity:
    return Quantity(Kind.DATE, match.group(), *match.span(), frozenset({f"-{_month(match.group())}-"}))


def _month(name: str) -> int:
    return _MONTHS[name.rstrip(".").lower()]


def _date_within(mine: str, theirs: str) -> bool:
    """Whether `theirs` says at least as much as `mine`, or the same with the year or day left out."""
    return all(not a or not b or a == b for a, b in zip(mine.split("-"), theirs.split("-"), strict=True))


def _time(match: re.Match[str]) -> Quantity:
    named = match.group("named")
    if named:
        minutes = 720 if named.casefold() in {"noon", "midday"} else 1440
    else:
        hour = int(match.group("hour"))
        half = (match.group("half") or match.group("half2") or match.group("half3") or "").casefold()
        if half:
            hour = hour % 12 + (12 if half[0] == "p" else 0)
        minutes = hour * 60 + int(match.group("minute") or match.group("dotted") or match.group("after") or 0)
    return Quantity(Kind.TIME, match.group().strip(), *match.span(), frozenset({str(minutes % 1440)}))


def _weekday(match: re.Match[str]) -> Quantity:
    return Quantity(Kind.WEEKDAY, match.group(), *match.span(), frozenset({_WEEKDAYS[match.group("day").casefold()]}))


def _every(match: re.Match[str]) -> Quantity | None:
    adverb = match.group("adverb")
    if adverb:
        unit = next(
            _ADVERBS[adverb.casefold().removesuffix(end)]
            for end in ("", "e", "en", "er", "es", "em")
            if adverb.casefold().removesuffix(end) in _ADVERBS
        )
    else:
        name = match.group("unit").casefold()
        unit = "quarter" if name == "quarter" else unit_of(name)
        if match.group("each").casefold() in {"a", "an"}:
            before = re.search(r"(\w+)\W*\Z", match.string[max(0, match.start() - 20) : match.start()])
            if before is None or before.group(1).casefold() in _NO_RATE:
                return None
    return Quantity(Kind.FREQUENCY, match.group(), *match.span(), frozenset({unit}))


def _identifier(match: re.Match[str]) -> Quantity | None:
    word = match.group()
    if _ORDINAL.fullmatch(word) or _GLUED.fullmatch(word) or re.fullmatch(r"\d+(?:-[^\W\d_]+|½)", word):
        return None
    return Quantity(Kind.IDENTIFIER, word, *match.span(), _spellings(word))


def _spellings(word: str) -> frozenset[str]:
    """The identifier without its hyphens, and without an ordinary word at its end: "SHP-2" is "SHP2", "M2-like" speaks of "M2"."""
    bare = re.sub(r"-[^\W\d_]{4,}\Z", "", word)
    return frozenset({re.sub(r"[-/]", "", each).casefold() for each in (word, bare)})


def _lettered(match: re.Match[str]) -> Quantity:
    return Quantity(Kind.IDENTIFIER, match.group(), *match.span(), frozenset({match.group().casefold()}))


def _share(match: re.Match[str]) -> Quantity | None:
    value = share(match)
    if value is None:
        return None
    return Quantity(Kind.NUMBER, match.group(), *match.span(), frozenset({_plain(round(value, 9))}), "share")


def _half_unit(match: re.Match[str]) -> Quantity:
    return Quantity(Kind.NUMBER, match.group(), *match.span(), frozenset({"0.5"}), unit_of(match.group("after")))


def _a_unit(match: re.Match[str]) -> Quantity:
    own = match.string[match.start("one") : match.end()]
    unit = unit_of(match.group("after").casefold()) or unit_of(match.group("after").casefold().removesuffix("es"))
    return Quantity(Kind.NUMBER, own, match.start("one"), match.end(), frozenset({"1"}), unit)


def _twice(match: re.Match[str]) -> Quantity:
    return Quantity(Kind.NUMBER, match.group(), *match.span(), frozenset({_TIMES[match.group().casefold()]}), "times")


def _ordinal(match: re.Match[str]) -> Quantity:
    reading = str(ORDINALS[match.group().casefold()])
    return Quantity(Kind.ORDINAL, match.group(), *match.span(), frozenset({reading}))


def _number(match: re.Match[str]) -> Quantity:
    unit = unit_of(match.group("before")) or unit_of(match.group("after")) or unit_of(match.group("later"))
    if match.group("place"):
        unit = SECTION
    scale = SCALES[match.group("scale").lower()] if match.group("scale") else 1
    if len(match.group("scale") or "") == 1 and not match.group("before"):
        scale = 1  # "5 m" are metres, "$5 m" are millions
    more = Decimal("0.5") if match.group("half") else Decimal(0)
    values = _values(match.group("digits"))
    readings = {_plain((value + more) * scale) for value in values} or {match.group("digits")}
    if match.group("sign"):
        readings = {f"-{reading}" for reading in readings}
    if unit == SECTION:
        readings = {match.group("digits")}
    noun = "" if unit else _noun(match)
    return Quantity(Kind.NUMBER, match.group().strip(), *match.span(), frozenset(readings), unit, noun=noun)


def _spelled(match: re.Match[str]) -> Quantity | None:
    word = re.sub(r"\s+", " ", match.group("word").lower())
    unit = unit_of(match.group("after")) or unit_of(match.group("later"))
    if word in WEAK and (not unit or match.group("later")):
        return None
    try:
        value = numeral(word) + (Decimal("0.5") if match.group("half") else 0)
    except ValueError:  # German number words in an order that makes no number
        return None
    noun = "" if unit else _noun(match)
    return Quantity(Kind.NUMBER, match.group().strip(), *match.span(), frozenset({_plain(value)}), unit, noun=noun)


def _noun(match: re.Match[str]) -> str:
    found = _NOUN.match(match.string, match.end())
    return found.group("noun").casefold() if found else ""


def _values(digits: str) -> list[Decimal]:
    """Every number that the digits can mean: "1,000" a thousand or one, "4.2" four point two, "4.2.1" none."""
    bare = re.sub(r"['’\u00a0\u202f ]", "", digits).replace("·", ".")
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


# What may read a stretch, the surest first, and whether it needs a digit somewhere.
_READERS_IN_ORDER: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Quantity | None], bool], ...] = (
    (_TIME, _time, False),
    (_DATE, _date, True),
    (_SHARE, _share, False),
    (_HALF, _half_unit, False),
    (_IDENTIFIER, _identifier, True),
    (_LETTERED, _lettered, False),
    (_A_UNIT, _a_unit, False),
    (_NUMBER, _number, True),
    (_TWICE, _twice, False),
    (_EVERY, _every, False),
    (_SPELLED, _spelled, False),
    (_ORDINAL_WORD, _ordinal, False),
    (_WEEKDAY, _weekday, False),
    (_BARE_MONTH, _bare_month, False),
)
