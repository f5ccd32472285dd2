"""Persons and organisations that a text names, as far as capitals and titles tell; English and German. Pure.

Why two strengths: two capitals in a row or a title ("Mira Tolland", "Dr. Wick", "Nordlicht GmbH") name somebody, while one
capital alone may be an emphasis or a defined term ("the Clinic"). In German every noun has a capital, so only titles, forms of
companies and first names beside family names count there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.domain.words import STOPWORDS, word_set

_TITLES = word_set("dr mr mrs ms miss prof professor sir lady judge herr herrn frau dipl ing")
_FORMS = word_set("gmbh ag kg ohg ltd limited inc llc llp plc corp corporation co se ev e.v. gbr ug kgaa sarl bv nv")
_GERMAN = word_set(
    "der die das und ist sind nicht ein eine einen dem den des wird werden muss müssen darf dürfen kann bei für "
    "mit von vom zum zur auf im am"
)
_ENGLISH = word_set("the and is are not a an of to in for with by from on at must may shall be has have was were")
_OPENERS = word_set(
    "however therefore according additionally furthermore moreover finally also only once yes no each both all any some most many "
    "either neither every please note under within upon during after before if when unless except although while since because whether "
    "per via "
    "staff employees patients section clause article answer source sources document documents passage overall thus hence here there "
    "monday tuesday wednesday thursday friday saturday sunday i"
)
_TOKEN = re.compile(r"[^\W\d_][\w'’]*(?:[-–][^\W\d_][\w'’]*)*|&|\n|[.!?:;,()\"“”„«»|*#•]")
_STARTS = frozenset('.!?:\n|*#•"“„«»(')


@dataclass(frozen=True, slots=True)
class Name:
    """A name at code points [start, end): its words folded, titles aside; `sure` that it is somebody's."""

    text: str
    start: int
    end: int
    words: tuple[str, ...]
    sure: bool


def names(text: str) -> list[Name]:
    """The names in `text`, in order."""
    german = _is_german(text)
    return [name for run in _runs(text) if (name := _name(run, text, german=german)) is not None]


def _runs(text: str) -> Iterator[list[re.Match[str]]]:
    """Words with a capital that stand side by side; the first word of a sentence only where it is no ordinary one."""
    run: list[re.Match[str]] = []
    opens = True
    for match in _TOKEN.finditer(text):
        written = match.group()
        if run and text[run[-1].end() : match.start()].strip(" .&"):
            yield run
            run = []
        if _may_be_name(written, opens=opens and not run):
            run.append(match)
        elif run and not (written == "&" or (written == "." and _is_short(run[-1].group()))):
            yield run
            run = []
        opens = written in _STARTS and not (written == "." and run)
    if run:
        yield run


def _may_be_name(written: str, *, opens: bool) -> bool:
    folded = written.casefold()
    if not written[0].isupper() or (folded in STOPWORDS and not written.isupper()):
        return False
    return not opens or folded not in STOPWORDS | _OPENERS


def _is_short(written: str) -> bool:
    return written.casefold() in _TITLES or len(written) == 1


def _is_german(text: str) -> bool:
    words = [word.casefold() for word in re.findall(r"[^\W\d_]+", text)]
    return sum(word in _GERMAN for word in words) > sum(word in _ENGLISH for word in words)


def _name(run: list[re.Match[str]], text: str, *, german: bool) -> Name | None:
    words = [match.group().casefold().removesuffix("'s").removesuffix("’s") for match in run]
    own = tuple(word for word in words if word not in _TITLES and word not in _FORMS and len(word) > 1)
    if not own:
        return None
    start, end = run[0].start(), run[-1].end()
    titlecase = sum(match.group()[1:].islower() and len(match.group()) > 2 for match in run)
    sure = words[0] in _TITLES or words[-1] in _FORMS or (not german and titlecase >= 2 and 2 <= len(own) <= 5)
    if not sure and (german or (len(own) == 1 and _opens_text(text, start))):
        return None
    return Name(text[start:end], start, end, own, sure)


def _opens_text(text: str, start: int) -> bool:
    before = text[:start].rstrip()
    return not before or before[-1] in _STARTS or bool(re.search(r"(?:^|\s)(?:\d+[.)]|[-–])\Z", before))
