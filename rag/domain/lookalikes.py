"""Whether one document's name looks like a newer version of another's: "Sepsis 2026" of "Sepsis_v3_FINAL". Pure.

Precision comes first: a wrong "does this replace …?" teaches people to stop reading the right ones. So the names must be the same
but for marks of version, and a mark must differ; numbers that are not such marks ("Invoice 17") tell documents apart; what
appears every year or month (reports, minutes, invoices) never replaces its forerunner; a bare date proves nothing except for
kinds of documents that are in force until the next one comes (policies, guidelines, forms).

| mark | read as |
|---|---|
| v3, ver. 2.1, version 4, rev B, Fassung 2 | version |
| draft, final, signed, old, new, latest | stage |
| copy, Kopie, (2) | copy |
| 2026, 2026-05, 2026-05-31, 31.05.2026, May 2026 | date |
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from rag.domain.words import stem, word_set

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar jänner",
            "february feb februar",
            "march mar märz maerz",
            "april apr",
            "may mai",
            "june jun juni",
            "july jul juli",
            "august aug",
            "september sep sept",
            "october oct oktober okt",
            "november nov",
            "december dec dezember dez",
        ),
        start=1,
    )
    for name in names.split()
}
_STAGES = {
    name: rank
    for rank, names in (
        (-2, "old alt obsolete veraltet"),
        (-1, "draft entwurf wip preliminary vorläufig"),
        (1, "final endfassung finale definitiv approved freigegeben released"),
        (2, "signed unterschrieben new neu latest updated aktualisiert aktuell revised überarbeitet"),
    )
    for name in names.split()
}
_DRAFTS = word_set("draft entwurf")
_COPIES = word_set("copy kopie copie duplicate duplikat")
# What comes out again and again, each issue beside the last; and agreements, of which many are in force at once.
_SERIES = word_set(
    "report bericht jahresbericht quartalsbericht minutes protokoll sitzungsprotokoll invoice rechnung bill "
    "receipt quittung beleg budget haushalt statement abrechnung kontoauszug bilanz accounts balance newsletter "
    "rundbrief agenda tagesordnung payslip gehaltsabrechnung payroll timesheet stundenzettel rota dienstplan "
    "calendar kalender tax steuererklärung steuerbescheid review forecast results ergebnisse survey umfrage "
    "audit inventory inventar contract vertrag agreement vereinbarung lease mietvertrag order bestellung offer "
    "angebot quote letter brief memo mail email log diary tagebuch note notizen scan photo foto image bild "
    "screenshot presentation slides meeting exam klausur annual quarterly monthly weekly daily"
)
# What is in force until the next one comes.
_GOVERNING = word_set(
    "policy richtlinie leitlinie guideline guidance guide leitfaden procedure verfahren verfahrensanweisung sop "
    "manual handbook handbuch anweisung arbeitsanweisung dienstanweisung instruction terms conditions agb "
    "satzung ordnung hausordnung statute standard checklist checkliste form formular template vorlage muster "
    "rules regeln regulation regulations verordnung hygieneplan notfallplan formulary specification "
    "spezifikation"
)
# Names that say nothing: only a version mark makes two of them one document.
_GENERIC = word_set(
    "document dokument untitled unbenannt file datei text page seite img dsc scan image picture bild foto photo"
)
# A number in brackets after these is not a copy's.
_PARTS = word_set(
    "annex anlage part teil appendix anhang section abschnitt chapter kapitel attachment exhibit schedule volume band"
)

_DAY = re.compile(
    r"(?<!\d)(?:(?P<y>(?:19|20)\d\d)[-_.]?(?P<m>0[1-9]|1[0-2])[-_.]?(?P<d>0[1-9]|[12]\d|3[01])"
    r"|(?P<d2>0?[1-9]|[12]\d|3[01])[._-](?P<m2>0?[1-9]|1[0-2])[._-](?P<y2>(?:19|20)\d\d))(?!\d)"
)
_MONTH = re.compile(r"(?<!\d)(?P<y>(?:19|20)\d\d)[-_.](?P<m>0[1-9]|1[0-2])(?!\d)")
_VERSION = re.compile(
    r"(?<![^\W_])(?:version|fassung|revision|ver|rev|v)[\s._-]*(\d{1,3}(?:[._]\d{1,3}){0,2}|[a-h](?![^\W_]))(?!\d)"
)
_NUMBERED_COPY = re.compile(r"\((\d{1,2})\)")
_COPY_OF = re.compile(r"\s*(?:copy of|kopie von)\b")
_WORD = re.compile(r"[^\W_]+")
_YEAR = re.compile(r"(?:19|20)\d\d")


class Order(Enum):
    """Which of two names is of the newer version, as far as the names say."""

    FIRST = "first"
    SECOND = "second"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Name:
    """A name taken apart: its words without marks, and the marks."""

    words: frozenset[str]  # stems
    plain: frozenset[str]  # as written, lower case
    version: tuple[int, ...] = ()
    day: tuple[int, ...] = ()  # year, month, day as far as named
    stage: int | None = None
    copy: int = 0

    @property
    def marks(self) -> tuple[object, ...]:
        return self.version, self.day, self.stage, self.copy


def read(name: str) -> Name:
    """The name taken apart; a file's suffix should be gone already."""
    text = unicodedata.normalize("NFC", name).casefold()
    text, day = _cut_day(text)
    version: tuple[int, ...] = ()
    if match := _VERSION.search(text):
        version, text = _numbers(match[1]), _less(text, match)
    copy = 0
    if (match := _NUMBERED_COPY.search(text)) and not _PARTS & set(_WORD.findall(text)):
        copy, text = int(match[1]), _less(text, match)
    if match := _COPY_OF.match(text):
        copy, text = copy or 1, _less(text, match)
    words, stage, year, copies = _cut_marks(_WORD.findall(text))
    return Name(frozenset(map(stem, words)), frozenset(words), version, day or year, stage, copy or copies)


