"""The styles and lists of a Word document, as far as they decide what is a heading, what is numbered and what is seen."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rag.backends.parsers._numbering import Level, Numbering
from rag.backends.parsers._ooxml import child, local, number, on, value

_HEADING_NAME = re.compile(r"(?i)^(?:heading|überschrift|titre|título|titolo|kop) ?([1-9])$")

WHITE = re.compile(r"(?i)^f[89a-f]f[89a-f]f[89a-f]$")  # or so near to it that nobody sees a difference


@dataclass(frozen=True, slots=True)
class Style:
    """What counts of a style, inherited values included. `size` is in half points; it and `color` may be unknown ("")."""

    name: str = ""
    level: int = 0  # of a heading, from 1; 0 for body text
    list_id: str = ""
    depth: int = 0
    hidden: bool = False
    size: str = ""
    color: str = ""
    shaded: bool = False  # on a ground of its own colour


def read_styles(roots: Iterable[Any]) -> dict[str, Style]:
    """The styles by their ids, from the roots of the parts that hold them."""
    raw = {value(style, "styleId"): style for root in roots for style in root if local(style) == "style"}
    known: dict[str, Style] = {}
    for name in raw:
        chain: list[str] = []
        while name in raw and name not in known and name not in chain:
            chain.append(name)
            name = value(child(raw[name], "basedOn"))
        base = known.get(name, Style())
        for style_id in reversed(chain):
            base = known[style_id] = _style(raw[style_id], base)
    return known


def _style(element: Any, base: Style) -> Style:
    name = value(child(element, "name"))
    named = _HEADING_NAME.match(name)
    outline = value(child(element, "pPr", "outlineLvl"))
    level = int(named.group(1)) if named else number(outline) + 1 if outline else base.level
    depth = child(element, "pPr", "numPr", "ilvl")
    vanish = child(element, "rPr", "vanish")
    return Style(
        name,
        level if level < 10 else 0,
        value(child(element, "pPr", "numPr", "numId")) or base.list_id,
        number(value(depth)) if depth is not None else base.depth,
        on(vanish) if vanish is not None else base.hidden,
        value(child(element, "rPr", "sz")) or base.size,
        value(child(element, "rPr", "color")) or base.color,
        base.shaded or any(coloured(child(element, part, "shd")) for part in ("pPr", "rPr")),
    )


def coloured(shading: Any) -> bool:
    """Whether a <w:shd/> gives a ground on which white letters can be read."""
    fill = value(shading, "fill").lower()
    return (fill not in ("", "auto") and WHITE.match(fill) is None) or value(shading) in ("solid", "pct90", "pct95")


def read_numbering(roots: Iterable[Any]) -> Numbering:
    """The lists of the document, ready to count."""
    definitions: dict[str, dict[int, Level]] = {}
    lists: dict[str, tuple[str, dict[int, Level]]] = {}
    restarts: dict[str, dict[int, int]] = {}
    for root in roots:
        for item in root:
            if local(item) == "abstractNum":
                levels = (level for level in item if local(level) == "lvl")
                definitions[value(item, "abstractNumId")] = {number(value(lvl, "ilvl")): _level(lvl) for lvl in levels}
            elif local(item) == "num":
                list_id, definition = value(item, "numId"), value(child(item, "abstractNumId"))
                levels_of, restarts_of = dict(definitions.get(definition, {})), restarts.setdefault(list_id, {})
                for change in item:
                    if local(change) == "lvlOverride":
                        depth = number(value(change, "ilvl"))
                        if (own := child(change, "lvl")) is not None:
                            levels_of[depth] = _level(own)
                        if (first := child(change, "startOverride")) is not None:
                            restarts_of[depth] = number(value(first))
                lists[list_id] = (definition, levels_of)
    return Numbering(lists, restarts=restarts)


def _level(element: Any) -> Level:
    start = child(element, "start")
    return Level(
        number(value(start)) if start is not None else 1,
        value(child(element, "numFmt")) or "decimal",
        value(child(element, "lvlText")),
        on(child(element, "isLgl")),
    )
