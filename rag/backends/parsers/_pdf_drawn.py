"""What is drawn on a PDF's page beside its words: pictures, rules, filled rectangles, shapes; and in which order."""

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rag.backends.parsers._pdf_native import bare, handle
from rag.backends.parsers._pdf_words import Place

Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1: on the page as shown, in points, y downwards
Matrix = tuple[float, float, float, float, float, float]
Points = list[tuple[float, float]]

_SAME: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_TEXT, _PATH, _PICTURE, _SHADING, _FORM = range(1, 6)
_LINE_TO, _MOVE_TO = 0, 2
_DEEPEST = 6  # forms within forms
_MOST_OBJECTS = 50_000  # of one page
_MOST_SEGMENTS = 20_000  # of all paths of a page that are looked at closely
_LARGEST_PATTERN = 4_000_000  # square points: a larger one is not drawn to be looked at
_THIN = 2.5  # points: a rectangle so thin is a rule


@dataclass(slots=True)
class Fill:
    """A rectangle filled with one opaque colour; None where it has several colours (a picture, a shading, a shape)."""

    order: int
    edges: Rectangle
    colour: tuple[int, int, int] | None
    covers: bool  # nothing beneath it can be seen
    address: int = 0


@dataclass(slots=True)
class Drawn:
    """What is drawn on a page that is still open.

    `order` is the place of each text object, by address, among all that is drawn. `outer` leads from the form that one
    stands in to the page, where it stands in one.
    """

    page: Any
    place: Place
    order: dict[int, int] = field(default_factory=dict)
    outer: dict[int, Matrix] = field(default_factory=dict)
    pictures: list[Rectangle] = field(default_factory=list)
    across: list[Rectangle] = field(default_factory=list)  # horizontal rules
    down: list[Rectangle] = field(default_factory=list)  # vertical rules
    fills: list[Fill] = field(default_factory=list)
    shapes: int = 0  # other paths that can be seen

    def text_edges(self, address: int) -> Rectangle | None:
        """The rectangle around a text object."""
        edges = [ctypes.c_float() for _ in range(4)]
        if not bare("FPDFPageObj_GetBounds")(ctypes.c_void_p(address), *map(ctypes.byref, edges)):
            return None
        left, bottom, right, top = (edge.value for edge in edges)
        corners = _moved([(left, bottom), (right, top), (left, top), (right, bottom)], self.outer.get(address, _SAME))
        across, up = [x for x, _ in corners], [y for _, y in corners]
        return self.place.turned(min(across), max(up), max(across), min(up))

    def is_pattern(self, fill: Fill) -> bool:
        """Whether what looks like one colour is a pattern, through which other things show."""
        x0, y0, x1, y1 = fill.edges
        if (x1 - x0) * (y1 - y0) > _LARGEST_PATTERN:
            return False
        bitmap = bare("FPDFPageObj_GetRenderedFillPattern", ctypes.c_void_p)(
            handle(self.page.pdf.raw), ctypes.c_void_p(fill.address)
        )
        if bitmap:
            bare("FPDFBitmap_Destroy", None)(ctypes.c_void_p(bitmap))
        return bool(bitmap)


def read_drawn(page: Any, width: float, height: float) -> Drawn:
    """All that is drawn on the page, within its edges."""
    return _Walk(page, width, height).drawn


