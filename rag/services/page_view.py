"""A stored page for reading: its text in parts, the cited words marked, and for PDFs and images its picture."""

import hashlib
import math
import os
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext as _

from core.models import User
from core.sealing import unseal
from rag.access import answer_for
from rag.config import rag_config
from rag.domain import boxes
from rag.domain.places import Stretch
from rag.domain.types import Reading
from rag.models import Answer, Extraction, Page, Revision
from rag.slots import sandbox

PDF = "application/pdf"
PICTURE_WIDTH = 1400  # pixels: sharp at 700 CSS pixels on a screen of twice the density
PICTURE_SECONDS = 30
_Span = tuple[int, int]


def page(revision: Revision, *, page: int, stretch: Stretch | None, passage: str) -> dict[str, Any] | None:
    """What the viewer shows of page `page` (from 1), or None when there is no such page."""
    extraction = revision.extractions.order_by("-id").first()
    found = extraction.pages.filter(place=page - 1).first() if extraction is not None else None
    if extraction is None or found is None:
        return None
    total = extraction.pages.count()
    span = stretch.on(found.place, len(found.text)) if stretch is not None else None
    document = revision.document
    return {
        "document": document,
        "revision": revision.number,
        "page": page,
        "pages": total,
        "label": _label(found),
        "note": _note(found),
        "picture_url": reverse("page_picture", args=[document.pk, revision.number, page])
        if _is_drawn(revision, found)
        else None,
        "width": found.width,
        "height": found.height,
        "rectangles": boxes.merge_lines(boxes.boxes_between(boxes.unpack(bytes(found.boxes)), *span)) if span else [],
        "parts": _parts(found, span),
        "previous_url": _url(revision, page - 1, passage) if page > 1 else "",
        "next_url": _url(revision, page + 1, passage) if page < total else "",
        "passage": _passage(revision, stretch, page, passage) if stretch is not None else None,
        "download_url": reverse("original", args=[document.pk, revision.number]),
    }


def has_pictures(revision: Revision) -> bool:
    """Whether the pages of such a file can be drawn."""
    return revision.media_type == PDF or revision.media_type.startswith("image/")


def _is_drawn(revision: Revision, found: Page) -> bool:
    return has_pictures(revision) and found.number is not None and found.width > 0


def _note(found: Page) -> str:
    """How a page was read, where a reader should know: "" for the file's own text, whole."""
    sentences = []
    if found.reading == Reading.OCR:
        sure = _("This page was read from its picture, with %(percent)d %% confidence.")
        sentences.append(sure % {"percent": math.floor(100 * found.confidence)})
    elif found.reading == Reading.BLANK:
        sentences.append(_("Nothing is on this page."))
    elif found.reading == Reading.UNREAD:
        sentences.append(_("This page was not read, or not all of it."))
    return " ".join([*sentences, *([found.gap] if found.gap else [])])


def _label(found: Page) -> str:
    return labelled(found.label or (str(found.number) if found.number else ""))


def labelled(label: str) -> str:
    """A page's label in words, "page iv"; "" where it has none."""
    return _("page %(label)s") % {"label": label} if label else ""


def _url(revision: Revision, page: int, passage: str) -> str:
    target = reverse("page", args=[revision.document_id, revision.number, page])
    return f"{target}?passage={passage}" if passage else target


def _passage(revision: Revision, stretch: Stretch, page: int, passage: str) -> dict[str, str]:
    first = stretch.first.page + 1
    return {"first_url": "" if first == page else _url(revision, first, passage), "title": ""}


def _parts(found: Page, span: _Span | None) -> list[dict[str, Any]]:
    """The page's text cut at headings and at the marked words, in order; nothing is left out."""
    borders = {0, len(found.text)}
    headings: dict[int, tuple[int, int]] = {}
    for start, level, text in found.headings:
        end = min(start + len(text), len(found.text))
        headings[start] = (end, level)
        borders |= {start, end}
    if span is not None:
        borders |= set(span)
    places = sorted(borders)
    parts = []
    for start, end in pairwise(places):
        level = next((level for at, (stop, level) in headings.items() if at <= start and end <= stop), 0)
        marked = span is not None and span[0] <= start and end <= span[1]
        parts.append({"text": found.text[start:end], "mark": marked, "heading": level})
    return parts


def picture(revision: Revision, *, page: int) -> bytes | None:
    """The page drawn as PNG, from the cache or anew; None when the revision has no such page. Raises RagError."""
    extraction: Extraction | None = revision.extractions.order_by("-id").first()
    found = extraction.pages.filter(place=page - 1).first() if extraction is not None else None
    if found is None or found.number is None or not _is_drawn(revision, found):
        return None
    config = rag_config()
    key = hashlib.sha256(f"{revision.file.name} {page} {PICTURE_WIDTH}".encode()).hexdigest()
    cached = config.page_folder / str(revision.document_id) / f"{key}.png"
    if cached.exists():
        return cached.read_bytes()
    image = sandbox().render_page(
        default_storage.path(revision.file.name or ""),
        page_index=found.number - 1,
        width_px=PICTURE_WIDTH,
        seconds=PICTURE_SECONDS,
        memory=config.parse_memory,
        password=unseal(revision.secret),
    )
    cached.parent.mkdir(parents=True, exist_ok=True)
    fresh = cached.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_bytes(image)
    fresh.rename(cached)
    return image


def answer_of(reader: User, answer_id: str) -> Answer | None:
    """The answer from which the reader came, if it is theirs."""
    try:
        return answer_for(reader, UUID(answer_id))
    except (ValueError, Http404):
        return None


def back_url(answer: Answer) -> str:
    """Where that answer is."""
    return f"{reverse('conversation', args=[answer.conversation_id])}#answer-{answer.pk}"
