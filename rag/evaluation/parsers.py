"""`manage.py evaluate parsers`: reads a folder of files as uploads are read, and beside it with other extractors.

Every file goes through the same limited processes as an upload. What is inside files (mails, archives) counts as theirs.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings

from rag.domain.errors import Protected, RagError
from rag.domain.types import ParsedDocument, Reading
from rag.evaluation import reading
from rag.evaluation.expectations import DAMAGED, PROTECTED, Expected, Likeness, letters, likeness

OURS = "footnote"
UNOPENED = "footnote, no password"  # protected files once more: without their password they must be named as protected
_DEPTH = 3  # files inside files inside files


class Outcome(StrEnum):
    READ = "read"
    PROTECTED = "protected"
    REFUSED = "refused"  # with a sentence
    BROKE = "broke"  # crashed, or ran over its time or memory


@dataclass(frozen=True, slots=True)
class Result:
    """What one extractor made of one file. `missing` are expected texts that it did not give."""

    extractor: str
    file: str
    folder: str
    outcome: Outcome
    seconds: float
    sentence: str = ""
    pages: int = 0
    recognised: int = 0  # pages read by OCR
    unread: int = 0
    characters: int = 0
    expected: int = 0
    missing: tuple[str, ...] = ()
    likeness: Likeness | None = None

    @property
    def found(self) -> int:
        return self.expected - len(self.missing)


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    pages: int
    recognised: int = 0
    unread: int = 0


Extractor = Callable[[Expected], _Text]


def evaluate(files: Iterable[Expected], *, others: Sequence[str] = ()) -> Iterator[Result]:
    """Reads each file, with our own parsers first and then with those of `others` that read its kind; results as they come."""
    for item in files:
        yield _judged(OURS, item, _ours)
        if item.password:
            yield _judged(UNOPENED, replace(item, password="", must_contain=()), _ours)
        for name in others:
            kinds, extractor = OTHERS[name]
            if item.file.suffix.lower() in kinds:
                yield _judged(name, item, extractor)


def _judged(name: str, item: Expected, extractor: Extractor) -> Result:
    """Whatever an extractor raises is its result."""
    started = time.monotonic()
    result = Result(name, item.file.name, item.folder, Outcome.READ, 0.0, expected=len(item.must_contain))
    text = ""
    try:
        read = extractor(item)
    except Protected as error:
        result = replace(result, outcome=Outcome.PROTECTED, sentence=error.message)
    except RagError as error:
        broke = "was stopped" in error.message or "crashed" in error.message
        result = replace(result, outcome=Outcome.BROKE if broke else Outcome.REFUSED, sentence=error.message)
    except Exception as error:
        # Another extractor's own way of saying no.
        result = replace(result, outcome=Outcome.REFUSED, sentence=type(error).__name__)
    else:
        text = read.text
        result = replace(
            result, pages=read.pages, recognised=read.recognised, unread=read.unread, characters=len(read.text)
        )
    whole = letters(text)
    return replace(
        result,
        seconds=time.monotonic() - started,
        missing=tuple(snippet for snippet in item.must_contain if letters(snippet) not in whole),
        likeness=likeness(item.reference.read_text(encoding="utf-8"), text) if item.reference else None,
    )


# --- Our own


def _ours(item: Expected) -> _Text:
    with tempfile.TemporaryDirectory(prefix="evaluate-", dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        document = _read(item.file, item.file.name, item.password, Path(folder))
        texts = [_text(document)]
        recognised = sum(page.reading is Reading.OCR for page in document.pages)
        unread = sum(page.reading is Reading.UNREAD for page in document.pages)
        texts += _inside(document, Path(folder), depth=1)
    return _Text("\n\n".join(texts), len(document.pages), recognised, unread)


def _read(file: Path, name: str, password: str, folder: Path) -> ParsedDocument:
    work = Path(tempfile.mkdtemp(dir=folder))
    return reading.read_file(file, name=name, folder=work, password=password)


def _text(document: ParsedDocument) -> str:
    return "\n\n".join((document.title, *(page.text for page in document.pages)))


def _inside(document: ParsedDocument, folder: Path, *, depth: int) -> list[str]:
    """The texts of what is inside the document; what cannot be read there is not the document's failure."""
    texts: list[str] = []
    for attachment in document.attachments if depth < _DEPTH else ():
        try:
            child = _read(attachment.file, Path(attachment.path).name, "", folder)
        except RagError:
            continue
        texts += [_text(child), *_inside(child, folder, depth=depth + 1)]
    return texts


