"""The styles and lists of an OpenDocument file: what is hidden, what is a title, how paragraphs are numbered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.backends.parsers._numbering import BULLET, number_text
from rag.backends.parsers._ooxml import child, local, number, value

_TINY = 2.0  # points: nobody reads such letters
_FORMATS = {"i": "lowerRoman", "I": "upperRoman", "a": "lowerLetter", "A": "upperLetter"}
_UNITS = {"cm": 28.35, "mm": 2.835, "in": 72.0, "pt": 1.0, "pc": 12.0, "px": 0.75}


@dataclass(frozen=True, slots=True)
class OdfStyle:
    """What counts of a style, inherited values included."""

    title: bool = False
    hidden: bool = False  # not displayed, or letters too small to be read
    white: bool = False  # white letters
    shaded: bool = False  # a ground of its own colour
    numbered: bool = True  # whether an item of a list has its mark
    unseen: bool = False  # a section or a slide that is not shown


@dataclass(frozen=True, slots=True)
class OdfLevel:
    """One level of a list: how its number is written (a style of `number_text`, "bullet" or "none")."""

    style: str = "none"
    prefix: str = ""
    suffix: str = ""
    shown: int = 1  # how many levels the number has: 2 for "4.2"
    start: int = 1


@dataclass(slots=True)
class Counter:
    """Counts the items of one list; the levels count from 1."""

    levels: Mapping[int, OdfLevel]
    counts: dict[int, int] = field(default_factory=dict)

    def label(self, depth: int, start: str = "") -> str:
        """The label of the next item at `depth`, which begins anew at `start` where that is given."""
        level = self.levels.get(depth)
        if level is None or level.style in ("none", "bullet"):
            return BULLET if level is not None and level.style == "bullet" else ""
        self.counts[depth] = number(start) if start else self.counts.get(depth, level.start - 1) + 1
        for deeper in [deep for deep in self.counts if deep > depth]:
            del self.counts[deeper]
        numbers = []
        for deep in range(max(1, depth - level.shown + 1), depth + 1):
            other = self.levels.get(deep, OdfLevel())
            if other.style not in ("none", "bullet"):
                numbers.append(number_text(self.counts.setdefault(deep, other.start), other.style))
        return f"{level.prefix}{'.'.join(numbers)}{level.suffix}".strip()


def points(length: str) -> float:
    """A length such as "2.5cm" in points, 0 where it is none."""
    unit = length[-2:]
    try:
        return float(length[:-2]) * _UNITS[unit]
    except (ValueError, KeyError):
        return 0.0


def read_styles(roots: Iterable[Any]) -> dict[str, OdfStyle]:
    """The styles by their names, from the roots of the parts that define them."""
    raw: dict[str, Any] = {}
    for root in roots:
        for style in root.iter("{*}style"):
            raw.setdefault(value(style, "name"), style)
    known: dict[str, OdfStyle] = {}
    for name in raw:
        chain: list[str] = []
        while name in raw and name not in known and name not in chain:
            chain.append(name)
            name = value(raw[name], "parent-style-name")
        base = known.get(name, OdfStyle())
        for inner in reversed(chain):
            base = known[inner] = _style(raw[inner], base)
    return known


def _style(element: Any, base: OdfStyle) -> OdfStyle:
    text = child(element, "text-properties")
    hidden, white, shaded = base.hidden, base.white, base.shaded
    if text is not None:
        size, color = value(text, "font-size"), value(text, "color").lower()
        # An attribute of another namespace may be called "display" too; this element has the one.
        display = value(text, "display")
        hidden = (hidden or display == "none") and display != "true"
        hidden |= size.endswith("pt") and 0 < points(size) <= _TINY
        white = color == "#ffffff" if color else white
    for item in element:
        ground = value(item, "background-color").lower()
        shaded |= ground not in ("", "transparent", "#ffffff") or value(item, "fill") in ("solid", "gradient", "bitmap")
    names = {value(element, "name").lower(), value(element, "display-name").lower()}
    section = child(element, "section-properties")
    page = child(element, "drawing-page-properties")
    numbered = value(child(element, "paragraph-properties"), "enable-numbering")
    return OdfStyle(
        numbered=numbered == "true" if numbered else base.numbered,
        title=base.title or "title" in names,
        hidden=hidden,
        white=white,
        shaded=shaded,
        unseen=value(section, "display") == "none" or value(page, "visibility") == "hidden",
    )


def read_lists(roots: Iterable[Any]) -> dict[str, dict[int, OdfLevel]]:
    """The list styles by their names; the numbers of headings are under ""."""
    found: dict[str, dict[int, OdfLevel]] = {}
    for root in roots:
        for style in root.iter("{*}list-style", "{*}outline-style"):
            name = "" if local(style) == "outline-style" else value(style, "name")
            found.setdefault(name, {number(value(level, "level")): _level(level) for level in style})
    return found


def _level(element: Any) -> OdfLevel:
    if local(element) != "list-level-style-number" and local(element) != "outline-level-style":
        return OdfLevel("bullet")
    form = value(element, "num-format")
    if not form:
        return OdfLevel()
    return OdfLevel(
        _FORMATS.get(form, "decimal"),
        value(element, "num-prefix"),
        value(element, "num-suffix"),
        number(value(element, "display-levels")) or 1,
        number(value(element, "start-value") or "1"),
    )
