"""The text of one paragraph of a Word document, and what hangs on it: boxes, notes, comments, drawings."""

from collections.abc import Callable
from typing import Any

from rag.backends.parsers._docx_styles import WHITE, Style, coloured
from rag.backends.parsers._ooxml import child, formula_text, local, number, on, picture_text, value

_TINY = 4  # half points: nobody reads letters of 2 points
# Kept out: deleted and moved-away text, field codes, what only guides the layout.
_SKIPPED_NAMES = (
    "del moveFrom delText instrText delInstrText pPr rPr tblPr tblGrid trPr tcPr sectPr sdtPr sdtEndPr proofErr "
    "bookmarkStart bookmarkEnd commentRangeStart commentRangeEnd annotationRef footnoteRef "
    "endnoteRef separator continuationSeparator rt posOffset fldSimplePr"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
# What the symbol fonts of Word draw for their private code points.
_WINGDINGS = {
    "6f": "☐",
    "a8": "☐",
    "71": "☐",
    "fe": "☑",
    "fd": "☒",
    "78": "☒",
    "fc": "✓",
    "fb": "✗",
    "e0": "→",
    "e8": "→",
    "a7": "▪",
}
_SYMBOL = {
    "b7": "•",
    "ae": "→",
    "a3": "≤",
    "b3": "≥",
    "b1": "±",
    "b4": "×",
    "61": "α",
    "62": "β",
    "6d": "μ",
    "70": "π",
    "44": "Δ",
}


class Text:
    """What Word shows of a paragraph. `boxes`, `notes`, `comments` and `drawings` are read after it, in this order."""

    def __init__(self, paragraph: Any, style: Style, styles: dict[str, Style], *, dark: bool) -> None:
        self._paragraph = paragraph
        self._style = style
        self._styles = styles
        self._dark = dark
        self._pieces: list[str] = []
        self.boxes: list[Any] = []
        self.notes: list[tuple[str, str]] = []  # ("footnote" or "endnote", id)
        self.comments: list[str] = []
        self.drawings: list[tuple[str, str]] = []  # ("chart", "dm" or "embed", id of the relation)
        self.pictures = 0
        self.hidden = False
        self._inline(paragraph)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def _inline(self, parent: Any) -> None:
        for element in parent:
            name = local(element)
            if name in _SKIPPED:
                continue
            if name == "r" and self._unseen(element):
                self.hidden = True
            elif name == "AlternateContent":
                self._inline(chosen(element))
            elif name in _TAKEN:
                _TAKEN[name](self, element)
            else:
                self._pieces.append(_own_text(element, name))
                self._inline(element)

    def _box(self, element: Any) -> None:
        self.boxes.append(element)

    def _note(self, element: Any) -> None:
        self.notes.append((local(element).removesuffix("Reference"), value(element, "id")))

    def _comment(self, element: Any) -> None:
        self.comments.append(value(element, "id"))

    def _formula(self, element: Any) -> None:
        self._pieces.append(formula_text(element))

    def _picture(self, element: Any) -> None:
        self.pictures += 1

    def _described(self, element: Any) -> None:
        """<wp:docPr>: what the author says of the drawing that follows."""
        if text := picture_text(element):
            self._pieces.append(f" {text} ")

    def _chart(self, element: Any) -> None:
        self.drawings.append(("chart", value(element, "id")))

    def _diagram(self, element: Any) -> None:
        self.drawings.append(("dm", value(element, "dm")))

    def _object(self, element: Any) -> None:
        """Something of another program, handed over as a file; the picture of it says nothing else."""
        for item in element.iter("{*}OLEObject"):
            self.drawings.append(("embed", value(item, "id")))

    def _content(self, element: Any) -> None:
        """A content control; the invitation to fill it in is not its content."""
        if not on(child(element, "sdtPr", "showingPlcHdr")):
            self._inline(element)

    def _field(self, element: Any) -> None:
        """The start of a field: a box to tick, or a list to choose from, has no other text."""
        tick, choice = child(element, "ffData", "checkBox"), child(element, "ffData", "ddList")
        if tick is not None:
            state = child(tick, "checked")
            self._pieces.append("☒" if on(state if state is not None else child(tick, "default")) else "☐")
        elif choice is not None:
            entries = [value(entry) for entry in choice if local(entry) == "listEntry"]
            place = number(value(child(choice, "result")))
            self._pieces.append(entries[place] if place < len(entries) else "")

    # --- What nobody sees

    def _unseen(self, run: Any) -> bool:
        """Whether Word shows nothing of the run: hidden, or too small or too white to be read."""
        if not _has_text(run):
            return False
        properties = child(run, "rPr")
        own = self._styles.get(value(child(properties, "rStyle"))) if properties is not None else None
        vanish = child(properties, "vanish") if properties is not None else None
        if on(vanish):
            return True
        if vanish is None and (self._style.hidden or (own is not None and own.hidden)):
            return True
        given = (value(child(properties, name)) if properties is not None else "" for name in ("sz", "color"))
        size, color = given
        size = size or (own.size if own is not None else "") or self._style.size
        color = color or (own.color if own is not None else "") or self._style.color
        if size and 0 < number(size) <= _TINY:
            return True
        return WHITE.match(color) is not None and self._on_white(properties)

    def _on_white(self, properties: Any) -> bool:
        """Whether nothing dark can lie under the run: no shading, no coloured cell or shape, no coloured page."""
        if self._dark or self._style.shaded or (properties is not None and child(properties, "highlight") is not None):
            return False
        own = child(properties, "shd") if properties is not None else None
        if any(coloured(shading) for shading in (own, child(self._paragraph, "pPr", "shd"))):
            return False
        for above in self._paragraph.iterancestors():
            match local(above):
                case "tc":
                    shading = child(above, "tcPr", "shd")
                    if shading is not None and value(shading, "fill"):
                        return not coloured(shading)
                case "tbl":
                    # A style may colour the cells; which of them it does, it decides by rules that are not read here.
                    if value(child(above, "tblPr", "tblStyle")) not in ("", "TableGrid", "TableNormal"):
                        return False
                    if coloured(child(above, "tblPr", "shd")):
                        return False
                case "txbxContent":
                    return False
        return True


_TAKEN: dict[str, Callable[[Text, Any], None]] = {
    "txbxContent": Text._box,
    "footnoteReference": Text._note,
    "endnoteReference": Text._note,
    "commentReference": Text._comment,
    "oMath": Text._formula,
    "blip": Text._picture,
    "imagedata": Text._picture,
    "docPr": Text._described,
    "chart": Text._chart,
    "relIds": Text._diagram,
    "object": Text._object,
    "sdt": Text._content,
    "fldChar": Text._field,
}


def chosen(alternatives: Any) -> Any:
    """Of two drawings of the same thing the first, or the fallback where the first holds nothing that is read here."""
    options = [option for option in alternatives if local(option) in ("Choice", "Fallback")]
    read = ("t", "blip", "chart", "relIds")
    return next((option for option in options if any(local(item) in read for item in option.iter())), [])


def _has_text(run: Any) -> bool:
    return any(local(inner) == "t" and inner.text for inner in run)


def _own_text(element: Any, name: str) -> str:
    match name:
        case "t":
            return element.text or ""
        case "tab" | "ptab":
            return " "
        case "br" | "cr":
            return "\n"
        case "noBreakHyphen":
            return "-"
        case "sym":
            known = _WINGDINGS if "wingdings" in value(element, "font").lower() else _SYMBOL
            return known.get(value(element, "char").lower().removeprefix("f0"), "")
    return ""
