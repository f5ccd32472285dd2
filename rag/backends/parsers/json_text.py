"""JSON as "key: value" lines, one record a block, and notebooks as the text, code and results that they show."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._kinds import is_text, kind_of
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.markdown import write_markdown
from rag.backends.parsers.text import decode, read_limited
from rag.domain.errors import Permanent
from rag.domain.text import clean, one_line, sensible_title
from rag.domain.types import ParsedDocument

_DAMAGED = "This JSON file is damaged and cannot be read."
_NESTED = "This JSON file is nested too deep to be read."
_DEEPEST_INDENT = 8
_BLOCKS_TO = 2  # levels on which every object of a list is a block of its own
_SHORT = 100  # characters of a list that is written in one line
_LONGEST_OUTPUT = 2_000  # characters of one result of a notebook


class JsonParser(Parser):
    name: ClassVar[str] = "json/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/json"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".json", ".jsonl", ".ndjson"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) == "" and is_text(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        text = decode(read_limited(path))
        try:
            lines = "\n".join(_records(text) if path.suffix.lower() != ".json" else _lines(_loaded(text), 0))
        except RecursionError:
            raise Permanent(_NESTED) from None
        writer = Writer()
        for block in clean(lines).split("\n\n"):
            writer.block(block)
        page = writer.page()
        if not page.text:
            raise Permanent("This file holds no text.")
        work.progress(1, 1)
        return ParsedDocument("", (page,), self.name)


class NotebookParser(Parser):
    name: ClassVar[str] = "notebook/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/x-ipynb+json"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".ipynb"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) == "" and is_text(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        try:
            book = _loaded(decode(read_limited(path)))
        except RecursionError:
            raise Permanent(_NESTED) from None
        cells = book.get("cells") if isinstance(book, dict) else None
        if not isinstance(cells, list):
            raise Permanent("This file is not a notebook.")
        writer = Writer()
        for cell in cells:
            if isinstance(cell, dict):
                _write_cell(writer, cell)
        page = writer.page()
        if not page.text:
            raise Permanent("This notebook holds no text.")
        work.progress(1, 1)
        about = book.get("metadata")
        given = about.get("title") if isinstance(about, dict) else ""
        title = sensible_title(given) if isinstance(given, str) else ""
        return ParsedDocument(title or sensible_title(writer.first_heading), (page,), self.name)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Permanent(_DAMAGED) from None


def _records(text: str) -> Iterator[str]:
    """One value a line; what is none is kept as it stands."""
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            yield from _lines(json.loads(line), 0)
        except ValueError:
            yield one_line(line)
        yield ""


def _lines(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * min(depth, _DEEPEST_INDENT)
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(inner, dict | list):
                yield f"{indent}{one_line(key)}: {_scalar(inner)}"
            elif (short := _short(inner)) is not None:
                yield f"{indent}{one_line(key)}: {short}"
            else:
                yield f"{indent}{one_line(key)}:"
                yield from _lines(inner, depth + 1)
                if depth < _BLOCKS_TO:
                    yield ""
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                yield from _lines(inner, depth)
                if depth < _BLOCKS_TO:
                    yield ""
            else:
                yield f"{indent}- {_scalar(inner)}"
    else:
        yield _scalar(value)


def _short(value: Any) -> str | None:
    """A list of a few plain values in one line, or None."""
    if not isinstance(value, list) or len(value) > _SHORT or any(isinstance(inner, dict | list) for inner in value):
        return None
    text = ", ".join(_scalar(inner) for inner in value)
    return text if len(text) <= _SHORT and "\n" not in text else None


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.strip("\n") if isinstance(value, str) else str(value)


def _write_cell(writer: Writer, cell: dict[str, Any]) -> None:
    source = _joined(cell.get("source"))
    if cell.get("cell_type") == "markdown":
        write_markdown(writer, clean(source))
        return
    writer.block(source)
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            data = output.get("data")
            shown = data.get("text/plain") if isinstance(data, dict) else output.get("text")
            text = _joined(shown)
            writer.block(text if len(text) <= _LONGEST_OUTPUT else f"{text[:_LONGEST_OUTPUT]} …")


def _joined(source: Any) -> str:
    """Text that may come as a list of lines."""
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
