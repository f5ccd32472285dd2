"""Rich text (.rtf): headings, lists, tables, notes and comments; nothing that it links to or embeds is opened.

Why not a library: those at hand drop the structure, or take a font's code page for the whole document's.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from rag.backends.parsers._rtf_text import DRAWN, SIGNS, SYMBOL, SYMBOLS, charset_page, code_page, joined, tokens
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument, Reading

_KIND = "RTF document"
_MOST_BYTES = 256 * 1024**2  # of a file: pictures in it are written out in digits
_DEEPEST = 5_000  # groups inside each other
_TINY = 4  # half points: nobody reads letters of 2 points
_HEADING_NAME = re.compile(r"(?i)^(?:heading|überschrift|titre|título|titolo|kop) ?([1-9])$")
_INFO = {"title": "title", "author": "author", "subject": "subject", "keywords": "keywords", "company": "company"}
_INFO |= {"operator": "last modified by", "category": "category", "manager": "manager"}
_DATES = {"creatim": "created", "revtim": "modified"}
# What is no text of the document: tables, settings, data, and what another group repeats.
_SKIPPED_NAMES = (
    "listtable listoverridetable revtbl rsidtbl filetbl themedata colorschememapping datastore latentstyles generator "
    "xmlnstbl mmathPr wgrffmtfilter fldinst bkmkstart bkmkend objdata objclass objname nonshppict shprslt sp sn sv "
    "pn pnseclvl ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn nonesttables atnid atnref atnicn atntime atndate atrfstart "
    "atrfend datafield template private falt panose fname xe tc rxe txe doccomm hlinkbase background docvar userprops "
    "passwordhash password picprop blipuid blipupi xmlopen xmlclose mmathPict oldcprops oldpprops oldtprops pgptbl "
    "defchp defpap formfield fchars lchars"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
# Groups that programs may pass over and that hold text all the same.
_READ = frozenset(
    ("shpinst", "shptxt", "shppict", "annotation", "atnauthor", "ud", "nesttableprops", "moMath", "moMathPara", "mr")
)
_FLOWS = {"footnote": "note", "annotation": "comment", "shptxt": "box", "dptxbxtext": "box"}
_FLOWS |= {f"header{side}": "header" for side in ("", "l", "r", "f")}
_FLOWS |= {f"footer{side}": "footer" for side in ("", "l", "r", "f")}


class RtfParser(Parser):
    name: ClassVar[str] = "rtf/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/rtf", "text/rtf"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".rtf"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{\\rtf")

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise Permanent(f"This {_KIND} is too large to be read.")
        reading = _Reading()
        reading.run(data)
        page = reading.page()
        work.progress(1, 1)
        title = sensible_title(reading.facts.get("title", "")) or sensible_title(reading.title)
        title = title or next((sensible_title(heading.text) for heading in page.headings), "")
        return ParsedDocument(title, (page,), self.name, tuple(reading.warnings()), reading.facts)


def rtf_text(data: bytes) -> str:
    """The text of rich text that is not a file of its own, such as a mail's body; `Permanent` for hopeless nesting."""
    reading = _Reading()
    reading.run(data)
    return reading.body.writer.page().text


class _Flow:
    """A run of paragraphs: the body, a note, a comment, a text box, a header or a footer."""

    def __init__(self, kind: str, author: str = "") -> None:
        self.kind = kind
        self.author = author
        self.writer = Writer()
        self.pieces: list[str] = []
        self.label: list[str] = []
        self.cell: list[str] = []
        self.cells: list[str] = []
        self.rows: list[str] = []
        self.after: list[str] = []  # notes, comments and boxes of the paragraph


@dataclass(slots=True)
class _State:
    """What counts inside a group; a group begins with a copy of what is around it."""

    flow: _Flow
    target: str = (
        "text"  # where letters go: "text", "label", "skip", or what a table or the document's facts are made of
    )
    encoding: str = "cp1252"
    symbols: bool = False  # the font draws signs in the place of letters
    skip: int = 1  # letters after a \\u that stand in for it
    hidden: bool = False
    deleted: bool = False
    size: int = 24
    color: int = 0
    ground: bool = False  # letters or paragraph lie on a colour of their own
    style: int = 0
    level: int = 0
    depth: int = 0
    table: bool = False


