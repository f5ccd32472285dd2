"""What people added to a PDF's page: values in form fields, comments, typed text; and files pinned to the page.

They are not part of what the page draws, so that no text layer holds them. Each becomes a line where it stands.
"""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rag.backends.parsers._layout import Item, Line, Word, blocks, line_of
from rag.backends.parsers._pdf_extras import content_of, name_of
from rag.backends.parsers._pdf_words import Edges, Place
from rag.domain.text import one_line

_MOST = 3_000  # on one page
_LONGEST = 20_000  # letters of one
_FREE_TEXT, _FILE, _WIDGET = 3, 17, 20
_COMMENTS = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, _FILE})  # notes, marks, shapes, stamps, ink, files
_UNSEEN = 2 | 32  # flags: hidden, and not on the screen
_CHECK_BOX, _RADIO, _COMBO, _LIST, _TEXT = 2, 3, 4, 5, 6
_PASSWORD = 1 << 13
_YES = re.compile(r"(?i)|yes|on|true|x|\d+|ja|oui|s[ií]|checked|choice ?\d*")
_NO_NAME = re.compile(
    r"(?i)(?:text|field|untitled|undefined|check ?box|radio ?button|button|combo ?box|list ?box|drop ?down|feld|fill)"
    r"[\s_.-]*(?:field|box|feld)?[\s_.-]*\d*(?:_\d+)?"
)


@dataclass(slots=True)
class Note:
    """Words that were added to a page. A comment stands after the paragraph that it is about.

    `name` is that of a form field, in words; the line holds its value alone.
    """

    line: Line
    is_comment: bool = False
    name: str = ""


@dataclass(slots=True)
class Notes:
    notes: list[Note]
    files: list[tuple[str, bytes]]


def read_notes(pdf: Any, page: Any, size: tuple[float, float]) -> Notes:
    """The page's notes, as the page is shown, and the files pinned to it."""
    import pypdfium2.raw as raw

    found = Notes([], [])
    place = Place(page)
    for index in range(min(raw.FPDFPage_GetAnnotCount(page.raw), _MOST)):
        with _annotation(page, index) as annotation:
            if annotation is None or raw.FPDFAnnot_GetFlags(annotation) & _UNSEEN:
                continue
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == _FILE and (file := raw.FPDFAnnot_GetFileAttachment(annotation)):
                content = content_of(file)
                if content is not None:
                    found.files.append((name_of(file) or "attachment", content))
            name, text = _field(pdf.formenv, annotation) if kind == _WIDGET else ("", _written(annotation, kind))
            line = _line(annotation, text, place, size) if text else None
            if line is not None:
                found.notes.append(Note(line, kind not in (_WIDGET, _FREE_TEXT), name))
    return found


@contextmanager
def _annotation(page: Any, index: int) -> Iterator[Any]:
    import pypdfium2.raw as raw

    annotation = raw.FPDFPage_GetAnnot(page.raw, index)
    try:
        yield annotation or None
    finally:
        if annotation:
            raw.FPDFPage_CloseAnnot(annotation)


def _written(annotation: Any, kind: int) -> str:
    """What a person wrote: a comment in brackets with its author, or text on the page as it is; "" for nothing."""
    import pypdfium2.raw as raw

    if (kind != _FREE_TEXT and kind not in _COMMENTS) or raw.FPDFAnnot_HasKey(annotation, b"StateModel"):
        return ""
    text = _string(annotation, b"Contents")
    if not text or kind == _FREE_TEXT:
        return text
    author = _string(annotation, b"T")[:100]
    return f"[Comment by {author}: {text}]" if author else f"[Comment: {text}]"


