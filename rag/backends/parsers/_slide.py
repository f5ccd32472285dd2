"""The texts of one slide in the order in which one reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rag.backends.parsers._numbering import number_text
from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import (
    Embedded,
    Relation,
    chart_text,
    child,
    diagram_text,
    formula_text,
    local,
    number,
    picture_text,
    related,
    relations,
    value,
)
from rag.backends.parsers._writer import Writer
from rag.domain.text import one_line

_TITLES = ("title", "ctrTitle")
_BODIES = ("", "body", "obj")
_FOOTERS = ("ftr", "dt", "hdr")
_TINY = 200  # hundredths of a point: nobody reads letters of 2 points
_STYLES = {"alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman"}


@dataclass(frozen=True, slots=True)
class _Place:
    """The rectangle of a shape, in the units of what holds it."""

    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


class Slide:
    """Reads one slide into a writer, and notes what was seen: its title, footers, pictures, hidden text."""

    def __init__(
        self,
        package: Package,
        writer: Writer,
        links: dict[str, Relation],
        embedded: Embedded,
        extent: tuple[int, int],
    ) -> None:
        self._package = package
        self._writer = writer
        self._links = links
        self._embedded = embedded
        self._width, self._height = extent
        self._given = self._placeholders()
        self.title = ""
        self.footers: list[str] = []
        self.pictures = 0
        self.picture_links: list[str] = []
        self.left_out = False

    def read(self, root: Any) -> None:
        """Writes the slide: its title first, then the rest from top to bottom and from left to right."""
        tree = child(root, "cSld", "spTree")
        if tree is None:
            return
        shapes = [(self._place(shape), shape) for shape in _shapes(tree)]
        titles = [shape for _, shape in shapes if _placeholder(shape)[0] in _TITLES]
        for shape in titles:
            self._title(shape)
        rest = [(place, shape) for place, shape in shapes if not any(shape is title for title in titles)]
        for shape in _in_order(rest, band=self._height // 40):
            self._shape(shape)

    @staticmethod
    def notes(root: Any) -> str:
        """What the speaker notes of a slide say; its number and picture, which the page repeats, are no part of that."""
        bodies = (shape for shape in root.iter("{*}sp") if _placeholder(shape)[0] == "body")
        texts = (_lines(child(shape, "txBody")) for shape in bodies)
        return "\n".join(line for lines in texts for line in lines if line.strip())

    # --- Places

    def _placeholders(self) -> dict[tuple[str, str], _Place]:
        """Where the layout, and behind it the master, put what has no place of its own: by ("idx" or "type", value)."""
        found: dict[tuple[str, str], _Place] = {}
        for layout in related(self._package, self._links, "slideLayout"):
            masters = related(self._package, relations(self._package, layout), "slideMaster")
            for part in (*masters, layout):
                for shape in self._package.xml(part).iter("{*}sp"):
                    kind, index = _placeholder(shape)
                    place = _own_place(shape)
                    if place is not None and (kind or index):
                        found["type", kind] = place
                        if part == layout:
                            found["idx", index] = place
        return found

    def _place(self, shape: Any) -> _Place:
        own = _own_place(shape)
        if own is not None:
            return own
        kind, index = _placeholder(shape)
        return self._given.get(("idx", index)) or self._given.get(("type", kind)) or _Place()

    def _outside(self, place: _Place) -> bool:
        if not (place.width and place.height and self._width and self._height):
            return False
        right, bottom = place.x + place.width, place.y + place.height
        return right <= 0 or bottom <= 0 or place.x >= self._width or place.y >= self._height

    # --- Shapes

    def _title(self, shape: Any) -> None:
        text = one_line(" ".join(self._visible(child(shape, "txBody"))))
        if text:
            self.title = self.title or text
            self._writer.heading(text, 1)

    def _shape(self, shape: Any, *, top: bool = True) -> None:
        if value(_properties(shape), "hidden") in ("1", "true") or (top and self._outside(self._place(shape))):
            self.left_out |= any(item.text and item.text.strip() for item in shape.iter("{*}t"))
            return
        match local(shape):
            case "sp" | "cxnSp":
                self._text(shape)
            case "grpSp":
                inner = [(_own_place(item) or _Place(), item) for item in _shapes(shape)]
                extent = child(shape, "grpSpPr", "xfrm", "chExt")
                for item in _in_order(inner, band=number(value(extent, "cy")) // 40):
                    self._shape(item, top=False)
            case "pic":
                self._picture(shape)
            case "graphicFrame":
                self._graphic(shape)

    def _picture(self, shape: Any) -> None:
        self.pictures += 1
        blip = next(shape.iter("{*}blip"), None)
        self.picture_links.append(value(blip, "embed"))
        self._writer.block(picture_text(_properties(shape)))

    def _graphic(self, frame: Any) -> None:
        data = child(frame, "graphic", "graphicData")
        for item in data if data is not None else ():
            match local(item):
                case "tbl":
                    self._table(item)
                case "chart":
                    self._related(value(item, "id"), chart_text)
                case "relIds":
                    self._related(value(item, "dm"), diagram_text)
        for item in frame.iter("{*}oleObj"):
            link = next((found for key, found in item.attrib.items() if key.endswith("}id")), "")
            if link in self._links and self._links[link].target:
                self._embedded.hand_over(self._links[link].target)

    def _related(self, link: str, text_of: Callable[[Any], str]) -> None:
        target = self._links[link].target if link in self._links else ""
        if target in self._package:
            self._writer.block(text_of(self._package.xml(target)))

    def _table(self, table: Any) -> None:
        lines = []
        for row in table:
            if local(row) == "tr":
                # A cell that another one reaches over has no text; one that is reached from the left is no cell at all.
                cells = [cell for cell in row if local(cell) == "tc" and value(cell, "hMerge") not in ("1", "true")]
                texts = [one_line(" ".join(self._visible(child(cell, "txBody")))) for cell in cells]
                if any(texts):
                    lines.append(" | ".join(texts))
        self._writer.block("\n".join(lines))

    def _text(self, shape: Any) -> None:
        kind, index = _placeholder(shape)
        body = child(shape, "txBody")
        if kind == "sldNum" or body is None:
            return
        if kind in _FOOTERS:
            self.footers += filter(None, [one_line(" ".join(self._visible(body)))])
            return
        listed = kind in _BODIES and (kind or index) != ""
        paragraphs = [item for item in body if local(item) == "p"]
        listed = listed and sum(1 for item in paragraphs if _words(item).strip()) > 1
        block: list[str] = []
        counts: dict[int, int] = {}
        for paragraph in paragraphs:
            text = self._shown(paragraph).strip()
            if not text:
                continue
            mark, depth = _mark(paragraph, counts, listed=listed)
            if mark:
                if block:
                    self._writer.block("\n".join(block))
                    block = []
                indent = "  " * depth
                self._writer.item(f"{indent}{mark} " + text.replace("\n", f"\n{indent}  "))
            else:
                block.append(text)
        self._writer.block("\n".join(block))

    # --- Text

    def _visible(self, body: Any) -> list[str]:
        return [] if body is None else [self._shown(item) for item in body if local(item) == "p"]

    def _shown(self, paragraph: Any) -> str:
        """The paragraph without what is too small to be read."""
        hidden = {run for run in paragraph.iter("{*}r") if _tiny(run)}
        self.left_out |= any(_words(run).strip() for run in hidden)
        return _words(paragraph, hidden)


def _shapes(tree: Any) -> list[Any]:
    """The shapes of a slide or group; of two drawings of the same thing the first."""
    found = []
    for item in tree:
        if local(item) == "AlternateContent":
            options = [option for option in item if local(option) in ("Choice", "Fallback") and len(option)]
            found += _shapes(options[0]) if options else []
        else:
            found.append(item)
    return found


def _in_order(shapes: list[tuple[_Place, Any]], *, band: int) -> list[Any]:
    """From top to bottom; shapes whose upper edges are about level, from left to right."""
    rows: list[tuple[int, list[tuple[_Place, Any]]]] = []
    for place, shape in sorted(shapes, key=lambda item: item[0].y):
        if not rows or place.y > rows[-1][0] + band:
            rows.append((place.y, []))
        rows[-1][1].append((place, shape))
    return [shape for _, row in rows for _, shape in sorted(row, key=lambda item: item[0].x)]


def _properties(shape: Any) -> Any:
    """<p:cNvPr>: the name of a shape, what the author says of it, whether it is hidden."""
    return next((child(part, "cNvPr") for part in shape if local(part).startswith("nv")), None)


def _placeholder(shape: Any) -> tuple[str, str]:
    """Type and index of the placeholder that the shape fills; both "" where it fills none."""
    holder = next((child(part, "nvPr", "ph") for part in shape if local(part).startswith("nv")), None)
    if holder is None:
        return "", ""
    return value(holder, "type"), value(holder, "idx") or "0"


def _own_place(shape: Any) -> _Place | None:
    frame = child(shape, "xfrm")
    if frame is None:
        frame = next((child(part, "xfrm") for part in shape if local(part) in ("spPr", "grpSpPr")), None)
    offset, extent = (child(frame, name) if frame is not None else None for name in ("off", "ext"))
    if offset is None:
        return None
    numbers = (
        number(value(part, name)) for part, name in ((offset, "x"), (offset, "y"), (extent, "cx"), (extent, "cy"))
    )
    return _Place(*numbers)


def _tiny(run: Any) -> bool:
    size = value(child(run, "rPr"), "sz")
    return bool(size) and 0 < number(size) <= _TINY


def _lines(body: Any) -> list[str]:
    return [] if body is None else [_words(item) for item in body if local(item) == "p"]


def _words(element: Any, hidden: Any = ()) -> str:
    pieces = []
    for item in element:
        name = local(item)
        if name == "t":
            pieces.append(item.text or "")
        elif name == "br":
            pieces.append("\n")
        elif name == "oMath":
            pieces.append(formula_text(item))
        elif name == "AlternateContent":
            pieces.append(_words(next(iter(item), []), hidden))
        elif item not in hidden and not (name == "fld" and value(item, "type") == "slidenum"):
            pieces.append(_words(item, hidden))
    return "".join(pieces)


def _mark(paragraph: Any, counts: dict[int, int], *, listed: bool) -> tuple[str, int]:
    """The bullet or number before a paragraph, "" where it has none, and how deep it stands."""
    own = child(paragraph, "pPr")
    depth = number(value(own, "lvl"))
    for deeper in [deep for deep in counts if deep > depth]:
        del counts[deeper]
    automatic = child(own, "buAutoNum") if own is not None else None
    if automatic is not None:
        counts[depth] = counts[depth] + 1 if depth in counts else number(value(automatic, "startAt") or "1")
        kind = value(automatic, "type")
        style = next((name for mark, name in _STYLES.items() if kind.startswith(mark)), "decimal")
        text = number_text(counts[depth], style)
        ending = ")" if "Paren" in kind else "." if kind.endswith("Period") else ""
        return f"({text})" if kind.endswith("ParenBoth") else f"{text}{ending}", depth
    counts.pop(depth, None)
    if own is not None and child(own, "buNone") is not None:
        return "", depth
    if listed or (own is not None and child(own, "buChar") is not None):
        return "•", depth
    return "", depth