@dataclass(slots=True)
class _Style:
    name: str = ""
    level: int = 0


@dataclass(slots=True)
class _Reading:
    """Reads the tokens of one document. No recursion: groups inside each other are a list."""

    facts: dict[str, str] = field(default_factory=dict)
    title: str = ""
    pictures: int = 0
    objects: int = 0
    changes: int = 0
    hidden: bool = False
    fonts: dict[int, str] = field(default_factory=dict)  # the code page of each
    signs: set[int] = field(default_factory=set)  # fonts that draw signs
    styles: dict[int, _Style] = field(default_factory=dict)
    colors: list[tuple[int, int, int]] = field(default_factory=list)
    body: _Flow = field(default_factory=lambda: _Flow("body"))
    margins: dict[str, list[str]] = field(default_factory=lambda: {"header": [], "footer": []})
    stack: list[_State] = field(default_factory=list)
    state: _State = field(init=False)
    page_encoding: str = "cp1252"
    raw: bytearray = field(default_factory=bytearray)  # letters whose code page is applied when they are all there
    words: list[str] = field(default_factory=list)  # of what is neither text nor skipped: a font's name, a title
    fresh: bool = False  # a group has just begun
    starred: bool = False
    pending: int = 0  # letters still to be left out after a \\u
    noted: int = 0
    author: str = ""
    date: dict[str, int] = field(default_factory=dict)
    rgb: list[int] = field(default_factory=lambda: [0, 0, 0])
    font: int = 0

    def __post_init__(self) -> None:
        self.state = _State(self.body)

    def run(self, data: bytes) -> None:
        for word, number, letters in tokens(data):
            if word == "{":
                self._open()
            elif word == "}":
                self._close()
                if not self.stack:
                    break  # what comes after the document is none of it
            elif word == "":
                self._letters(letters)
            elif word == "\\'":
                self._letters(bytes([number or 0]))
            elif word == "\\*":
                self.starred = True
            elif word.startswith("\\"):
                self._symbol(word[1])
            else:
                self._word(word, number)
        while self.stack:
            self._close()
        self._flush()
        self._end_of_flow(self.body)

    def page(self) -> Page:
        """All that was read; raises `Permanent` for a document with nothing in it."""
        writer = self.body.writer
        for kind, texts in self.margins.items():
            for text in dict.fromkeys(texts):
                if any(letter.isalpha() for letter in text):
                    writer.block(f"[{kind.capitalize()}: {text}]")
        page = writer.page()
        if not page.text and not self.pictures:
            raise Permanent(f"This {_KIND} holds no text.")
        gap = "" if page.text else f"This {_KIND} holds only pictures, which were not read."
        reading = Reading.UNREAD if gap else Reading.TEXT
        return replace(page, reading=reading, images=self.pictures, gap=gap)

    def warnings(self) -> Iterator[str]:
        if self.hidden:
            yield "Hidden text was left out."
        if self.changes:
            yield "The document has unaccepted changes: it was read as if all were accepted."
        if self.objects:
            yield "Objects of other programs in this document were not read."

    # --- Groups

    def _open(self) -> None:
        self._flush()
        if len(self.stack) >= _DEEPEST:
            raise Permanent(f"This {_KIND} is damaged and cannot be read.")
        self.stack.append(self.state)
        self.state = replace(self.state)
        self.fresh, self.starred, self.pending = True, False, 0

    def _close(self) -> None:
        self._flush()
        self.pending = 0
        self.fresh = self.starred = False
        inner = self.state
        self.state = self.stack.pop() if self.stack else _State(self.body)
        if inner.target != self.state.target:
            self._end_of_target(inner)
        if inner.flow is not self.state.flow:
            self._end_of_flow(inner.flow)

    def _end_of_target(self, inner: _State) -> None:
        text = one_line(joined(self.words))
        match inner.target:
            case "style":
                self._name_style(inner, text)
            case "atnauthor":
                self.author = text
            case name if name in _INFO and text:
                self.facts.setdefault(_INFO[name], text[:500])
            case name if name in _DATES and self.date.get("yr"):
                date = [self.date.get(key, 1) for key in ("yr", "mo", "dy")]
                self.facts.setdefault(_DATES[name], "{:04}-{:02}-{:02}".format(*date))
        if inner.target not in ("text", "label", "skip"):
            self.words = []

    def _name_style(self, inner: _State, text: str) -> None:
        name = text.rstrip(";").strip()
        named = _HEADING_NAME.match(name)
        self.styles.setdefault(inner.style, _Style(name, int(named.group(1)) if named else inner.level))

    def _destination(self, word: str) -> bool:
        """Whether the first word of a group says what the group is."""
        starred, self.starred, self.fresh = self.starred, False, False
        outer = self.stack[-1].target if self.stack else "text"
        if self.state.target == "skip":
            return True
        if word in _FLOWS and outer == "text":
            self.state.flow = _Flow(_FLOWS[word], self.author)
            self.state = _State(self.state.flow, encoding=self.state.encoding, skip=self.state.skip)
            self.author = ""
        elif word in ("fonttbl", "colortbl", "info", "atnauthor") or (outer == "info" and word in {*_INFO, *_DATES}):
            self.state.target, self.words, self.date = word, [], {}
        elif word in ("stylesheet", "upr"):
            self.state.target, self.words = word, []
        elif word in ("listtext", "pntext"):
            self.state.target = "label"
            self.state.flow.label = []
        elif word == "pict":
            self.pictures += outer == "text"
            self.state.target = "skip"
        elif word == "object":
            self.objects += 1
        elif word in _SKIPPED or (
            starred and word not in _READ and not (outer == "stylesheet" and word in ("cs", "ts"))
        ):
            self.state.target = "skip"
        else:
            return False
        return True

    # --- Words

    def _word(self, word: str, number: int | None) -> None:
        self._flush_for(word)
        if self.fresh:
            if self.state.target == "stylesheet" and len(self.stack) > 1:
                self.state.target, self.words = "style", []
            if self._destination(word):
                return
        self.starred = False
        if self.state.target == "skip":
            return
        if word == "ud" and len(self.stack) > 1:  # the second wording of an {\\upr ...} group
            self.state.target, self.words = self.stack[-2].target, []
        if word in _HANDLERS:
            _HANDLERS[word](self, 1 if number is None else number)
        elif word in SIGNS:
            self._put(SIGNS[word])
        elif word in _DATE_WORDS:
            self.date[word] = number or 0

    def _flush_for(self, word: str) -> None:
        # Bytes go on through a word such as "\\hich" that changes nothing about them.
        if word in _HANDLERS or word in SIGNS:
            self._flush()

    def _unicode(self, number: int) -> None:
        self.pending = 0
        code = number % 0x10000
        # Fonts that draw signs have them in a block of their own.
        self._put(DRAWN.get(code - 0xF000, "") if 0xF000 <= code <= 0xF0FF else chr(code))
        self.pending = self.state.skip

    def _paragraph(self, _: int = 1) -> None:
        if self.state.target == "text":
            self._end_of_paragraph(self.state.flow)

    def _reset_paragraph(self, _: int) -> None:
        self.state.style = self.state.level = self.state.depth = 0
        self.state.table = self.state.ground = False

    def _reset_letters(self, _: int) -> None:
        self.state.hidden = self.state.deleted = self.state.ground = self.state.symbols = False
        self.state.size, self.state.color, self.state.encoding = 24, 0, self.page_encoding

    def _set_font(self, number: int) -> None:
        self.font = number
        if self.state.target != "fonttbl":
            self.state.encoding = self.fonts.get(number, "") or self.page_encoding
            self.state.symbols = number in self.signs

    def _set_charset(self, number: int) -> None:
        if number == SYMBOL:
            self.signs.add(self.font)
        elif page := charset_page(number):
            self.fonts.setdefault(self.font, page)

    def _set_font_page(self, number: int) -> None:
        if self.state.target == "fonttbl":
            self.fonts[self.font] = code_page(number)

    def _set_page(self, number: int) -> None:
        self.page_encoding = self.state.encoding = code_page(number)
        for state in self.stack:
            state.encoding = self.page_encoding

    def _set_hidden(self, number: int) -> None:
        self.state.hidden = number != 0

    def _set_deleted(self, number: int) -> None:
        self.state.deleted = number != 0
        self.changes += number != 0

    def _set_revised(self, number: int) -> None:
        self.changes += number != 0

    def _set_size(self, number: int) -> None:
        self.state.size = number

    def _set_color(self, number: int) -> None:
        self.state.color = number

    def _set_ground(self, number: int) -> None:
        self.state.ground = number != 0

    def _set_style(self, number: int) -> None:
        self.state.style = number
        if self.state.target == "text" and number in self.styles:
            self.state.level = self.styles[number].level

    def _set_level(self, number: int) -> None:
        self.state.level = number + 1 if 0 <= number < 9 else 0

    def _set_depth(self, number: int) -> None:
        self.state.depth = max(0, min(number, 8))

    def _set_skip(self, number: int) -> None:
        self.state.skip = max(0, number)

    def _set_table(self, number: int) -> None:
        self.state.table = number != 0

    def _cell(self, _: int) -> None:
        if self.state.target == "text":
            flow = self.state.flow
            self._into_cell(flow)
            flow.cells.append(one_line(" ".join(flow.cell)))
            flow.cell = []

    def _row(self, _: int) -> None:
        if self.state.target == "text":
            self._end_of_row(self.state.flow)

    def _inner_cell(self, _: int) -> None:
        self._put(" | ")

    def _inner_row(self, _: int) -> None:
        self._put("\n")

    # --- Letters

    def _letters(self, data: bytes) -> None:
        self.fresh = False
        if self.state.target == "skip":
            return
        if self.pending:
            left_out = min(self.pending, len(data))
            self.pending -= left_out
            data = data[left_out:]
        self.raw += data

    def _symbol(self, symbol: str) -> None:
        self.fresh = False
        if symbol in "\r\n":
            self._flush()
            self._paragraph()
        elif self.pending:
            self.pending -= 1
        elif symbol in SYMBOLS:
            self._flush()
            self._put(SYMBOLS[symbol])

    def _flush(self) -> None:
        if not self.raw:
            return
        data, self.raw = bytes(self.raw), bytearray()
        if self.state.symbols:
            self._put("".join(DRAWN.get(byte, "") for byte in data))
        else:
            self._put(data.decode(self.state.encoding, "replace"))

    def _put(self, text: str) -> None:
        if not text:
            return
        match self.state.target:
            case "text":
                if self._unseen():
                    self.hidden |= bool(text.strip()) and not self.state.deleted
                else:
                    self.state.flow.pieces.append(text)
            case "label":
                self.state.flow.label.append(text)
            case "colortbl":
                for _ in range(text.count(";")):
                    self.colors.append((self.rgb[0], self.rgb[1], self.rgb[2]))
                    self.rgb = [0, 0, 0]
            case "skip":
                pass
            case _:
                self.words.append(text)

    def _unseen(self) -> bool:
        """Whether one sees nothing of the letters: hidden, deleted, or too small or too white to be read."""
        state = self.state
        if state.hidden or state.deleted or 0 < state.size <= _TINY:
            return True
        white = 0 < state.color < len(self.colors) and min(self.colors[state.color]) >= 0xF8
        return white and not state.ground and not state.table and state.flow.kind != "box"

    # --- Paragraphs, rows, flows

    def _into_cell(self, flow: _Flow) -> None:
        """The paragraph's text, its label before it, becomes part of a cell."""
        label, text = joined(flow.label).strip(), joined(flow.pieces).strip()
        flow.label, flow.pieces = [], []
        if text:
            flow.cell.append(f"{label} {text}" if label else text)
        flow.cell += flow.after
        flow.after = []

    def _end_of_paragraph(self, flow: _Flow) -> None:
        if self.state.table or flow.cells or flow.cell:
            self._into_cell(flow)
            if not self.state.table:
                self._end_of_row(flow)
            return
        self._end_of_table(flow)
        label, text = one_line(joined(flow.label)), joined(flow.pieces).strip()
        flow.label, flow.pieces = [], []
        style = self.styles.get(self.state.style, _Style())
        if text:
            if style.name.lower() == "title" and not self.title and flow.kind == "body":
                self.title = one_line(text)
                flow.writer.heading(text, 1)
            elif 0 < self.state.level < 10:
                flow.writer.heading(f"{label} {text}" if label not in ("", "•") else text, self.state.level)
            elif label:
                indent = "  " * self.state.depth
                flow.writer.item(f"{indent}{label} " + text.replace("\n", f"\n{indent}  "))
            else:
                flow.writer.block(text)
        for block in flow.after:
            flow.writer.block(block)
        flow.after = []

    def _end_of_row(self, flow: _Flow) -> None:
        if flow.cell or flow.pieces:
            self._into_cell(flow)
            flow.cells.append(one_line(" ".join(flow.cell)))
        if any(flow.cells):
            flow.rows.append(" | ".join(flow.cells))
        flow.cell, flow.cells = [], []

    def _end_of_table(self, flow: _Flow) -> None:
        if flow.rows:
            flow.writer.block("\n".join(flow.rows))
            flow.rows = []

    def _end_of_flow(self, flow: _Flow) -> None:
        """A flow that ends becomes part of the one around it, behind the paragraph that it hangs on."""
        if flow.cells or flow.cell:
            self._end_of_row(flow)
        outer, self.state = self.state, _State(flow)
        self._end_of_paragraph(flow)
        self.state = outer
        self._end_of_table(flow)
        text = one_line(flow.writer.page().text) if flow.kind != "body" else ""
        if not text:
            return
        match flow.kind:
            case "note":
                self.noted += 1
                self.state.flow.after.append(f"[Note {self.noted}: {text}]")
            case "comment":
                author = f" by {flow.author}" if flow.author else ""
                self.state.flow.after.append(f"[Comment{author}: {text}]")
            case "box":
                self.state.flow.after.append(flow.writer.page().text)
            case kind:
                self.margins[kind].append(text)


