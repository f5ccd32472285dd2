"""Sentences beside the passages that they cite, with what is true of each: made by rule from the sample documents, by hand, and from
SciFact's labelled claims where that data set lies beside the checkout.

Why two halves, by document: thresholds are looked for on the one, and the other is only ever counted.
"""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from random import Random

from rag.domain.numerals import NUMERAL
from rag.domain.proper_names import names
from rag.domain.quantities import Kind, Quantity, quantities
from rag.domain.sentences import sentences

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "rag" / "samples" / "sources"
SCIFACT = ROOT.parent / "shared" / "data" / "scifact"
BY_HAND = Path(__file__).with_name("checking_pairs.txt")

TRUE = frozenset({"verbatim", "paraphrase", "joined", "formats", "units"})
FACTS = frozenset(
    {"number", "number elsewhere", "date", "date elsewhere", "swapped"}
)  # none of these may pass as supported
_PASSAGE = 900  # characters at which a passage is closed


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence, the passage that it cites, what was done to it, and where it comes from."""

    kind: str
    sentence: str
    passage: str
    origin: str
    held_out: bool

    @property
    def true(self) -> bool:
        return self.kind in TRUE


def pairs() -> list[Pair]:
    """Those of this repository alone: always the same."""
    return [*by_hand(), *by_rule()]


def by_hand() -> list[Pair]:
    """The written ones; every second block is held out."""
    found = []
    text = "\n".join(line for line in BY_HAND.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for number, block in enumerate(text.split("\n== ")[1:]):
        head, _, lines = block.partition("\n--\n")
        name, _, passage = head.partition("\n")
        for line in lines.strip().splitlines():
            kind, _, sentence = line.partition(": ")
            found.append(Pair(kind, sentence, " ".join(passage.split()), f"hand/{name}", bool(number % 2)))
    return found


def by_rule() -> list[Pair]:
    """From each sentence of the sample documents those changes that fit it; every second document is held out."""
    found = []
    passages = {path.name.removesuffix(".md"): _passages(path) for path in sorted(SAMPLES.glob("*.md"))}
    everything = [passage for each in passages.values() for passage in each]
    for number, (name, own) in enumerate(passages.items()):
        random = Random(name)
        others = [passage for passage in everything if passage not in own]
        for passage in own:
            found += [
                Pair(kind, sentence, passage, name, bool(number % 2))
                for kind, sentence in _changed(passage, own, others, random)
                if sentence
            ]
    return found


def scifact() -> list[Pair]:
    """The claims that an abstract supports or contradicts, as its authors labelled them; those with an even number are held out.

    Kinds: "claim" (true) and "contradicted claim", and of the true ones with another number: "claim, number".
    """
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = {row["_id"]: row["text"] for row in map(json.loads, file)}
    found = []
    with gzip.open(SCIFACT / "dev" / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            held_out = int(row["_id"]) % 2 == 0
            for document, label in row["label"].items():
                kind = "claim" if label == "SUPPORT" else "contradicted claim"
                found.append(Pair(kind, row["text"], texts[document], f"scifact/{row['_id']}", held_out))
                if label == "SUPPORT":
                    random = Random(row["_id"])
                    changed = _other_number(row["text"], texts[document], random)
                    if changed:
                        found.append(Pair("claim, number", changed, texts[document], f"scifact/{row['_id']}", held_out))
    return found


# --- The sample documents


def _passages(path: Path) -> list[str]:
    """The document's text without its heading and marks of layout, in stretches of whole paragraphs."""
    body = path.read_text(encoding="utf-8").split("---\n", 2)[-1]
    body = re.sub(r"\*\*|\\$", "", body, flags=re.MULTILINE)
    body = re.sub(r"^#+ ", "", body, flags=re.MULTILINE)
    body = re.sub(r"^\|[\s:|-]+\|$\n", "", body, flags=re.MULTILINE)
    found: list[str] = []
    for paragraph in re.split(r"\n\n+", body):
        if found and len(found[-1]) + len(paragraph) < _PASSAGE:
            found[-1] += "\n\n" + paragraph
        else:
            found.append(paragraph)
    return [passage.strip() for passage in found if len(passage) > 80]


