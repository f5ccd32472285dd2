"""What comes from the sandbox's children, message by message, and the sentences for when one fails.

Nothing of it is trusted: whoever takes over a reader with a crafted file writes these messages.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import ClassVar

from rag.backends.parsers.base import Progress
from rag.backends.sandbox_messages import Message, TooMuch, read_bytes, read_page, read_picture
from rag.domain.errors import Permanent, Protected, RagError
from rag.domain.text import clean, one_line
from rag.domain.types import Attachment, Page, ParsedDocument, Reading

_log = logging.getLogger(__name__)
_MOST_ATTACHMENTS = 2_000  # files that one file may hold
ATTACHMENTS_LIMIT = 4 * 1024**3  # bytes of all of them
_MOST_PROPERTIES = 50
_MOST_WARNINGS = 100


class Garbled(Exception):
    """What the child wrote is not what a parser's child writes."""


class Answer:
    """What came from a child so far, and the sentences for when it fails."""

    doing: ClassVar[str] = "Reading this file"
    crashed: ClassVar[str] = "The program that reads this kind of file crashed on it, so the file was not read."
    nonsense: ClassVar[str] = "This file could not be read: it is damaged, or built in an unusual way."

    def __init__(self) -> None:
        self.done = False
        self.out_of_memory = False
        self.error: RagError | None = None

    def unreadable(self) -> Permanent:
        return Permanent(self.nonsense)

    def took_too_long(self, seconds: float) -> Permanent:
        return Permanent(f"{self.doing} took longer than {_duration(seconds)} and was stopped.")

    def take(self, message: Message) -> None:
        """Notes one message; raises Garbled for nonsense."""
        try:
            match message:
                case {"kind": "done"}:
                    self.done = True
                case {"kind": "memory"}:
                    self.out_of_memory = True
                case {"kind": "protected", "message": str(sentence)}:
                    self.error = Protected(one_line(sentence)[:300])
                case {"kind": "refused", "message": str(sentence)}:
                    self.error = Permanent(one_line(sentence)[:300])
                case {"kind": "crashed", "error": str(error), "where": str(where)}:
                    # Names of Python's own and places in code: no text of the document.
                    _log.warning("a parser failed with %s at %s", one_line(error)[:100], one_line(where)[:300])
                    self.error = self.unreadable()
                case _:
                    self.more(message)
        except (ValueError, KeyError, TypeError):
            raise Garbled from None

    def more(self, message: Message) -> None:
        """Notes a message of this kind of job; raises ValueError, KeyError or TypeError for nonsense."""
        raise ValueError("an unknown message")

    def tell(self) -> None:
        """Called when there is progress, and when nothing came for a while; may raise to stop the job."""


class Document(Answer):
    def __init__(self, progress: Progress, folder: Path | None) -> None:
        super().__init__()
        self.progress = progress
        self.folder = folder
        self.attachments: list[Attachment] = []
        self.unpacked = 0
        self.head: Message | None = None
        self.pages: list[Page] = []
        self.count: tuple[int, int | None] = (0, None)

    def more(self, message: Message) -> None:
        match message:
            case {"kind": "progress", "done": int(done), "total": (int() | None) as total}:
                self.count = (done, total)
            case {"kind": "attachment", "path": str(path)} if self.folder is not None:
                if len(self.attachments) >= _MOST_ATTACHMENTS:
                    raise TooMuch
                file = self.folder / f"{len(self.attachments):05d}"
                file.touch(mode=0o600)
                self.attachments.append(Attachment(clean(path)[:1000], file, 0))
            case {"kind": "bytes"} if self.attachments:
                self._write(read_bytes(message))
            case {"kind": "document", "title": str(), "parser": str(), "warnings": list(), "properties": dict()} if (
                self.head is None
            ):
                self.head = message
            case {"kind": "page"} if self.head is not None:
                self.pages.append(read_page(message))
            case _:
                raise ValueError("an unknown message")

    def _write(self, piece: bytes) -> None:
        """Appends to the attachment that came last."""
        last = self.attachments[-1]
        self.unpacked += len(piece)
        if self.unpacked > ATTACHMENTS_LIMIT:
            raise TooMuch
        with last.file.open("ab") as file:
            file.write(piece)
        self.attachments[-1] = replace(last, size=last.size + len(piece))

    def tell(self) -> None:
        self.progress(*self.count)

    def result(self) -> ParsedDocument:
        if self.head is None or len(self.pages) != self.head.get("pages"):
            raise self.unreadable()
        warnings = tuple(clean(str(warning))[:500] for warning in self.head["warnings"][:_MOST_WARNINGS])
        properties = {
            one_line(clean(str(key)))[:50]: one_line(clean(str(value)))[:500]
            for key, value in list(self.head["properties"].items())[:_MOST_PROPERTIES]
        }
        return ParsedDocument(
            clean(self.head["title"])[:500],
            tuple(self.pages),
            self.head["parser"][:50],
            warnings,
            properties,
            tuple(self.attachments),
        )


