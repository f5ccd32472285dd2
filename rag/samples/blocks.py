"""Reads a sample's source text into the few blocks that the writers know how to set.

A source is `key: value` lines between two `---` lines, then Markdown: headings, paragraphs, flat lists, tables, quotes
and rules. Anything else is refused, so that no writer can drop words in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode


@dataclass(frozen=True, slots=True)
class Span:
    """A run of words in one style; "\\n" as the whole text is a line break."""

    text: str
    bold: bool = False
    italic: bool = False


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    line: Line


@dataclass(frozen=True, slots=True)
class Paragraph:
    line: Line


@dataclass(frozen=True, slots=True)
class Quote:
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list; `first` is the number of its first item, or None where it has bullets."""

    first: int | None
    items: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `right` holds the 0-based columns whose cells stand at the right."""

    header: tuple[Line, ...]
    rows: tuple[tuple[Line, ...], ...]
    right: frozenset[int]

    def shares(self) -> tuple[float, ...]:
        """The width of each column as a share of the whole, by the words it has to hold."""
        columns = list(zip(self.header, *self.rows, strict=True))
        weights = [_weight([plain(cell) for cell in column]) for column in columns]
        return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True, slots=True)
class Rule:
    pass


Block = Heading | Paragraph | Quote | Items | Table | Rule


@dataclass(frozen=True, slots=True)
class Source:
    """One sample: `name` is the file it becomes; `details` are the labelled lines under its title."""

    name: str
    title: str
    house: str  # whose letterhead: "clinic" or "law"
    reference: str
    date: datetime
    details: tuple[tuple[str, str], ...]
    markdown: str

    def blocks(self) -> tuple[Block, ...]:
        """The body, in order; raises ValueError for Markdown that no writer can set."""
        return tuple(_blocks(SyntaxTreeNode(reader().parse(self.markdown))))


def reader() -> MarkdownIt:
    """The Markdown reader of all samples: CommonMark with tables and typographic quotes."""
    return MarkdownIt("commonmark", {"typographer": True}).enable(["table", "smartquotes"])


def read(path: Path) -> Source:
    """The source in `path`, named for the file it becomes ("leave-policy.docx.md" becomes "leave-policy.docx")."""
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    keys = dict(line.split(": ", 1) for line in head.splitlines())
    details = keys.pop("details", "")
    return Source(
        name=path.stem,
        title=keys.pop("title"),
        house=keys.pop("house"),
        reference=keys.pop("reference"),
        date=datetime.strptime(keys.pop("date"), "%Y-%m-%d").replace(hour=9, tzinfo=UTC),
        details=tuple(_detail(part) for part in details.split(" | ") if part),
        markdown=body.lstrip("\n"),
    )


def plain(line: Line) -> str:
    """The words of `line` without their styles."""
    return "".join(span.text for span in line)


def _detail(part: str) -> tuple[str, str]:
    label, value = part.split(" = ", 1)
    return label, value


def _weight(cells: list[str]) -> float:
    longest_word = max(len(word) for cell in cells for word in (cell.split() or [""]))
    return max(longest_word + 2, min(max(len(cell) for cell in cells), 44), 6)


def _blocks(root: SyntaxTreeNode) -> Iterator[Block]:
    for node in root.children:
        match node.type:
            case "heading":
                yield Heading(int(node.tag[1]), _line(node.children[0]))
            case "paragraph":
                yield Paragraph(_line(node.children[0]))
            case "bullet_list":
                yield Items(None, tuple(_item(item) for item in node.children))
            case "ordered_list":
                yield Items(int(node.attrs.get("start", 1)), tuple(_item(item) for item in node.children))
            case "blockquote":
                yield Quote(tuple(_only_line(child) for child in node.children))
            case "table":
                yield _table(node)
            case "hr":
                yield Rule()
            case other:
                raise ValueError(f"no writer can set a block of the kind {other!r}")


def _item(node: SyntaxTreeNode) -> Line:
    if len(node.children) != 1:
        raise ValueError("a list item of a sample is one paragraph")
    return _only_line(node.children[0])


def _only_line(node: SyntaxTreeNode) -> Line:
    if node.type != "paragraph":
        raise ValueError(f"a paragraph was expected, not {node.type!r}")
    return _line(node.children[0])


def _table(node: SyntaxTreeNode) -> Table:
    head, body = node.children
    cells = head.children[0].children
    right = frozenset(i for i, cell in enumerate(cells) if "right" in str(cell.attrs.get("style", "")))
    rows = tuple(tuple(_line(cell.children[0]) for cell in row.children) for row in body.children)
    return Table(tuple(_line(cell.children[0]) for cell in cells), rows, right)


def _line(inline: SyntaxTreeNode) -> Line:
    return tuple(_spans(inline, bold=False, italic=False))


def _spans(node: SyntaxTreeNode, *, bold: bool, italic: bool) -> Iterator[Span]:
    for child in node.children:
        match child.type:
            case "text" | "code_inline":
                if child.content:
                    yield Span(child.content, bold=bold, italic=italic)
            case "softbreak":
                yield Span(" ", bold=bold, italic=italic)
            case "hardbreak":
                yield Span("\n")
            case "strong":
                yield from _spans(child, bold=True, italic=italic)
            case "em":
                yield from _spans(child, bold=bold, italic=True)
            case other:
                raise ValueError(f"no writer can set words of the kind {other!r}")
