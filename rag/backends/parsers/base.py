"""What a parser is: a function from a file to its pages. One file per format, found by scanning this folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from rag.domain.types import ParsedDocument

# Called with (pages done, pages in all); the total is None while it is not known.
Progress = Callable[[int, int | None], None]


def _no_progress(done: int, total: int | None) -> None:
    """Nobody wants to know."""


def _not_kept(path: str, content: IO[bytes]) -> None:
    """Nobody takes attachments."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a parser is given beside the file: whom to tell how far it is, whom to hand attachments, a password.

    `attach(path, content)` takes a file inside the file: its relative path as the container names it, and a stream that
    is read to its end at once. It raises `Permanent` when there are too many or they are too large; let that pass.
    """

    progress: Progress = _no_progress
    attach: Callable[[str, IO[bytes]], None] = _not_kept
    password: str = ""


class Parser(ABC):
    """Reads one family of media types, holding no state, in a limited child process without network.

    A parser imports its library when it parses, so that finding the parsers is cheap. It reads `path` and nothing else,
    writes no file, follows no link, resolves no entity, and measures what it unpacks before it does. Its text is clean
    (`rag.domain.text`), and its offsets count in that text.

    What it could not read it says: a page with `gap`, UNREAD where its content is missing; a sentence in `warnings` for
    what the user should know and cannot see on a page; `Permanent` when there is nothing to show at all. A file that
    holds other files and no text of its own is read well with no page at all.
    """

    name: ClassVar[str]  # provenance, "pdf/1": raise the number when the same bytes would give other text
    media_types: ClassVar[frozenset[str]]
    suffixes: ClassVar[frozenset[str]]  # lower case, with the dot
    converts_to: ClassVar[str] = ""  # a suffix: `rag.backends.convert.readable` makes such a file of it first

    @classmethod
    @abstractmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a file that starts with `head` (its first 4,096 bytes or fewer) can be of this kind."""

    @abstractmethod
    def parse(self, path: Path, work: Work) -> ParsedDocument:
        """The whole document; raises `Permanent` with a sentence for the user when it cannot be read, and `Protected`
        when it needs a password, or another one than `work.password`.
        """
