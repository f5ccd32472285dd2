"""HTML: what a reader of the page sees, without scripts, hidden parts, menus and footers.

Why: the walk keeps its own stack, because pages with 50,000 nested elements exist and recursion would crash on them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._kinds import is_text, kind_of, looks_like_html
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.text import decode, read_limited
from rag.domain.errors import Permanent
from rag.domain.text import clean, one_line, sensible_title
from rag.domain.types import ParsedDocument

_UNSEEN_NAMES = (
    "script style template noscript head title meta link base iframe frame object embed applet canvas svg audio "
    "video datalist input textarea select option button dialog area map noframes"
)
_UNSEEN = frozenset(_UNSEEN_NAMES.split())
_BLOCKS_NAMES = (
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer "
    "form header hgroup hr html legend li main menu nav ol p pre section summary table tbody td tfoot th thead tr "
    "ul"
)
_BLOCKS = frozenset(_BLOCKS_NAMES.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BOILERPLATE = frozenset({"nav", "aside", "header", "footer"})
_BOILERPLATE_ROLES = frozenset({"navigation", "banner", "contentinfo", "complementary", "search"})
# What wikis and site builders call the parts that lead about the page.
_CONTROLS = frozenset({"mw-editsection", "mw-jump-link", "mw-editlinks", "wb-langlinks-edit", "noprint", "skip-link"})
_LEAST_MAIN = 500  # characters of a main part that is one
_HIDING = re.compile(
    r"(?i)(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0(?:\.0+)?\s*(?:;|!|$)"
    r"|(?:left|top|text-indent)\s*:\s*-\d{4,})"
)
_SIZE = re.compile(r"(?i)(?:^|;)\s*font-size\s*:\s*([\d.]+)\s*([a-z%]*)")
_COLOUR = re.compile(r"(?i)(?:^|;)\s*color\s*:\s*([^;!]+)")
_BACKGROUND = re.compile(r"(?i)(?:^|;)\s*background(?:-color)?\s*:\s*([^;!]+)")
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*\)")
_SAME = 12  # steps of 255 by which two colours differ that nobody tells apart
_DECLARED = re.compile(
    rb"(?i)<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-z0-9_:.-]{2,40})"
    rb"|^<\?xml[^>]{0,100}encoding=[\"']([a-z0-9_.-]{2,40})"
)
_WHITESPACE = re.compile(r"[ \t\n\r\f]+")


HIDDEN = "Hidden text was left out."
_META = {
    "author": "author",
    "dc.creator": "author",
    "article:author": "author",
    "description": "description",
    "dc.description": "description",
    "keywords": "keywords",
    "date": "created",
    "dc.date": "created",
    "dcterms.created": "created",
    "article:published_time": "created",
    "article:modified_time": "modified",
    "last-modified": "modified",
}


class HtmlParser(Parser):
    name: ClassVar[str] = "html/2"
    media_types: ClassVar[frozenset[str]] = frozenset({"text/html", "application/xhtml+xml"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".html", ".htm", ".xhtml"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        if kind_of(head) not in ("", "a web page") or not is_text(head):
            return False
        return looks_like_html(head) or b"<" in head

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        document = read_page(decode_page(read_limited(path)), self.name)
        work.progress(1, 1)
        return document


def read_page(source: str, parser: str) -> ParsedDocument:
    """A web page as one document; raises `Permanent` when nothing of it is seen."""
    root = _tree(source)
    if root is None:
        raise Permanent("This file holds no text.")
    writer = Writer()
    walk = _Walk(writer, main_only=_has_main(root))
    walk.run(_main(root))
    page = writer.page()
    if not page.text:
        raise Permanent("This web page shows no text of its own.")
    title = _title(root) or sensible_title(writer.first_heading)
    return ParsedDocument(title, (page,), parser, (HIDDEN,) if walk.concealed else (), _properties(root))


def write_visible(writer: Writer, source: str) -> None:
    """Writes all that a browser shows of a piece of HTML, menus included."""
    root = _tree(source)
    if root is not None:
        _Walk(writer, main_only=False).run(root)


def write_tree(writer: Writer, root: Any) -> None:
    """Writes a tree whose elements have the names of HTML."""
    _Walk(writer, main_only=False).run(root)


def visible_blocks(source: str) -> Iterator[str]:
    """The visible text of a piece of HTML, block by block."""
    writer = Writer()
    write_visible(writer, source)
    yield from (block for block in writer.page().text.split("\n\n") if block)


def decode_page(data: bytes, declared_outside: str = "") -> str:
    """The source of a web page; `declared_outside` is the encoding that a mail or a server names."""
    declared = _DECLARED.search(data[:4096])
    name = (declared.group(1) or declared.group(2)).decode("ascii") if declared else declared_outside
    # Browsers read these names as the Windows encoding that contains them.
    name = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252"}.get(name.lower(), name)
    return decode(data, name)


def _tree(source: str) -> Any:
    """The root element, or None where there is nothing."""
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        return etree.fromstring(clean(source).encode(), parser)
    except etree.XMLSyntaxError:
        return None


def _has_main(root: Any) -> bool:
    found = next(root.iter("main", "article"), None)
    return found is not None or next(iter(root.xpath("//*[@role='main'][1]")), None) is not None


def _main(root: Any) -> Any:
    """The element that says that it is the page's main content, if it holds enough to be it; else all of the page."""
    found = root.xpath("//main | //*[@role='main']")
    # Some pages have both, one in the other.
    outer = [element for element in found if not any(parent in found for parent in element.iterancestors())]
    if len(outer) == 1 and sum(len(text.strip()) for text in outer[0].itertext()) >= _LEAST_MAIN:
        return outer[0]
    return root