# --- Others, where they are installed


def _pypdf(item: Expected) -> _Text:
    from pypdf import PdfReader

    reader = PdfReader(item.file)
    if reader.is_encrypted and not reader.decrypt(item.password):
        raise Protected("protected by a password")
    pages = [page.extract_text() for page in reader.pages]
    return _Text("\n\n".join(pages), len(pages))


def _markitdown(item: Expected) -> _Text:
    from markitdown import MarkItDown  # type: ignore[import-not-found]  # measured where somebody has installed it

    return _Text(str(MarkItDown(enable_plugins=False).convert_local(str(item.file)).text_content), 0)


_MARKITDOWN = frozenset({".pdf", ".docx", ".pptx", ".xlsx", ".xls", ".html", ".epub", ".msg", ".csv", ".zip", ".ipynb"})
OTHERS: dict[str, tuple[frozenset[str], Extractor]] = {
    "pypdf": (frozenset({".pdf"}), _pypdf),
    "markitdown": (_MARKITDOWN, _markitdown),
}


def installed() -> list[str]:
    """The other extractors that can be measured here."""
    return [name for name in OTHERS if find_spec(name) is not None]


# --- The report


@dataclass(frozen=True, slots=True)
class Row:
    """One folder as one extractor read it."""

    folder: str
    extractor: str
    files: int
    read: int
    protected: int
    refused: int
    broke: int
    found: int
    expected: int
    pages: int
    recognised: int
    unread: int
    seconds: float


def rows(results: Sequence[Result]) -> list[Row]:
    """The folders in order, each with our row first; a last group "all"."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.folder, result.extractor), []).append(result)
    for extractor in dict.fromkeys(result.extractor for result in results):
        groups["all", extractor] = [result for result in results if result.extractor == extractor]
    return [_row(folder, extractor, group) for (folder, extractor), group in groups.items()]


def _row(folder: str, extractor: str, group: Sequence[Result]) -> Row:
    outcomes = [result.outcome for result in group]
    return Row(
        folder,
        extractor,
        len(group),
        outcomes.count(Outcome.READ),
        outcomes.count(Outcome.PROTECTED),
        outcomes.count(Outcome.REFUSED),
        outcomes.count(Outcome.BROKE),
        sum(result.found for result in group),
        sum(result.expected for result in group),
        sum(result.pages for result in group),
        sum(result.recognised for result in group),
        sum(result.unread for result in group),
        sum(result.seconds for result in group),
    )


def likenesses(results: Sequence[Result]) -> dict[str, tuple[int, float, float, float, float]]:
    """For each extractor: how many whole texts, mean and lowest share of words, mean and lowest share of word pairs."""
    table: dict[str, tuple[int, float, float, float, float]] = {}
    for extractor in dict.fromkeys(result.extractor for result in results):
        known = [result.likeness for result in results if result.extractor == extractor and result.likeness]
        if known:
            read, order = [item.words for item in known], [item.order for item in known]
            table[extractor] = (len(known), sum(read) / len(read), min(read), sum(order) / len(order), min(order))
    return table


def complaints(results: Sequence[Result]) -> list[str]:
    """What our own parsers did wrong, a line each: expected texts not given, files that broke them, protection not named."""
    lines: list[str] = []
    for result in results:
        name = f"{result.folder}/{result.file}" if result.folder else result.file
        if result.extractor == UNOPENED and result.outcome is not Outcome.PROTECTED:
            lines.append(f"{name}: is not named as protected ({result.sentence or 'read without its password'})")
        if result.extractor != OURS:
            continue
        unread = (
            result.outcome is Outcome.REFUSED and result.folder not in (*DAMAGED, *PROTECTED) and not result.missing
        )
        if unread or result.outcome is Outcome.BROKE:
            lines.append(f"{name}: {result.sentence}")
        reason = result.sentence or (f"{result.unread} pages unread" if result.unread else "not in the text")
        lines += [f"{name}: {snippet!r} is missing ({reason})" for snippet in result.missing]
    return lines


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The results, for a file."""
    return [asdict(result) for result in results]
