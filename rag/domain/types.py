"""The values that travel between the layers: frozen, slotted, free of Django. A score never travels without its id."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Reading(StrEnum):
    """How a page was read."""

    TEXT = "text"  # the file's own text
    OCR = "ocr"  # recognised from its picture
    BLANK = "blank"  # nothing is on it
    UNREAD = "unread"  # something is on it that was not read


@dataclass(frozen=True, slots=True)
class Box:
    """Where one word stands: code points [start, end) of `Page.text`, and its rectangle as fractions of the page, origin top left.

    `confidence` is how sure a recognised word is, 0 to 1; the file's own words have 1.
    """

    start: int
    end: int
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that stands at code point `start` of `Page.text`; `level` 1 is the outermost."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page as read: `number` is its 1-based place in the file, or None where the format has no pages.

    `text` is NFC, with "\\n" between lines and a blank line between blocks, and holds no NUL. `boxes` are in text order.
    A parser that gives an UNREAD page with a number asks for its picture to be recognised; whatever was read of it is in
    `text` all the same. `confidence` is the mean over the recognised words. `gap` is a sentence that says what is missing.
    """

    number: int | None
    text: str
    headings: tuple[Heading, ...] = ()
    boxes: tuple[Box, ...] = ()
    label: str = ""  # the printed page number where it differs ("iv", "A-3")
    width: float = 0.0  # points; 0 where the format has no pages
    height: float = 0.0
    reading: Reading = Reading.TEXT
    confidence: float = 1.0
    images: int = 0  # pictures on it whose content was not read
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside a file: of a mail, an archive, a PDF. `path` is relative, as the container names it; `file` holds its bytes."""

    path: str
    file: Path
    size: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser read. `parser` is its provenance, name and version ("pdf/1"); `warnings` are sentences for the user.

    `properties` are the file's own, by lower-case name ("author", "subject", "created", "sender" …). `attachments` become
    documents of their own; whoever asked for the parsing owns their files.
    """

    title: str
    pages: tuple[Page, ...]
    parser: str
    warnings: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of text cut for retrieval.

    `page_from` and `page_to` are 0-based places in `ParsedDocument.pages`; `start` counts code points in the text of
    `page_from`, `end` in that of `page_to`. `text` is exactly those words, pages joined by "\\n".
    """

    ordinal: int
    text: str
    page_from: int
    page_to: int
    start: int
    end: int
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk an index found; a larger `score` is better."""

    chunk_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Everything:
    """Every id of the index is allowed. Said aloud, never a default."""


@dataclass(frozen=True, slots=True)
class Only:
    """Just these ids are allowed. Empty means nothing is found."""

    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Except:
    """All ids but these are allowed."""

    ids: frozenset[int]


Allowed = Everything | Only | Except


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    user_id: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Documents that have one of `values` in one of these fields, or a date from `since` to `until` (ISO 8601, both included).

    `fields` are ids of `CollectionField`: the same field in several collections. Without any it lets nothing through.
    """

    fields: frozenset[int]
    values: frozenset[str] = frozenset()
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question may look at: who asks, which collections they asked for, and of which documents. Made by `rag.access` alone.

    It holds no list of visible chunks: what may be seen is an SQL condition, evaluated anew at each reading
    (`Chunk.objects.visible_to`). An empty `collections` finds nothing. `filters` only ever narrow, each one further.
    `conversation` is the one that is asked, where it has files of its own: no other scope sees them.
    """

    principal: Principal
    collections: frozenset[UUID]
    filters: tuple[Filter, ...] = ()
    conversation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as evidence: numbered from 1 as it was offered to the model and is shown to the reader.

    `start` and `end` count code points in the texts of `page_from` and `page_to` (0-based places in the extraction).
    `ranks` are the 1-based places in each retriever's list, for "why this answer".
    `found` is where in `text` the passage stands that was searched and scored, when more of its section is given around it.
    """

    number: int
    chunk_id: int
    document_id: UUID
    collection_id: UUID
    extraction_id: int
    revision: int
    title: str
    heading: tuple[str, ...]
    page_from: int
    page_to: int
    page_label: str
    start: int
    end: int
    text: str
    score: float
    cosine: float | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    found: tuple[int, int] | None = None


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is sent. `sources` are those in it, in their order there: the model knows the first as 1, whatever its own
    number is. `dropped` counts those that were left out; `tokens` is the counted size."""

    messages: tuple[Message, ...]
    sources: tuple[Source, ...]
    question: str
    tokens: int
    dropped: int = 0


class StopReason(StrEnum):
    END = "end"
    LENGTH = "length"  # the model reached its limit: the text is cut off


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a model's answer. `thinking` is kept apart from `text`; the last one alone has `stop`."""

    text: str = ""
    thinking: str = ""
    stop: StopReason | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def allowed_ids(allowed: Allowed, ids: Iterable[int]) -> list[int]:
    """Those of `ids` that `allowed` lets through, in their order."""
    match allowed:
        case Everything():
            return list(ids)
        case Only(only):
            return [i for i in ids if i in only]
        case Except(barred):
            return [i for i in ids if i not in barred]


def without(allowed: Allowed, barred: frozenset[int]) -> Allowed:
    """What `allowed` lets through, less `barred`."""
    match allowed:
        case Everything():
            return Except(barred)
        case Only(only):
            return Only(only - barred)
        case Except(others):
            return Except(others | barred if others else barred)