class _Walk:
    def __init__(self, page: Any, width: float, height: float) -> None:
        import pypdfium2.raw as raw

        self.place = Place(page)
        self.width, self.height = width, height
        self.drawn = Drawn(page, self.place)
        self.seen = 0
        self.segments = 0
        self.floats = [ctypes.c_float() for _ in range(4)]
        self.float_references = [ctypes.byref(value) for value in self.floats]
        self.colour = [ctypes.c_uint() for _ in range(4)]
        self.colour_references = [ctypes.byref(part) for part in self.colour]
        self.matrix = raw.FS_MATRIX()
        page_handle = handle(page.raw)
        count = bare("FPDFPage_CountObjects")(page_handle)
        get = bare("FPDFPage_GetObject", ctypes.c_void_p)
        self._visit((get(page_handle, index) for index in range(count)), _SAME, 0)

    def _visit(self, addresses: Iterator[int | None], outer: Matrix, depth: int) -> None:
        """Notes the objects of a page or a form; `outer` leads from the form's space to the page's."""
        kind_of = bare("FPDFPageObj_GetType")
        for address in addresses:
            self.seen += 1
            if address is None or self.seen > _MOST_OBJECTS:
                return
            item = ctypes.c_void_p(address)
            kind = kind_of(item)
            if kind == _TEXT:
                self.drawn.order[address] = self.seen
                if outer is not _SAME:
                    self.drawn.outer[address] = outer
            elif kind == _PATH:
                self._path(item, outer)
            elif kind in (_PICTURE, _SHADING):
                self._picture(item, outer, shading=kind == _SHADING)
            elif kind == _FORM and depth < _DEEPEST:
                self._form(item, outer, depth)

    def _form(self, item: ctypes.c_void_p, outer: Matrix, depth: int) -> None:
        inside = _times(self._matrix_of(item), outer)
        count = bare("FPDFFormObj_CountObjects")(item)
        get = bare("FPDFFormObj_GetObject", ctypes.c_void_p)
        self._visit((get(item, ctypes.c_ulong(index)) for index in range(max(count, 0))), inside, depth + 1)

    def _matrix_of(self, item: ctypes.c_void_p) -> Matrix:
        if not bare("FPDFPageObj_GetMatrix")(item, ctypes.byref(self.matrix)):
            return _SAME
        m = self.matrix
        return m.a, m.b, m.c, m.d, m.e, m.f

    def _bounds(self, item: ctypes.c_void_p, outer: Matrix) -> Rectangle | None:
        """The object's rectangle on the page as shown, cut at the page's edges; None when it lies outside."""
        if not bare("FPDFPageObj_GetBounds")(item, *self.float_references):
            return None
        left, bottom, right, top = (value.value for value in self.floats)
        return self._shown([(left, bottom), (right, top), (left, top), (right, bottom)], outer)

    def _shown(self, points: Points, matrix: Matrix) -> Rectangle | None:
        if matrix is not _SAME:
            points = _moved(points, matrix)
        across, up = [x for x, _ in points], [y for _, y in points]
        x0, y0, x1, y1 = self.place.turned(min(across), max(up), max(across), min(up))
        if not (x0 <= self.width and x1 >= 0 and y0 <= self.height and y1 >= 0):  # also where they are no numbers
            return None
        return max(x0, 0.0), max(y0, 0.0), min(x1, self.width), min(y1, self.height)

    def _picture(self, item: ctypes.c_void_p, outer: Matrix, *, shading: bool) -> None:
        edges = self._bounds(item, outer)
        if edges is None:
            return
        self.drawn.fills.append(Fill(self.seen, edges, None, covers=False))
        if not shading:
            self.drawn.pictures.append(edges)

    def _path(self, item: ctypes.c_void_p, outer: Matrix) -> None:
        edges = self._bounds(item, outer)
        if edges is None:
            return
        fill_mode, stroked = ctypes.c_int(), ctypes.c_int()
        bare("FPDFPath_GetDrawMode")(item, ctypes.byref(fill_mode), ctypes.byref(stroked))
        filled, alpha, colour = bool(fill_mode.value), 255, None
        if filled and bare("FPDFPageObj_GetFillColor")(item, *self.colour_references):
            red, green, blue, alpha = (part.value for part in self.colour)
            colour = (red, green, blue)
        if not (stroked.value or (filled and alpha)):
            return
        white = colour is not None and min(colour) > 250 and not stroked.value
        if not white and self._rule(edges):
            return
        rectangles, others = self._parts(item, outer)
        if filled:
            self._fill(item, outer, rectangles if not others else [edges], colour if not others else None, alpha)
        else:
            for part in rectangles:
                self._outline(part)
        if others and not white:
            self.drawn.shapes += 1

    def _fill(
        self,
        item: ctypes.c_void_p,
        outer: Matrix,
        rectangles: list[Rectangle],
        colour: tuple[int, int, int] | None,
        alpha: int,
    ) -> None:
        rectangles = [part for part in rectangles if not self._rule(part)]
        if not rectangles:
            return
        shown = None
        if colour is not None and alpha == 255 and not bare("FPDFPageObj_HasTransparency")(item):
            shown = self._clipped(item, outer)
        for part in rectangles:
            if shown is None:
                self.drawn.fills.append(Fill(self.seen, part, None, covers=False, address=item.value or 0))
            else:
                # A frame is two rectangles one in the other: then neither is surely filled.
                covers = len(rectangles) == 1
                self.drawn.fills.append(
                    Fill(self.seen, _overlap(part, shown), colour, covers=covers, address=item.value or 0)
                )

    def _rule(self, edges: Rectangle) -> bool:
        """Notes the rectangle where it is thin enough for a rule, and says whether it is."""
        x0, y0, x1, y1 = edges
        if y1 - y0 <= _THIN and x1 - x0 > 3 * (y1 - y0) + 1:
            self.drawn.across.append(edges)
        elif x1 - x0 <= _THIN and y1 - y0 > 3 * (x1 - x0) + 1:
            self.drawn.down.append(edges)
        else:
            return False
        return True

    def _outline(self, edges: Rectangle) -> None:
        x0, y0, x1, y1 = edges
        self.drawn.across += ((x0, y0, x1, y0), (x0, y1, x1, y1))
        self.drawn.down += ((x0, y0, x0, y1), (x1, y0, x1, y1))

    def _clipped(self, item: ctypes.c_void_p, outer: Matrix) -> Rectangle | None:
        """The rectangle of the page in which the object is shown; None where that is none, or no rectangle."""
        clip = ctypes.c_void_p(bare("FPDFPageObj_GetClipPath", ctypes.c_void_p)(item))
        edges: Rectangle = (0.0, 0.0, self.width, self.height)
        if not clip:
            return edges
        get = bare("FPDFClipPath_GetPathSegment", ctypes.c_void_p)
        for path in range(max(bare("FPDFClipPath_CountPaths")(clip), 0)):
            count = bare("FPDFClipPath_CountPathSegments")(clip, path)
            if not 4 <= count <= 6:
                return None
            points = [point for index in range(count) if (point := self._point(get(clip, path, index)))]
            part = self._upright(points, outer)
            if part is None:
                return None
            edges = _overlap(edges, part)
        return edges

    def _point(self, segment: int | None) -> tuple[float, float] | None:
        x, y = self.floats[:2]
        if segment is None or not bare("FPDFPathSegment_GetPoint")(
            ctypes.c_void_p(segment), *self.float_references[:2]
        ):
            return None
        return x.value, y.value

    def _parts(self, item: ctypes.c_void_p, outer: Matrix) -> tuple[list[Rectangle], bool]:
        """The upright rectangles and lines that the path consists of, and whether it has other parts too."""
        count = bare("FPDFPath_CountSegments")(item)
        self.segments += max(count, 0)
        if count <= 0 or self.segments > _MOST_SEGMENTS:
            return [], True
        inside = _times(self._matrix_of(item), outer)
        get = bare("FPDFPath_GetPathSegment", ctypes.c_void_p)
        kind_of = bare("FPDFPathSegment_GetType")
        found: list[Rectangle] = []
        others = False
        points: Points = []
        for index in range(count + 1):
            address = get(item, index) if index < count else None
            kind = _MOVE_TO if address is None else kind_of(ctypes.c_void_p(address))
            if kind == _MOVE_TO:
                part = self._upright(points, inside)
                if part:
                    found.append(part)
                elif len(points) > 1:
                    others = True
                points = []
            elif kind != _LINE_TO:
                return [], True
            point = self._point(address)
            if point:
                points.append(point)
        return found, others

    def _upright(self, points: Points, matrix: Matrix) -> Rectangle | None:
        """The rectangle or line that the points go around, upright on the page; None for another shape."""
        if not 2 <= len(points) <= 6:
            return None
        points = _moved(points, matrix)
        across, up = [x for x, _ in points], [y for _, y in points]
        left, right, bottom, top = min(across), max(across), min(up), max(up)
        if not math.isfinite(left + right + bottom + top):
            return None
        if len(points) < 4 and min(right - left, top - bottom) > 0.5:
            return None
        for x, y in points:  # in a corner each, else it is another shape
            if min(x - left, right - x) > 0.5 or min(y - bottom, top - y) > 0.5:
                return None
        corners = {(x - left > right - x, y - bottom > top - y) for x, y in points}
        if len(corners) == 3:
            return None  # half a rectangle
        return self._shown(points, _SAME)


def _times(inner: Matrix, outer: Matrix) -> Matrix:
    """The matrix that does `inner` first and `outer` then."""
    if outer is _SAME:
        return inner
    a, b, c, d, e, f = inner
    g, h, i, j, k, m = outer
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m


def _moved(points: Points, matrix: Matrix) -> Points:
    a, b, c, d, e, f = matrix
    return [(a * x + c * y + e, b * x + d * y + f) for x, y in points]


def _overlap(one: Rectangle, other: Rectangle) -> Rectangle:
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    return x0, y0, max(x0, min(one[2], other[2])), max(y0, min(one[3], other[3]))
