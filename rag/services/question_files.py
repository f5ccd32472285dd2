"""Questions with their right places, read from a file: CSV, or one JSON object a line.

CSV: columns "question", "document" and "quote" in any order. JSON lines: the question as "text", as the BEIR sets have it, or
"question"; its places as "document" and "quote", or several as "relevant". A question may stand in several lines.

A question that nothing in the documents answers has no place: a column "answerable" says "no", or `"answerable": false`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from rag.domain.errors import Permanent
from rag.domain.text import one_line
from rag.services import field_csv

ROWS_MOST = 10_000

_COLUMNS = {
    "question": ("question", "query", "text", "frage"),
    "document": ("document", "path", "file", "title", "dokument"),
    "quote": ("quote", "quoted words", "words", "passage", "zitat"),
    "answerable": ("answerable", "answered", "beantwortbar"),
}
_NO = frozenset({"no", "false", "0", "n", "nein", "falsch"})


@dataclass(frozen=True, slots=True)
class Row:
    """A question and one of its places: a document by path or title, and the words in it, "" for all of it.

    One that is not `answerable` has neither.
    """

    line: int
    question: str
    document: str
    quote: str
    answerable: bool = True


Wrong = tuple[int, str]  # a line and what is wrong with it


def read(text: str) -> tuple[list[Row], list[Wrong]]:
    """The rows of a file, and a sentence for each line that is none. Raises Permanent when it holds nothing of the kind."""
    if not text.strip():
        raise Permanent(_("This file is empty."))
    rows: list[Row] = []
    wrong: list[Wrong] = []
    lines = _from_json(text) if text.lstrip().startswith("{") else _from_csv(text)
    for count, (line, found) in enumerate(lines):
        if count >= ROWS_MOST:
            raise Permanent(_("This file has more than %(most)d lines.") % {"most": ROWS_MOST})
        if isinstance(found, str):
            wrong.append((line, found))
        else:
            rows += found
    return rows, wrong


def _from_csv(text: str) -> Iterator[tuple[int, list[Row] | str]]:
    lines = field_csv.rows_of(text)
    _line, header = next(lines)
    columns = _columns(header)
    for line, cells in lines:
        if len(cells) > len(header):
            sentence = _("This line has %(count)d cells, the first line %(expected)d.")
            yield line, sentence % {"count": len(cells), "expected": len(header)}
            continue
        given = {name: cells[at] if at < len(cells) else "" for name, at in columns.items()}
        place = given.get("document", ""), given.get("quote", "")
        answerable = given.get("answerable", "").strip().casefold() not in _NO
        yield line, _row(line, given.get("question", ""), [place], answerable=answerable)


def _columns(header: Sequence[str]) -> dict[str, int]:
    names = [cell.casefold() for cell in header]
    found = {
        column: names.index(name) for column, known in reversed(_COLUMNS.items()) for name in known if name in names
    }
    if "question" not in found or "document" not in found:
        raise Permanent(_("The first line has to name the columns: question, document, quote."))
    return found


def _from_json(text: str) -> Iterator[tuple[int, list[Row] | str]]:
    # Not splitlines(): a JSON string may hold line separators of its own.
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            given = json.loads(written)
        except ValueError:
            yield line, _("This line is no JSON object.")
            continue
        yield line, _of_object(line, given)


def _of_object(line: int, given: Any) -> list[Row] | str:
    if not isinstance(given, dict):
        return _("This line is no JSON object.")
    question = given.get("question", given.get("query", given.get("text", "")))
    relevant = given.get("relevant", given.get("documents"))
    if relevant is None:
        relevant = [given]
    if not isinstance(relevant, list):
        return _("“relevant” has to be a list of documents.")
    places = [_place(each) for each in relevant]
    if not isinstance(question, str) or any(place is None for place in places):
        return _("Question, document and quote have to be text.")
    answerable = given.get("answerable", True)
    if not isinstance(answerable, bool):
        return _("“answerable” has to be true or false.")
    return _row(line, question, [place for place in places if place is not None], answerable=answerable)


def _place(given: Any) -> tuple[str, str] | None:
    if isinstance(given, str):
        return given, ""
    if not isinstance(given, dict):
        return None
    document, quote = given.get("document", given.get("path", "")), given.get("quote") or ""
    return (document, quote) if isinstance(document, str) and isinstance(quote, str) else None


def _row(line: int, question: str, places: Sequence[tuple[str, str]], *, answerable: bool) -> list[Row] | str:
    asked = one_line(question)
    if not asked:
        return _("There is no question in this line.")
    if not answerable:
        if any(document.strip() or quote.strip() for document, quote in places):
            return _("This line names a document, and says that nothing answers the question.")
        return [Row(line, asked, "", "", answerable=False)]
    if not places or not all(document.strip() for document, _quote in places):
        return _("This line does not say which document answers the question.")
    return [Row(line, asked, document.strip(), quote.strip()) for document, quote in places]
