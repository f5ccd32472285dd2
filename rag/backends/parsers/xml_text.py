"""XML: articles with their sections, feeds with their entries, and any other data as "name: text"."""

import re
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers._kinds import is_text, kind_of
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.html import read_page, visible_blocks, write_tree
from rag.backends.parsers.text import decode, read_limited
from rag.domain.errors import Permanent
from rag.domain.text import clean, one_line, sensible_title
from rag.domain.types import ParsedDocument

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(r"\A\s*<\?xml[^>]*?encoding=[\"']([\w.:-]{2,40})[\"']")
# A document type may name its definition, which is never fetched; what it declares in place is refused.
_DECLARES = re.compile(r"<!ENTITY|<!DOCTYPE[^>\[]*\[", re.IGNORECASE)
_REFUSED_DTD = "This XML file declares entities; it was not read."
_NESTED = "This XML file is nested too deep to be read."
_MOST_LINES = 12  # of a record that is one block
# The elements of JATS by the element of HTML that reads the same; those not named here are part of their line.
_JATS: dict[str, str] = {
    **dict.fromkeys(
        ("front", "back", "article-meta", "title-group", "contrib-group", "floats-group", "sub-article"), "div"
    ),
    **dict.fromkeys(
        ("abstract", "sec", "ack", "app", "app-group", "ref-list", "boxed-text", "trans-abstract"), "section"
    ),
    **dict.fromkeys(
        ("fig", "table-wrap", "caption", "supplementary-material", "disp-formula", "table-wrap-foot"), "div"
    ),
    **dict.fromkeys(
        ("contrib", "aff", "ref", "fn", "pub-date", "kwd-group", "corresp", "disp-quote", "verse-line"), "p"
    ),
    **dict.fromkeys(
        ("journal-meta", "article-categories", "permissions", "self-uri", "counts", "custom-meta-group"), "template"
    ),
    **dict.fromkeys(
        ("article-id", "related-article", "tex-math", "history", "contrib-id", "object-id", "issue", "volume", "role"),
        "template",
    ),
    "list": "ul",
    "list-item": "li",
    "def-list": "ul",
    "def-item": "li",
    "break": "br",
}
_SEPARATE = (
    "surname",
    "given-names",
    "kwd",
    "day",
    "month",
    "year",
    "label",
    "term",
    "name",
    "string-name",
    "article-title",
)


class XmlParser(Parser):
    name: ClassVar[str] = "xml/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/xml", "text/xml"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".xml", ".nxml", ".rss", ".atom"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        start = head.replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
        return kind_of(head) in ("", "a web page") and is_text(head) and start.startswith(b"<")

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        source = _source(read_limited(path))
        root = _tree(source)
        name = _local(root)
        if name == "html":
            document = read_page(source, self.name)
        elif name == "svg":
            raise Permanent("This file holds a drawing (SVG), which is not read; save it as PDF or PNG.")
        else:
            document = self._document(root, name)
        work.progress(1, 1)
        return document

    def _document(self, root: Any, name: str) -> ParsedDocument:
        writer = Writer()
        title = ""
        if name in ("rss", "feed", "RDF"):
            title = _write_feed(writer, root)
        elif name == "article" and next(root.iter("{*}article-meta", "{*}body"), None) is not None:
            title = _write_article(writer, root)
        else:
            try:
                _write_data(writer, root)
            except RecursionError:
                raise Permanent(_NESTED) from None
        page = writer.page()
        if not page.text:
            raise Permanent("This file holds no text.")
        return ParsedDocument(title or sensible_title(writer.first_heading), (page,), self.name)


def _source(data: bytes) -> str:
    """The text of the file without its declaration, which is not always true."""
    head = data[:400].replace(b"\x00", b"").decode("latin-1").lstrip("\xef\xbb\xbf\xff\xfe")
    found = _ENCODING.match(head)
    text = clean(decode(data, found[1] if found else ""))
    return _DECLARATION.sub("", text, count=1).lstrip()