def _string(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as raw

    return _utf16(lambda buffer, size: raw.FPDFAnnot_GetStringValue(annotation, key, buffer, size))


def _utf16(fetch: Any) -> str:
    """A string that PDFium writes as UTF-16 into a buffer, cleaned to one line."""
    length = fetch(None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    fetch(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    return one_line(buffer.raw[: length - 2].decode("utf-16-le", "replace"))[:_LONGEST]


def _field(formenv: Any, annotation: Any) -> tuple[str, str]:
    """A form field's name and value; "" for that of one that is empty, not ticked, secret or a mere button."""
    import pypdfium2.raw as raw

    if formenv is None:
        return "", ""
    form = formenv.raw
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    name = _utf16(lambda buffer, size: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, buffer, size))
    if not name:
        name = _utf16(lambda buffer, size: raw.FPDFAnnot_GetFormFieldName(form, annotation, buffer, size))
        name = re.sub(r"\[\d+\]", "", name.rpartition(".")[2]).strip("_ ")
    name = "" if _NO_NAME.fullmatch(name) else name.rstrip(": ")
    if kind in (_CHECK_BOX, _RADIO):
        if not raw.FPDFAnnot_IsChecked(form, annotation):
            return name, ""
        value = _utf16(lambda buffer, size: raw.FPDFAnnot_GetFormFieldExportValue(form, annotation, buffer, size))
        return name, "yes" if name and _YES.fullmatch(value) else f"[x] {value}".rstrip()
    if kind not in (_TEXT, _COMBO, _LIST) or (
        kind == _TEXT and raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD
    ):
        return name, ""
    return name, _utf16(lambda buffer, size: raw.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))


def _line(annotation: Any, text: str, place: Place, size: tuple[float, float]) -> Line | None:
    """The words as one line, each with the annotation's rectangle; None for one that is nowhere."""
    import pypdfium2.raw as raw

    edges = raw.FS_RECTF()
    if not raw.FPDFAnnot_GetRect(annotation, edges):
        return None
    sides = sorted((edges.left, edges.right)), sorted((edges.bottom, edges.top))
    (left, right), (bottom, top) = sides
    shown = place.turned(left, top, right, bottom)
    if not np.isfinite(shown).all():
        return None
    width, height = size
    x0, x1 = (min(max(x, 0.0), width) for x in shown[::2])
    y0, y1 = (min(max(y, 0.0), height) for y in shown[1::2])
    line = line_of([Word(word, x0, y0, x1, y1, 0.0) for word in text.split()])
    line.apart = True
    return line


def with_notes(items: Sequence[Item], notes: Sequence[Note]) -> list[Item]:
    """The page's items with each note after what stands before it: to its left, else above it.

    The value of a field goes on its label's line where that ends in the field's name and a colon, else behind the name.
    """
    if not notes:
        return list(items)
    result = list(items)
    ends: list[int] = []  # for each item, the place after the last of its block
    for block in blocks(items):
        ends += [len(ends) + len(block)] * len(block)
    at: list[list[Line]] = [[] for _ in range(len(items) + 1)]
    for note in sorted(notes, key=lambda note: (round(note.line.y0), note.line.x0)):
        before = _before(items, note.line)
        label = result[before] if before >= 0 else None
        if note.name and isinstance(label, Line) and _is_label(label, note):
            result[before] = replace(label, words=label.words + note.line.words, x1=max(label.x1, note.line.x1))
            continue
        place = 0 if before < 0 else ends[before] if note.is_comment else before + 1
        at[place].append(_named(note) if note.name else note.line)
    return [*at[0], *(entry for item, added in zip(result, at[1:], strict=True) for entry in (item, *added))]


def _is_label(line: Line, note: Note) -> bool:
    """Whether the line ends in the field's name and a colon, beside the field."""
    text = line.text
    return _is_level(line, note.line) and text.endswith(":") and _letters(text).endswith(_letters(note.name))


def _letters(text: str) -> str:
    """What a label says, without signs."""
    return "".join(filter(str.isalnum, text.casefold()))


def _is_level(one: Item, other: Item) -> bool:
    return min(one.y1, other.y1) - max(one.y0, other.y0) >= 0.5 * min(one.height, other.height)


def _named(note: Note) -> Line:
    first = note.line.words[0]
    line = line_of([*(first._replace(text=word) for word in f"{note.name}:".split()), *note.line.words])
    line.apart = True
    return line


def _before(items: Sequence[Item], line: Line) -> int:
    """The place of the item that a reader meets before `line`; -1 for none."""
    left, above = -1, -1
    for place, item in enumerate(items):
        if _is_level(item, line) and item.x0 < line.x0:
            if left < 0 or item.x0 > items[left].x0:
                left = place
        elif item.y0 <= line.y0 and item.x0 < line.x1 and (above < 0 or item.y1 >= items[above].y1):
            above = place
    return left if left >= 0 else above


def numbered(notes: Sequence[Note], edges: Edges, turn: Callable[[Edges], Edges]) -> Edges:
    """`edges` with the notes' rectangles added, to which their words now point.

    The notes themselves are put where the page is turned as its letters run; `turn` does that to rectangles.
    """
    for note in notes:
        words = note.line.words
        shown = np.array([words[0][1:5]])
        x0, y0, x1, y1 = turn(shown)[0].tolist()
        note.line = line_of([word._replace(x0=x0, y0=y0, x1=x1, y1=y1, place=len(edges)) for word in words])
        note.line.apart = True
        edges = np.concatenate((edges, shown))
    return edges
