"""What a parser is: a function from a file to its pages. One file per format, found by scanning this folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rag.domain.types import ParsedDocument

# Called with (pages done, pages in all); the total is None while it is not known.
Progress = Callable[[int, int | None], None]


class Parser(ABC):
    """Reads one family of media types, holding no state, in a limited child process without network."""

    name: ClassVar[str]  # provenance, "pdf/1": raise the number when the same bytes would give other text
    media_types: ClassVar[frozenset[str]]
    suffixes: ClassVar[frozenset[str]]  # lower case, with the dot

    @classmethod
    @abstractmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a file that starts with `head` (its first 4,096 bytes or fewer) can be of this kind."""

    @abstractmethod
    def parse(self, path: Path, progress: Progress) -> ParsedDocument:
        """The whole document; raises `Permanent` with a sentence for the user when it cannot be read."""