def _changed(passage: str, own: list[str], others: list[str], random: Random) -> Iterator[tuple[str, str]]:
    whole = [passage[start:end] for start, end in sentences(passage)]
    plain = [text for text in whole if _is_sentence(text)]
    # Of everything a few: a document of many numbers is not to drown the others.
    for text in random.sample(plain, min(3, len(plain))):
        yield "verbatim", text
    for one, other in islice(pairwise(plain), 2):
        yield "joined", _joined(one, other)
    for text in plain:
        yield "paraphrase", _reworded(text, random)
        yield "formats", _written_otherwise(text)
        yield "units", _converted(text)
        yield "number", _other_number(text, passage, random)
        yield "number elsewhere", _number_from(text, passage, whole, random)
        yield "date", _other_date(text, passage, random)
        yield "date elsewhere", _date_from(text, passage, random)
        yield "unit", _other_unit(text, passage)
        yield "name", _other_name(text, passage, others, random)
        yield "negation", _negated(text)
        yield "modality", _other_mode(text)
    yield "unrelated", _elsewhere(passage, others, random)


def _is_sentence(text: str) -> bool:
    words = text.split()
    return 7 <= len(words) <= 45 and text[-1] in ".!" and "|" not in text and words[0][:1].isupper()


def _joined(one: str, other: str) -> str:
    first = other.split()[0]
    rest = (
        other[0].lower() + other[1:] if first in {"The", "A", "It", "If", "This", "They", "We", "In", "On"} else other
    )
    return f"{one.rstrip('.!')}, and {rest}"


_WORDS = {
    r"\bshall\b(?! not)": "must",
    r"\bwithin\b": "in no more than",
    r"\btelephone\b": "phone",
    r"\bbegins\b": "starts",
    r"\bbefore\b": "prior to",
    r"\bfor example\b": "for instance",
    r"\breceive\b": "get",
    r"\bkeep\b": "retain",
    r"\btell\b": "inform",
    r"\bas soon as possible\b": "without delay",
    r"\bin writing\b": "by letter",
    r"\bunless\b": "except if",
    r"\bmay not\b": "must not",
    r"\bat least\b": "no less than",
    r"\bup to\b": "at most",
    r"\bpart\b": "portion",
    r"\bhelp\b": "assist",
    r"\bask\b": "request",
    r"\bbig\b": "large",
    r"\bsend\b": "forward",
    r"\bend\b": "close",
}


def _reworded(text: str, random: Random) -> str:
    """With up to two other words for the same, and the second part of a list of two first where there is one."""
    changed = text
    fitting = [pattern for pattern in _WORDS if re.search(pattern, text)]
    for pattern in random.sample(fitting, min(2, len(fitting))):
        changed = re.sub(pattern, _WORDS[pattern], changed, count=1)
    turned = re.sub(
        r"^((?:On|In|After|From|If|Before|At) [^,]{5,60}), (.+)\.$",
        lambda m: f"{m[2][0].upper()}{m[2][1:]} {m[1][0].lower()}{m[1][1:]}.",
        changed,
    )
    return turned if turned != text else ""


_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def _written_otherwise(text: str) -> str:
    """Every value in another form of the same value."""
    changed = text
    for value in reversed(quantities(text)):
        own = text[value.start : value.end]
        changed = changed[: value.start] + _form(own, value) + changed[value.end :]
    return changed if changed != text else ""


def _form(own: str, value: Quantity) -> str:
    if value.kind is Kind.DATE:
        (reading, *more) = sorted(value.readings)
        year, month, day = reading.split("-")
        return f"{_MONTHS[int(month) - 1]} {day}, {year}" if year and day and not more else own
    if value.kind is not Kind.NUMBER or len(value.readings) > 2 or value.unit in {"§", "share", "times"}:
        return own
    if re.fullmatch(r"€[\d,.]+", own):
        return f"EUR {own[1:].replace(',', '')}"
    if re.match(r"\d+ per cent", own):
        return own.replace(" per cent", " %")
    if own[:2].strip().isdigit() and own.split()[0].isdigit() and int(own.split()[0]) <= 12:
        return own.replace(own.split()[0], _ONES[int(own.split()[0])], 1)
    first = own.split()[0].casefold()
    if first in _ONES[2:]:
        return own.replace(own.split()[0], str(_ONES.index(first)), 1)
    return own


