"""What of a file was read, counted: for the extraction, the page of the document and the state "ready with gaps"."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rag.backends.language import language_of
from rag.domain.types import Page, Reading

_LANGUAGE_PAGES = 40  # pages from all over the document that its language is told by


@dataclass(frozen=True, slots=True)
class Coverage:
    """Pages in all = with text + by OCR + blank + unread; `gaps` are pages of which something was not read."""

    pages_in_all: int
    pages_with_text: int
    pages_by_ocr: int
    pages_blank: int
    pages_unread: int
    gaps: int
    confidence: float  # mean over the pages read by OCR; 1 without any
    images: int
    characters: int
    language: str

    def fields(self) -> dict[str, Any]:
        """What an extraction keeps of it."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "gaps"}


def settled(pages: Sequence[Page]) -> tuple[Page, ...]:
    """The pages, those without a word that were said to have their own text marked as blank."""
    return tuple(
        replace(page, reading=Reading.BLANK) if page.reading is Reading.TEXT and not page.text.strip() else page
        for page in pages
    )


def covered(pages: Sequence[Page]) -> Coverage:
    """The coverage of settled pages."""
    counts = {reading: sum(1 for page in pages if page.reading is reading) for reading in Reading}
    recognised = [page.confidence for page in pages if page.reading is Reading.OCR]
    return Coverage(
        pages_in_all=len(pages),
        pages_with_text=counts[Reading.TEXT],
        pages_by_ocr=counts[Reading.OCR],
        pages_blank=counts[Reading.BLANK],
        pages_unread=counts[Reading.UNREAD],
        gaps=sum(1 for page in pages if page.reading is Reading.UNREAD or page.gap),
        confidence=sum(recognised) / len(recognised) if recognised else 1.0,
        images=sum(page.images for page in pages),
        characters=sum(len(page.text) for page in pages),
        language=language(pages),
    )


def language(pages: Sequence[Page]) -> str:
    """The language of most of the text, or "" where too little tells."""
    written = [page.text for page in pages if page.text.strip()]
    step = max(1, len(written) // _LANGUAGE_PAGES)
    return language_of("\n".join(written[::step]))