class Told:
    """Hands pages and progress to whoever asked, and remembers that he wanted no more."""

    def __init__(self, on_page: Callable[[Page], None], progress: Progress, total: int) -> None:
        self.on_page = on_page
        self.progress = progress
        self.total = total
        self.done = 0
        self.refused = False

    def page(self, page: Page) -> None:
        self.done += 1
        self._tell(lambda: self.on_page(page))

    def still_there(self) -> None:
        self._tell(lambda: self.progress(self.done, self.total))

    def _tell(self, call: Callable[[], None]) -> None:
        self.refused = True
        call()
        self.refused = False


class Recognition(Answer):
    """The pages that a child recognises: takes each off the front of `waiting` as it hands it on."""

    doing = "Recognising this page"
    crashed = "The program that recognises text crashed on this page."
    nonsense = "The text on this page could not be recognised."

    def __init__(self, waiting: list[int], seconds: float, told: Told) -> None:
        super().__init__()
        self.waiting = waiting
        self.seconds = seconds
        self.told = told
        self.started = False
        self.current: Page | None = None
        self.fresh: Page | None = None
        self.since = monotonic()

    def took_too_long(self, seconds: float) -> Permanent:
        return super().took_too_long(self.seconds)  # for a page, whatever the time for all of them

    def more(self, message: Message) -> None:
        page = read_page(message["page"])
        if not self.waiting or page.number != self.waiting[0]:
            raise ValueError("pages come in the order that was asked for")
        match message["kind"]:
            case "begun":
                self.started, self.current, self.since = True, page, monotonic()
            case "recognised" if self.current is not None:
                self.fresh = page
            case _:
                raise ValueError("an unknown message")

    def tell(self) -> None:
        if self.fresh is not None:
            page, self.fresh, self.current = self.fresh, None, None
            del self.waiting[0]
            self.told.page(page)
        elif monotonic() > self.since + self.seconds:
            raise self.took_too_long(self.seconds)
        self.told.still_there()


class Picture(Answer):
    def __init__(self) -> None:
        super().__init__()
        self.picture = b""

    def more(self, message: Message) -> None:
        self.picture = read_picture(message)

    def result(self) -> bytes:
        if not self.picture:
            raise self.unreadable()
        return self.picture


class Report(Answer):
    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, str] = {}

    def more(self, message: Message) -> None:
        self.limits = {str(key): str(value) for key, value in message["limits"].items()}


def unread_page(number: int, gap: str = "") -> Page:
    """The page, unread, without a size."""
    return Page(number, "", reading=Reading.UNREAD, confidence=0.0, gap=gap)


def _duration(seconds: float) -> str:
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:.0f} minutes"
    return "one second" if seconds == 1 else f"{math.ceil(seconds * 10) / 10:g} seconds"