def _cut_marks(words: list[str]) -> tuple[list[str], int | None, tuple[int, ...], int]:
    """The words without the marks among them: stage, year (and month), copy.

    But for "draft" and a year they count at the end alone: a "final exam" and the "new starters" are no versions of anything.
    """
    stage: int | None = None
    day: tuple[int, ...] = ()
    copy = 0
    if words and words[0] in _DRAFTS:
        stage = _STAGES[words.pop(0)]
    while words and (_YEAR.fullmatch(words[-1]) or words[-1] in _STAGES or words[-1] in _COPIES):
        word = words.pop()
        if word in _STAGES:
            stage = max(stage if stage is not None else -9, _STAGES[word])
        elif word in _COPIES:
            copy = 1
        elif not day:
            month = (MONTHS[words.pop()],) if words and words[-1] in MONTHS else ()
            day = (int(word), *month)
    if not day and (years := [word for word in words if _YEAR.fullmatch(word)]):
        day = (int(years[-1]),)
        words.remove(years[-1])
    return words, stage, day, copy


def _cut_day(text: str) -> tuple[str, tuple[int, ...]]:
    """The text without the date in it, and the date: year, month, day, or year and month, or nothing."""
    if match := _DAY.search(text):
        found = (match["y"] or match["y2"], match["m"] or match["m2"], match["d"] or match["d2"])
        return _less(text, match), tuple(int(part) for part in found)
    if match := _MONTH.search(text):
        return _less(text, match), (int(match["y"]), int(match["m"]))
    return text, ()


def _less(text: str, match: re.Match[str]) -> str:
    return f"{text[: match.start()]} {text[match.end() :]}"


def _numbers(text: str) -> tuple[int, ...]:
    parts = [int(part) if part.isdigit() else ord(part) - ord("a") + 1 for part in re.split(r"[._-]", text)]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def alike(first: Name, second: Name) -> bool:
    """Whether the two are likely versions of one document. Never for two names that differ in nothing."""
    if first.words != second.words or first.marks == second.marks:
        return False
    words = first.plain | second.plain
    if not any(len(word) > 2 and not word.isdigit() for word in words):
        return False
    by_version = bool(first.version and second.version and first.version != second.version)
    if words <= _GENERIC:
        return by_version
    series, governing = _speaks_of(words, _SERIES), _speaks_of(words, _GOVERNING)
    if first.day != second.day and first.day and second.day:
        # Two dates: issues of a series, unless the kind of document or a version says otherwise.
        precise = len(first.day) > 1 or len(second.day) > 1
        return by_version or governing or not (series or precise)
    if (first.day or second.day) and first.day != second.day and series:
        return by_version or governing
    return True


def _speaks_of(words: frozenset[str], kinds: frozenset[str]) -> bool:
    """Whether one of the words is such a kind, its plural, or a compound that ends in it (Dienstanweisung)."""
    long = tuple(kind for kind in kinds if len(kind) > 6)
    return any(word in kinds or word.removesuffix("s") in kinds or word.endswith(long) for word in words)


def newer(first: Name, second: Name) -> Order:
    """Which one replaces the other, by date, then version, then stage; unknown where the names name different marks."""
    for one, other in ((first.day, second.day), (first.version, second.version)):
        if one and other and one != other:
            return Order.FIRST if one > other else Order.SECOND
    if first.stage is not None or second.stage is not None:
        one_stage, other_stage = first.stage or 0, second.stage or 0
        comparable = (first.day, first.version) == (second.day, second.version)
        if comparable and one_stage != other_stage:
            return Order.FIRST if one_stage > other_stage else Order.SECOND
    return Order.UNKNOWN