def _title(root: Any) -> str:
    element = next(root.iter("title"), None)
    return sensible_title("".join(element.itertext())) if element is not None else ""


def _properties(root: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in root.iter("meta"):
        key = _META.get((element.get("name") or element.get("property") or "").lower(), "")
        text = one_line(element.get("content") or "")
        if key and text:
            found.setdefault(key, text)
    return found


def _colour(text: str) -> tuple[int, ...] | None:
    """Red, green and blue of a colour, None where it is not written out."""
    text = text.strip().lower()
    text = {"white": "#fff", "black": "#000", "snow": "#fff", "ivory": "#fff"}.get(text, text)
    if re.fullmatch(r"#[0-9a-f]{3}", text):
        text = "#" + "".join(2 * letter for letter in text[1:])
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return tuple(bytes.fromhex(text[1:]))
    found = _RGB.fullmatch(text)
    return tuple(map(int, found.groups())) if found else None


@dataclass(slots=True)
class _Table:
    element: Any
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Look:
    """How text looks at a place, as far as attributes say; a colour is None where they leave it open."""

    tiny: bool = False
    colour: tuple[int, ...] | None = (0, 0, 0)
    background: tuple[int, ...] | None = (255, 255, 255)

    @property
    def unseen(self) -> bool:
        if self.tiny or self.colour is None or self.background is None:
            return self.tiny
        return all(abs(one - other) <= _SAME for one, other in zip(self.colour, self.background, strict=True))

    def inside(self, element: Any) -> "_Look":
        """The look inside an element."""
        style, colour, background = element.get("style") or "", element.get("color"), element.get("bgcolor")
        if not style and not colour and not background:
            return self
        size, fore, back = _SIZE.search(style), _COLOUR.search(style), _BACKGROUND.search(style)
        fore_text, back_text = fore[1] if fore else colour, back[1] if back else background
        transparent = back_text is not None and back_text.strip().lower() in (
            "transparent",
            "none",
            "inherit",
            "initial",
        )
        return _Look(
            _is_tiny(size[1], size[2].lower()) if size else self.tiny,
            _colour(fore_text) if fore_text else self.colour,
            _colour(back_text) if back_text and not transparent else self.background,
        )


def _is_tiny(number: str, unit: str) -> bool:
    try:
        size = float(number)
    except ValueError:
        return False
    return size == 0 or (size <= 1 and unit in ("px", "pt"))


@dataclass(slots=True)
class _List:
    next_number: int | None = None  # None for bullets


class _Walk:
    """Visits every visible element once, opening and closing blocks as it goes."""

    def __init__(self, writer: Writer, *, main_only: bool) -> None:
        self.writer = writer
        self.main_only = main_only
        self.text: list[str] = []
        self.lists: list[_List] = []
        self.table: _Table | None = None
        self.marker = ""
        self.heading = 0
        self.pre = 0
        self.mains = 0
        self.headers = 0
        self.looks = [_Look()]
        self.concealed = False  # whether text was left out that only a style hides

    def run(self, root: Any) -> None:
        # (element, leaving): leaving comes back to the element after its children.
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving:
                self._leave(element)
            elif self._hidden(element):
                pass
            else:
                self._enter(element)
                stack.append((element, True))
                child = element[-1] if len(element) else None
                while child is not None:
                    stack.append((child, False))
                    child = child.getprevious()
                continue
            if element.tail and element is not root:
                self._add(element.tail)
        self._flush()

    def _hidden(self, element: Any) -> bool:
        tag = element.tag
        if not isinstance(tag, str) or tag in _UNSEEN or element.get("hidden") is not None:
            return True
        style = element.get("style")
        if style and _HIDING.search(style):
            self.concealed = self.concealed or any(text.strip() for text in element.itertext())
            return True
        if not _CONTROLS.isdisjoint((element.get("class") or "").split()):
            return True
        if element.get("aria-hidden") == "true" and tag not in ("body", "main", "article"):
            return True
        if not self.main_only:
            return False
        boilerplate = tag in _BOILERPLATE or element.get("role") in _BOILERPLATE_ROLES
        # A header inside the article is the article's own; a list in it is a menu.
        return (boilerplate and not (self.mains and tag in ("header", "footer"))) or (self.headers > 0 and tag == "ul")

    def _enter(self, element: Any) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            self._flush()
            self.heading = _HEADINGS[tag]
        elif tag in _BLOCKS:
            self._flush()
            self._open(tag, element)
        elif tag == "br":
            self.text.append("\n")
        if tag in ("main", "article") or element.get("role") == "main":
            self.mains += 1
        self.headers += tag == "header"
        self.looks.append(self.looks[-1].inside(element))
        if element.text:
            self._add(element.text)

    def _open(self, tag: str, element: Any) -> None:
        match tag:
            case "ul" | "menu":
                self.lists.append(_List())
            case "ol":
                start = element.get("start", "1")
                self.lists.append(_List(int(start) if re.fullmatch(r"-?\d{1,6}", start) else 1))
            case "li":
                self.marker = self._next_marker()
            case "pre":
                self.pre += 1
            # A table that holds a table only places things: its cells are read as blocks.
            case "table" if self.table is None and next(element.iterdescendants("table"), None) is None:
                self.table = _Table(element)
            case "tr" if self.table is not None:
                self.table.rows.append([])
            case "td" | "th" if self.table is not None and self.table.rows:
                self.table.rows[-1].append("")

    def _next_marker(self) -> str:
        if not self.lists or self.lists[-1].next_number is None:
            return "- "
        number = self.lists[-1].next_number
        self.lists[-1].next_number = number + 1
        return f"{number}. "

    def _leave(self, element: Any) -> None:
        tag = element.tag
        self.looks.pop()
        if tag in _HEADINGS or tag in _BLOCKS:
            self._flush()
        if tag in _HEADINGS:
            self.heading = 0
        match tag:
            case "ul" | "ol" | "menu" if self.lists:
                self.lists.pop()
            case "li":
                self.marker = ""
            case "pre":
                self.pre -= 1
            case "table" if self.table is not None and self.table.element is element:
                rows = [" | ".join(row) for row in self.table.rows if any(row)]
                self.table = None
                self.writer.block("\n".join(rows))
        if tag in ("main", "article") or element.get("role") == "main":
            self.mains -= 1
        self.headers -= tag == "header"

    def _add(self, text: str) -> None:
        if self.looks[-1].unseen:
            self.concealed = self.concealed or bool(text.strip())
            return
        self.text.append(text if self.pre else _WHITESPACE.sub(" ", text))

    def _flush(self) -> None:
        """Ends the block that was being collected."""
        if not self.text:
            return
        text = "".join(self.text)
        self.text.clear()
        if not self.pre:
            text = "\n".join(one_line(line) for line in text.split("\n")).strip("\n")
        if not text.strip():
            return
        if self.table is not None and self.table.rows and self.table.rows[-1]:
            row = self.table.rows[-1]
            row[-1] = one_line(f"{row[-1]} {text}")
        elif self.heading:
            self.writer.heading(text, self.heading)
        elif self.lists:
            indent = "  " * min(len(self.lists) - 1, 10)
            self.writer.item(indent + (self.marker or "  ") + text.strip("\n").replace("\n", f"\n{indent}  "))
            self.marker = ""
        else:
            self.writer.block(text)
