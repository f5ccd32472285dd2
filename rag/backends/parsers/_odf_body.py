"""What an OpenDocument text or slide shows, written block by block: headings, lists, tables, notes, comments, objects."""

import posixpath
from collections.abc import Callable
from typing import Any

from rag.backends.parsers._numbering import BULLET
from rag.backends.parsers._odf_package import OdfPackage
from rag.backends.parsers._odf_styles import Counter, OdfStyle, points, read_lists, read_styles
from rag.backends.parsers._ooxml import Embedded, child, local, number, picture_sentence, value
from rag.backends.parsers._writer import Writer
from rag.domain.text import one_line

_MOST_REPEATS = 100  # of a cell or row with words in it
_MOST_BLANKS = 100
_DEEPEST = 60  # objects and tables inside each other
# Deleted text lies among the tracked changes; a table of contents says again what the headings say.
_SKIPPED_NAMES = (
    "tracked-changes sequence-decls variable-decls user-field-decls dde-connection-decls forms table-of-content "
    "illustration-index table-index object-index alphabetical-index user-index annotation-end note-citation ruby-text "
    "page-number page-count script event-listeners enhanced-geometry glue-point thumbnail page-thumbnail settings "
    "hidden-paragraph table-of-content-source bibliography-source section-source dde-source notes-configuration"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_SHAPE_NAMES = (
    "frame custom-shape rect ellipse circle line polyline polygon path regular-polygon connector caption measure"
)
_SHAPES = frozenset(_SHAPE_NAMES.split())
_CONTAINER_NAMES = (
    "section index-body index-title bibliography text-box a sdt numbered-paragraph page-sequence note-body layer-set "
    "header footer header-left footer-left header-first footer-first"
)
_CONTAINERS = frozenset(_CONTAINER_NAMES.split())


class Body:
    """Reads elements of one document into `writer`, and notes what was left out and what could not be read."""

    def __init__(self, package: OdfPackage, embedded: Embedded | None) -> None:
        roots = [package.xml(part) for part in ("content.xml", "styles.xml") if part in package]
        self.styles = read_styles(roots)
        self.writer = Writer()
        self.title = ""
        self.pictures = 0
        self.picture_parts: list[str] = []
        self.hidden = False
        self.hidden_slides: list[int] = []
        self._package = package
        self._embedded = embedded
        self._lists = read_lists(roots)
        self._outline = Counter(self._lists.get("", {}))
        self._counters: dict[str, Counter] = {}
        self._noted = 0
        self._depth = 0
        self._label = ("", 0)  # of the list item whose first paragraph comes next, and how deep it stands
        self._after: list[Callable[[], None]] = []  # what hangs on the paragraph: boxes, notes, comments
        pages = [
            item for root in roots for item in root.iter("{*}page-layout-properties", "{*}drawing-page-properties")
        ]
        colours = {value(page, "background-color").lower() for page in pages} | {
            value(page, "fill-color").lower() for page in pages
        }
        self._dark = bool(colours - {"", "transparent", "#ffffff"})

    def blocks(self, parent: Any) -> None:
        """Writes what is inside an element, block by block."""
        if self._depth >= _DEEPEST:
            return
        self._depth += 1
        for element in parent:
            self._block(element)
        self._depth -= 1

    def shape(self, element: Any) -> None:
        """Writes a frame, a drawn shape or a group of them."""
        if local(element) == "g":
            for item in sorted_shapes(element):
                self.shape(item)
            return
        self._described(element)
        self.blocks(element)

    def flat(self, container: Any) -> str:
        """All text inside on one line."""
        outer, after, label = self.writer, self._after, self._label
        self.writer, self._after, self._label = Writer(), [], ("", 0)
        try:
            self.blocks(container)
            return one_line(self.writer.page().text)
        finally:
            self.writer, self._after, self._label = outer, after, label

    def lines(self, container: Any) -> str:
        """All text inside, its paragraphs on lines of their own."""
        outer, self.writer = self.writer, Writer()
        try:
            self.blocks(container)
            return self.writer.page().text.replace("\n\n", "\n")
        finally:
            self.writer = outer

    def pictures_handed_over(self, first: int, name: str = "") -> bool:
        """Attaches the pictures counted from place `first` on, as `name`, and says whether there was one to attach."""
        if self._embedded is None:
            return False
        return any([self._embedded.hand_over_picture(part, name) for part in self.picture_parts[first:]])

    # --- Blocks

    def _block(self, element: Any) -> None:
        name = local(element)
        style = self._style(element)
        if name in _SKIPPED or style.unseen or (name == "section" and value(element, "display") == "none"):
            self.hidden |= name == "section" and any(text.strip() for text in element.itertext())
            return
        match name:
            case "p" | "h":
                self._paragraph(element, style)
            case "list":
                self._list(element, "", 1)
            case "table":
                self._table(element)
            case "object" | "object-ole":
                self._object(element)
            case "annotation":
                self._comment(element)
            case _ if name in _SHAPES:
                self.shape(element)
            case _ if name in _CONTAINERS:
                self.blocks(element)

    def _paragraph(self, element: Any, style: OdfStyle) -> None:
        after, self._after = self._after, []
        text = self._text(element, style).strip()
        (label, depth), self._label = self._label, ("", self._label[1])
        if not style.numbered:
            label = ""
        level = number(value(element, "outline-level")) if local(element) == "h" else 0
        if text:
            if level and not label and value(element, "is-list-header") != "true":
                label = self._outline.label(level, self._restart(element))
            if style.title and not self.title:
                self.title = one_line(text)
                self.writer.heading(text, 1)
            elif 0 < level < 10:
                self.writer.heading(f"{label} {text}" if label not in ("", BULLET) else text, level)
            elif label or depth > 0:
                indent = "  " * max(depth - 1, 0)
                mark = f"{label} " if label else "  "
                self.writer.item(indent + mark + text.replace("\n", f"\n{indent}  "))
            else:
                self.writer.block(text)
        pending, self._after = self._after, after
        outer, self._label = self._label, ("", 0)
        for write in pending:
            write()
        self._label = outer

    @staticmethod
    def _restart(element: Any) -> str:
        return value(element, "start-value") or ("1" if value(element, "restart-numbering") == "true" else "")

    def _list(self, element: Any, inherited: str, depth: int) -> None:
        if depth > _DEEPEST:
            return
        name = value(element, "style-name") or inherited
        fresh = depth == 1 and value(element, "continue-numbering") != "true" and not value(element, "continue-list")
        if fresh or name not in self._counters:
            self._counters[name] = Counter(self._lists.get(name, {}))
        outer = self._label
        for item in element:
            if local(item) not in ("list-item", "list-header"):
                continue
            label = ""
            if local(item) == "list-item" and any(local(inner) in ("p", "h") for inner in item):
                label = self._counters[name].label(depth, value(item, "start-value"))
            self._label = (label, depth if label else 0)
            for inner in item:
                if local(inner) == "list":
                    self._list(inner, name, depth + 1)
                else:
                    self._block(inner)
        self._label = outer

    def _table(self, element: Any) -> None:
        rows = _rows(element)
        if len(rows) == 1 and sum(1 for cell in rows[0] if local(cell) == "table-cell") == 1:
            self.blocks(next(cell for cell in rows[0] if local(cell) == "table-cell"))
            return
        lines = []
        for row in rows:
            cells: list[str] = []
            reached = 0  # cells to come that the one before reaches over
            for cell in row:
                repeats = number(value(cell, "number-columns-repeated") or "1")
                if local(cell) == "table-cell":
                    text = self.flat(cell)
                    # Presentations make a list of every cell; one alone needs no mark.
                    text = text.removeprefix(BULLET).strip() if text.count(BULLET) == 1 else text
                    cells += [text] * (min(repeats, _MOST_REPEATS) if text else 1)
                    reached = number(value(cell, "number-columns-spanned") or "1") - 1
                elif local(cell) == "covered-table-cell":
                    cells += [""] * (0 if reached > 0 else 1)
                    reached -= repeats
            if any(cells):
                lines.append(" | ".join(cells))
        self.writer.block("\n".join(lines))

    def _comment(self, element: Any) -> None:
        author = child(element, "creator")
        name = one_line(author.text or "") if author is not None else ""
        words = one_line(" ".join(self.flat([item]) for item in element if local(item) in ("p", "list")))
        if words:
            self.writer.block(f"[Comment by {name}: {words}]" if name else f"[Comment: {words}]")

    def _note(self, element: Any) -> None:
        body = child(element, "note-body")
        words = self.flat(body) if body is not None else ""
        if words:
            self._noted += 1
            self.writer.block(f"[Note {self._noted}: {words}]")

    def _described(self, element: Any) -> None:
        """Counts a picture, and writes what the author says of it or of an object."""
        kinds = {local(item): item for item in element}
        drawn = kinds.keys() & {"object", "object-ole", "table", "text-box"}
        if "image" in kinds and not drawn:  # beside those it only repeats what they show
            self.pictures += 1
            self.picture_parts.append(posixpath.normpath(value(kinds["image"], "href") or "none"))
        if drawn or "image" in kinds:
            texts = (one_line(item.text or "") for item in element if local(item) in ("desc", "title"))
            self.writer.block(picture_sentence(". ".join(dict.fromkeys(text for text in texts if text))))

    def _object(self, element: Any) -> None:
        """A formula, chart or sheet kept inside the file, or a file of another program."""
        inner = child(element, "math") if len(element) else None
        if inner is None:
            inner = child(element, "document")
        part = posixpath.normpath(value(element, "href") or "none")
        if inner is None and f"{part}/content.xml" in self._package:
            inner = self._package.xml(f"{part}/content.xml")
        if inner is not None:
            self._inner(inner)
        elif self._embedded is not None and not part.startswith(("..", "/")):
            self._embedded.hand_over(part)

    def _inner(self, root: Any) -> None:
        if local(root) == "math":
            source = next(root.iter("{*}annotation"), None)
            words = source.text if source is not None else " ".join(text.strip() for text in root.itertext())
            self.writer.block(one_line(words or ""))
            return
        for chart in root.iter("{*}chart"):
            for item in chart:
                if local(item) in ("title", "subtitle"):
                    self.writer.block(self.flat(item))
        for table in root.iter("{*}table"):
            self._table(table)

    # --- The words of a paragraph

    def _style(self, element: Any) -> OdfStyle:
        return self.styles.get(value(element, "style-name"), _PLAIN)

    def _text(self, element: Any, style: OdfStyle) -> str:
        if self._unseen(element, style):
            self.hidden |= any(text.strip() for text in element.itertext())
            return ""
        pieces = [element.text or ""]
        for item in element:
            pieces.append(self._inline(item, style))
            pieces.append(item.tail or "")
        # Blanks and line ends of the file mean one blank; others have elements of their own.
        return "".join(pieces)

    def _inline(self, element: Any, outer: OdfStyle) -> str:
        name = local(element)
        if not name or name in _SKIPPED or (name in ("hidden-text", "conditional-text") and not element.text):
            return ""
        match name:
            case "s":
                return " " * min(number(value(element, "c") or "1"), _MOST_BLANKS)
            case "tab":
                return " "
            case "line-break":
                return "\n"
            case "note":
                self._after.append(lambda: self._note(element))
            case "annotation":
                self._after.append(lambda: self._comment(element))
            case "g":
                self._after.append(lambda: self.shape(element))
            case _ if name in _SHAPES:
                self._after.append(lambda: self.shape(element))
            case _:
                own = self.styles.get(value(element, "style-name"))
                return self._text(element, own if own is not None and name == "span" else outer)
        return ""

    def _unseen(self, element: Any, style: OdfStyle) -> bool:
        if style.hidden:
            return True
        if not style.white or style.shaded or self._dark:
            return False
        above = [element, *element.iterancestors()]
        if any(local(item) in ("table-cell", "text-box", "page") or local(item) in _SHAPES for item in above):
            return False  # what colour lies under it there is not known
        return not any(self._style(item).shaded for item in above)


_PLAIN = OdfStyle()


def sorted_shapes(parent: Any) -> list[Any]:
    """The shapes of a page or group from top to bottom; those about level, from left to right."""
    shapes = [item for item in parent if local(item) in _SHAPES or local(item) == "g"]
    places = [(_corner(item), item) for item in shapes]
    rows: list[tuple[float, list[tuple[tuple[float, float], Any]]]] = []
    for place, shape in sorted(places, key=lambda found: found[0][1]):
        if not rows or place[1] > rows[-1][0] + 12:
            rows.append((place[1], []))
        rows[-1][1].append((place, shape))
    return [shape for _, row in rows for _, shape in sorted(row, key=lambda found: found[0][0])]


def _corner(shape: Any) -> tuple[float, float]:
    """The upper left corner in points; that of a group is its first shape's."""
    if local(shape) == "g":
        corners = [_corner(item) for item in shape if local(item) in _SHAPES]
        return min(corners, key=lambda corner: corner[1]) if corners else (0.0, 0.0)
    return points(value(shape, "x") or value(shape, "x1")), points(value(shape, "y") or value(shape, "y1"))


def _rows(table: Any) -> list[Any]:
    """The rows of a table, those in groups too."""
    found = []
    for item in table:
        if local(item) == "table-row":
            repeats = number(value(item, "number-rows-repeated") or "1")
            words = any(text.strip() for text in item.itertext())
            found += [item] * (min(repeats, _MOST_REPEATS) if words else 1)
        elif local(item) in ("table-rows", "table-header-rows", "table-row-group"):
            found += _rows(item)
    return found