_EXACT = {("week", "day"): 7, ("year", "month"): 12, ("hour", "minute"): 60, ("day", "hour"): 24}


def _converted(text: str) -> str:
    """A span of time in the next smaller unit."""
    for value in quantities(text):
        for (large, small), factor in _EXACT.items():
            if value.kind is Kind.NUMBER and value.unit == large and len(value.readings) == 1 and not value.noun:
                own = text[value.start : value.end]
                (reading,) = value.readings
                if reading.isdigit() and int(reading) * factor < 1000 and re.search(rf"{large}s?\Z", own):
                    return f"{text[: value.start]}{int(reading) * factor} {small}s{text[value.end :]}"
    return ""


def _other_number(text: str, passage: str, random: Random) -> str:
    """One number changed into one that the passage does not have."""
    there = quantities(passage)
    fitting = [value for value in quantities(text) if value.kind is Kind.NUMBER and value.unit != "share"]
    random.shuffle(fitting)
    for value in fitting:
        own = text[value.start : value.end]
        for _ in range(20):
            changed = _another(own, random)
            found = quantities(changed)
            if changed != own and found and not any(each.stands_in(there) for each in found):
                return text[: value.start] + changed + text[value.end :]
    return ""


def _another(own: str, random: Random) -> str:
    digits = [match for match in re.finditer(r"\d", own)]
    if digits:
        chosen = random.choice(digits)
        least = 1 if chosen.start() == digits[0].start() else 0
        digit = str(random.randint(least, 9))
        return own[: chosen.start()] + digit + own[chosen.end() :]
    match = re.match(rf"(?:{NUMERAL})\b", own, re.IGNORECASE)
    return random.choice(_ONES[2:]) + own[match.end() :] if match else own


def _number_from(text: str, passage: str, whole: list[str], random: Random) -> str:
    """One number changed into one that the passage gives for something else."""
    mine = [value for value in quantities(text) if value.kind is Kind.NUMBER and value.unit not in {"share", "§"}]
    others = [
        value
        for other in whole
        if other != text
        for value in quantities(other)
        if value.kind is Kind.NUMBER and value.unit not in {"share", "§"}
    ]
    random.shuffle(mine)
    random.shuffle(others)
    for value in mine:
        for other in others:
            digits, own = re.search(r"\d[\d,.]*", other.text), re.search(r"\d[\d,.]*", value.text)
            changed = ""
            if digits and own:
                changed = value.text.replace(own.group(), digits.group().rstrip(".,"), 1)
            elif other.unit == value.unit:
                changed = other.text
            new = quantities(changed)
            if changed and new and not new[0].stands_in(quantities(text)):
                return text[: value.start] + changed + text[value.end :]
    return ""


def _other_date(text: str, passage: str, random: Random) -> str:
    """The day, the month or the year of a date, or a time, changed into one that the passage does not have."""
    there = quantities(passage)
    for value in quantities(text):
        own = text[value.start : value.end]
        if value.kind not in (Kind.DATE, Kind.TIME, Kind.WEEKDAY):
            continue
        for _ in range(30):
            changed = own
            if value.kind is Kind.WEEKDAY:
                changed = random.choice(
                    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
                ) + ("s" if own.endswith("s") else "")
            elif value.kind is Kind.TIME and re.search(r"\d", own):
                changed = re.sub(r"\d+", lambda _: str(random.randint(6, 19)), own, count=1)
            elif random.random() < 0.5 and re.search(r"\b\d{1,2}\b", own):
                changed = re.sub(r"\b\d{1,2}\b", lambda _: str(random.randint(1, 28)), own, count=1)
            elif any(month in own for month in _MONTHS):
                changed = re.sub("|".join(_MONTHS), lambda _: random.choice(_MONTHS), own)
            new = quantities(changed)
            if changed != own and new and not any(each.stands_in(there) for each in new):
                return text[: value.start] + changed + text[value.end :]
    return ""