def _color(place: int) -> Callable[[_Reading, int], None]:
    def set_part(reading: _Reading, number: int) -> None:
        reading.rgb[place] = number

    return set_part


def _page(name: str) -> Callable[[_Reading, int], None]:
    def set_page(reading: _Reading, _: int) -> None:
        reading.page_encoding = reading.state.encoding = name

    return set_page


_DATE_WORDS = frozenset({"yr", "mo", "dy"})
_HANDLERS: dict[str, Callable[[_Reading, int], None]] = {
    "u": _Reading._unicode,
    "uc": _Reading._set_skip,
    "par": _Reading._paragraph,
    "sect": _Reading._paragraph,
    "pard": _Reading._reset_paragraph,
    "plain": _Reading._reset_letters,
    "f": _Reading._set_font,
    "fcharset": _Reading._set_charset,
    "cpg": _Reading._set_font_page,
    "ansicpg": _Reading._set_page,
    "mac": _page("mac_roman"),
    "pc": _page("cp437"),
    "pca": _page("cp850"),
    "v": _Reading._set_hidden,
    "deleted": _Reading._set_deleted,
    "revised": _Reading._set_revised,
    "fs": _Reading._set_size,
    "cf": _Reading._set_color,
    "cb": _Reading._set_ground,
    "chcbpat": _Reading._set_ground,
    "cbpat": _Reading._set_ground,
    "highlight": _Reading._set_ground,
    "s": _Reading._set_style,
    "outlinelevel": _Reading._set_level,
    "ilvl": _Reading._set_depth,
    "intbl": _Reading._set_table,
    "cell": _Reading._cell,
    "row": _Reading._row,
    "nestcell": _Reading._inner_cell,
    "nestrow": _Reading._inner_row,
    "red": _color(0),
    "green": _color(1),
    "blue": _color(2),
}