def _tree(source: str) -> Any:
    from lxml import etree

    if _DECLARES.search(source):
        raise Permanent(_REFUSED_DTD)
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(source.encode(), parser)
    except etree.XMLSyntaxError as error:
        if "depth" in str(error).lower():
            raise Permanent(_NESTED) from None
        raise Permanent("This XML file is damaged and cannot be read.") from None


def _local(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _child_text(element: Any, *names: str) -> str:
    """The text of the first child of one of these names."""
    for child in element:
        if _local(child) in names:
            return one_line("".join(child.itertext()))
    return ""


def _first_child(element: Any, *names: str) -> Any:
    """The first child of the first of these names that there is, or None."""
    return next((child for name in names for child in element if _local(child) == name), None)


def _write_feed(writer: Writer, root: Any) -> str:
    channel = next(root.iter("{*}channel"), root)
    title = _child_text(channel, "title")
    writer.heading(title, 1)
    writer.block(_child_text(channel, "description", "subtitle"))
    for entry in root.iter("{*}item", "{*}entry"):
        writer.heading(_child_text(entry, "title"), 2)
        about = (_child_text(entry, "creator", "author"), _child_text(entry, "pubDate", "published", "updated", "date"))
        writer.block(", ".join(text for text in about if text))
        content = _first_child(entry, "encoded", "content", "description", "summary")
        if content is not None:
            for block in visible_blocks("".join(content.itertext())):
                writer.block(block)
    return sensible_title(title)


def _write_article(writer: Writer, root: Any) -> str:
    """An article in JATS: its elements get the names that the reader of web pages knows."""
    title = ""
    depth = {root: 1}
    for element in root.iter():
        name = _local(element)
        if not name:
            continue
        parent = element.getparent()
        level = depth.get(parent, 1) + (_JATS.get(name) == "section")
        depth[element] = level
        if name in _SEPARATE and not (element.tail or "").strip():
            element.tail = " "
        if name == "article-title" and parent is not None and parent.tag == "div":
            title = title or one_line("".join(element.itertext()))
            element.tag = "h1"
        elif name in ("title", "subtitle") and parent is not None and parent.tag in ("section", "div"):
            element.tag = f"h{min(level, 6)}" if parent.tag == "section" else "p"
        elif name == "name" or name == "object":
            element.tag = "span"
        else:
            element.tag = _JATS.get(name, name)
    write_tree(writer, root)
    return sensible_title(title)


def _write_data(writer: Writer, element: Any) -> None:
    """Any other XML: a record, whose elements hold text alone, is a block of lines "name: text"."""
    if _is_prose(element):
        writer.block(one_line("".join(element.itertext())))
        return
    record = [*_attributes(element), *(_line(child) for child in element if not len(child) and _local(child))]
    record = [line for line in record if line]
    inner = [child for child in element if len(child) and _local(child)]
    text = one_line(element.text or "")
    if not inner and not len(element) and text:
        record.insert(0, f"{_local(element)}: {text}")
    for start in range(0, len(record), _MOST_LINES):
        writer.block("\n".join(record[start : start + _MOST_LINES]))
    for child in inner:
        _write_data(writer, child)


def _is_prose(element: Any) -> bool:
    """Whether text and elements stand side by side."""
    return len(element) > 0 and (
        bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)
    )


def _attributes(element: Any) -> list[str]:
    found = []
    for name, value in element.attrib.items():
        local, text = name.rpartition("}")[2], one_line(value)
        if text and local not in ("schemaLocation", "noNamespaceSchemaLocation", "space"):
            found.append(f"{local}: {text}")
    return found


def _line(element: Any) -> str:
    text = one_line(element.text or "")
    about = ", ".join(_attributes(element))
    if text and about:
        return f"{_local(element)}: {text} ({about})"
    return f"{_local(element)}: {text or about}" if text or about else ""