def _date_from(text: str, passage: str, random: Random) -> str:
    """A date or time changed into another one of the passage."""
    mine = [value for value in quantities(text) if value.kind in (Kind.DATE, Kind.TIME)]
    others = [value for value in quantities(passage) if value.kind in (Kind.DATE, Kind.TIME)]
    random.shuffle(others)
    for value in mine:
        for other in others:
            if other.kind is value.kind and not other.stands_in(quantities(text)):
                return text[: value.start] + other.text + text[value.end :]
    return ""


_UNITS = (
    (r"\bdays\b", "weeks"),
    (r"\bweeks\b", "months"),
    (r"\bmonths\b", "weeks"),
    (r"\byears\b", "months"),
    (r"\bhours\b", "days"),
    (r"\bminutes\b", "hours"),
    (r"€(?=\d)", "$"),
    (r"\bper cent\b", "euros"),
    (r"°C", "°F"),
    (r"\bmillilitres\b", "litres"),
)


def _other_unit(text: str, passage: str) -> str:
    for value in quantities(text):
        own = text[value.start : value.end]
        for pattern, other in _UNITS:
            changed = re.sub(pattern, other, own)
            new = quantities(changed)
            if changed != own and value.kind is Kind.NUMBER and new and not new[0].stands_in(quantities(passage)):
                return text[: value.start] + changed + text[value.end :]
    return ""


def _other_name(text: str, passage: str, others: list[str], random: Random) -> str:
    mine = [name for name in names(text) if name.sure and len(name.words) == 2 and name.text.replace(" ", "").isalpha()]
    strange = [
        name.text
        for other in random.sample(others, min(12, len(others)))
        for name in names(other)
        if name.sure
        and len(name.words) == 2
        and name.text.replace(" ", "").isalpha()
        and not set(name.words) & set(re.findall(r"\w+", passage.casefold()))
    ]
    if not mine or not strange:
        return ""
    name = mine[0]
    return text[: name.start] + random.choice(strange) + text[name.end :]


_NEGATED = (
    (r"\b(must|shall|may|can|should|will|does|do|is|are) not\b", r"\1"),
    (r"\bcannot\b", "can"),
    (r"\bnever\b", "always"),
    (r"\bunless\b", "if"),
    (r"\bwithout\b", "with"),
    (r"\b(must|shall|may|can|should|will|is|are|has|have)\b(?! not)", r"\1 not"),
)


def _negated(text: str) -> str:
    for pattern, other in _NEGATED:
        changed = re.sub(pattern, other, text, count=1)
        if changed != text:
            return changed
    return ""


_MODES = (
    (r"\bat least\b", "at most"),
    (r"\b[Nn]o more than\b", "at least"),
    (r"\b[Uu]p to\b", "at least"),
    (r"\b(?:must|shall)\b(?! not)", "may"),
    (r"\bmay\b(?! not| be)", "must"),
    (r"\bwithin\b", "after"),
    (r"\bbefore\b", "after"),
)


def _other_mode(text: str) -> str:
    for pattern, other in _MODES:
        changed = re.sub(pattern, other, text, count=1)
        if changed != text:
            return changed
    return ""


def _elsewhere(passage: str, others: list[str], random: Random) -> str:
    """A sentence of another document that shares hardly a word with the passage."""
    mine = set(re.findall(r"[a-z]{5,}", passage.casefold()))
    for other in random.sample(others, min(20, len(others))):
        for start, end in sentences(other):
            text = other[start:end]
            words = set(re.findall(r"[a-z]{5,}", text.casefold()))
            if _is_sentence(text) and len(words) > 4 and len(words & mine) <= len(words) * 0.2:
                return text
    return ""
