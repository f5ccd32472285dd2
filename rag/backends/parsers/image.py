"""Pictures: PNG, JPEG, TIFF with its pages, WebP, BMP, GIF. What is on them is read by recognition, a page for each frame."""

from pathlib import Path
from typing import ClassVar

from rag.backends.parsers.base import Parser, Work
from rag.backends.pictures import Frames, unread
from rag.domain.types import ParsedDocument

_MOST_PAGES = 20_000
_TRIAL = 64  # pixels
_HEADS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a"),
    *(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),  # TIFF, and its form for very large files
)


class ImageParser(Parser):
    name: ClassVar[str] = "image/1"
    media_types: ClassVar[frozenset[str]] = frozenset(
        {"image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "image/gif"}
    )
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif"}
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(_HEADS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with Frames(path) as frames:
            frames.draw(0, width=_TRIAL)  # raises where the picture is too large or cut off
            total = min(len(frames), _MOST_PAGES)
            pages = []
            for number in range(1, total + 1):
                pages.append(unread(frames, number))
                work.progress(number, total)
            created = frames.created()
            warnings = (f"Only the first {total:,} pages were read.",) if len(frames) > total else ()
        return ParsedDocument("", tuple(pages), self.name, warnings, {"created": created} if created else {})
