"""Markdown: its text as a reader sees it, with headings, lists, tables and code; markup and addresses left out."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._kinds import is_text, kind_of
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.html import visible_blocks
from rag.backends.parsers.text import decode, read_limited
from rag.domain.errors import Permanent
from rag.domain.text import clean, one_line, sensible_title
from rag.domain.types import ParsedDocument

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(---|\.\.\.)[ \t]*(\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"(?mi)^title:[ \t]*(['\"]?)(.{1,300}?)\1[ \t]*$")


class MarkdownParser(Parser):
    name: ClassVar[str] = "markdown/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"text/markdown"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".md", ".markdown"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) in ("", "a web page") and is_text(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        source = clean(decode(read_limited(path)))
        front = _FRONT_MATTER.match(source)
        title = _TITLE.search(front.group(1) or "") if front else None
        if front:
            source = source[front.end() :]
        writer = Writer()
        write_markdown(writer, source)
        page = writer.page()
        if not page.text:
            raise Permanent("This file holds no text.")
        work.progress(1, 1)
        given = sensible_title(title.group(2)) if title else ""
        return ParsedDocument(given or sensible_title(writer.first_heading), (page,), self.name)


def write_markdown(writer: Writer, source: str) -> None:
    """Writes a piece of Markdown as its reader sees it."""
    from markdown_it import MarkdownIt

    _Rendering(writer).run(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source))


class _Rendering:
    """Walks the flat list of tokens once."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.lists: list[int | None] = []  # the next number of each open list, None for bullets
        self.marker = ""  # of the item whose first text has not come yet
        self.heading = 0
        self.row: list[str] | None = None
        self.rows: list[str] = []

    def run(self, tokens: Sequence[Any]) -> None:
        for token in tokens:
            handler = getattr(self, f"_{token.type}", None)
            if handler is not None:
                handler(token)

    def _heading_open(self, token: Any) -> None:
        self.heading = int(token.tag[1])

    def _heading_close(self, _: Any) -> None:
        self.heading = 0

    def _bullet_list_open(self, _: Any) -> None:
        self.lists.append(None)

    def _ordered_list_open(self, token: Any) -> None:
        self.lists.append(int(token.attrGet("start") or 1))

    def _bullet_list_close(self, _: Any) -> None:
        self.lists.pop()

    _ordered_list_close = _bullet_list_close

    def _list_item_open(self, _: Any) -> None:
        number = self.lists[-1]
        self.marker = "- " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1

    def _list_item_close(self, _: Any) -> None:
        self.marker = ""

    def _table_open(self, _: Any) -> None:
        self.rows = []

    def _tr_open(self, _: Any) -> None:
        self.row = []

    def _tr_close(self, _: Any) -> None:
        self.rows.append(" | ".join(self.row or ()))
        self.row = None

    def _table_close(self, _: Any) -> None:
        self.writer.block("\n".join(self.rows))

    def _inline(self, token: Any) -> None:
        text = _inline_text(token.children or ())
        if self.row is not None:
            self.row.append(one_line(text))
        elif self.heading and not self.lists:
            self.writer.heading(text, self.heading)
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        if not self.lists:
            self.writer.block(text)
            return
        indent = "  " * (len(self.lists) - 1)
        hanging = "\n" + indent + "  "
        self.writer.item(indent + (self.marker or "  ") + text.strip("\n").replace("\n", hanging))
        self.marker = ""

    def _code_block(self, token: Any) -> None:
        self._write(token.content)

    _fence = _code_block

    def _html_block(self, token: Any) -> None:
        for text in visible_blocks(token.content):
            self._write(text)


def _inline_text(tokens: Sequence[Any]) -> str:
    pieces = []
    for token in tokens:
        match token.type:
            case "text" | "code_inline":
                pieces.append(token.content)
            case "softbreak" | "hardbreak":
                pieces.append("\n")
            case "image":
                pieces.append(_inline_text(token.children or ()))
    return "".join(pieces)
