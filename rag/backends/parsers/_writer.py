"""Builds the text of a page block by block, so that offsets of headings are exact by construction."""

from rag.domain.text import one_line, tidy
from rag.domain.types import Heading, Page

_BLOCK = "\n\n"


class Writer:
    """Blocks apart by a blank line, each cleaned as it comes; empty ones are left out."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._headings: list[Heading] = []
        self._length = 0
        self._list_open = False

    def block(self, text: str) -> None:
        """A paragraph, a table or a piece of code; its own line ends are kept."""
        self._write(tidy(text), _BLOCK)
        self._list_open = False

    def item(self, text: str) -> None:
        """One item of a list, marker and indentation included: items that follow each other are one block."""
        self._write(tidy(text).replace(_BLOCK, "\n"), "\n" if self._list_open else _BLOCK)
        self._list_open = True

    def heading(self, text: str, level: int) -> None:
        """A heading on a line of its own; `level` 1 is the outermost."""
        line = one_line(text)
        if line:
            self._write(line, _BLOCK)
            self._headings.append(Heading(self._length - len(line), level, line))
            self._list_open = False

    def _write(self, text: str, separator: str) -> None:
        if not text.strip():
            return
        if self._blocks:
            self._blocks.append(separator)
            self._length += len(separator)
        self._blocks.append(text)
        self._length += len(text)

    @property
    def first_heading(self) -> str:
        """The first heading of level 1, or ""."""
        return next((heading.text for heading in self._headings if heading.level == 1), "")

    def page(self) -> Page:
        """What was written, as a page without a number."""
        return Page(None, "".join(self._blocks), tuple(self._headings))
