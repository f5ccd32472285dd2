"""E-books (EPUB): the chapters in reading order, each as a page without a number."""

import posixpath
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from rag.backends.parsers._office import Package
from rag.backends.parsers._writer import Writer
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.html import decode_page, write_visible
from rag.domain.errors import Permanent
from rag.domain.text import one_line, sensible_title
from rag.domain.types import Page, ParsedDocument

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
# Fonts alone may be garbled in a book that is open otherwise.
_FONT_GARBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_KINDS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_PROPERTIES = {
    "creator": "author",
    "date": "created",
    "publisher": "publisher",
    "subject": "subject",
    "description": "description",
}


class EpubParser(Parser):
    name: ClassVar[str] = "epub/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/epub+zip"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".epub"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(b"PK\x03\x04")

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        with Package(path, kind="e-book") as package:
            if _CONTAINER not in package:
                raise Permanent("This file is not an e-book.")
            _refuse_protected(package)
            main = _main(package)
            book = package.xml(main)
            chapters = _chapters(book, posixpath.dirname(main))
            pages, missing = list[Page](), 0
            for done, part in enumerate(chapters, 1):
                if part not in package:
                    missing += 1
                    continue
                writer = Writer()
                write_visible(writer, decode_page(package.read(part)))
                page = writer.page()
                if page.text:
                    pages.append(page)
                work.progress(done, len(chapters))
        if not pages:
            raise Permanent("This e-book holds no text.")
        work.progress(len(chapters), len(chapters))
        title, properties = _described(book)
        said = (
            ("A chapter is missing from this e-book.",)
            if missing == 1
            else (f"{missing} chapters are missing from this e-book.",)
        )
        return ParsedDocument(title, tuple(pages), self.name, said if missing else (), properties)


def _refuse_protected(package: Package) -> None:
    if _ENCRYPTION not in package and "META-INF/rights.xml" not in package:
        return
    methods = (
        [entry.get("Algorithm") for entry in package.xml(_ENCRYPTION).iter("{*}EncryptionMethod")]
        if _ENCRYPTION in package
        else [None]
    )
    if any(method not in _FONT_GARBLING for method in methods):
        raise Permanent("This e-book is protected against copying (DRM) and cannot be read.")


def _main(package: Package) -> str:
    for entry in package.xml(_CONTAINER).iter("{*}rootfile"):
        part = entry.get("full-path") or ""
        if part in package:
            return str(part)
    raise Permanent("This e-book is damaged and cannot be read.")


def _chapters(book: Any, folder: str) -> list[str]:
    """The parts of the book in reading order, without its table of contents."""
    items = {item.get("id"): item for item in book.iter("{*}item")}
    order = [items[entry.get("idref")] for entry in book.iter("{*}itemref") if entry.get("idref") in items]
    parts = []
    for item in order or items.values():
        if item.get("media-type") in _KINDS and "nav" not in (item.get("properties") or "").split():
            part = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
            if part not in parts:
                parts.append(part)
    return parts


def _described(book: Any) -> tuple[str, dict[str, str]]:
    title = ""
    found: dict[str, str] = {}
    for entry in book.iter("{http://purl.org/dc/elements/1.1/}*"):
        name, text = entry.tag.rpartition("}")[2], one_line("".join(entry.itertext()))
        if name == "title":
            title = title or sensible_title(text)
        elif name in _PROPERTIES and text:
            key = _PROPERTIES[name]
            found[key] = f"{found[key]}, {text}" if key in found and key != "created" else found.get(key, text)
    return title, found
