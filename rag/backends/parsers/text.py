"""Plain text in any encoding."""

import codecs
import re
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rag.backends.parsers._kinds import is_text, kind_of, utf16_order
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.text import tidy
from rag.domain.types import Page, ParsedDocument

_MOST_BYTES = 64 * 1024 * 1024  # a hundred novels: more is a dump of data, not a text
_SAMPLE = 64 * 1024  # bytes that the guess looks at: it takes seconds for whole books
_LEAST_ACCENTS = 16  # bytes outside ASCII that a guess needs; with fewer it is any alphabet's guess
# UTF-32 first: its mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CENTRAL_EUROPEAN = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
_WESTERN_LETTERS = frozenset("äöüÄÖÜßéèêëàâçîïôûùìòñáíóúãõåæøðþýÉÈÀÇÑÁÍÓÚÃÕÅÆØ¡¿€“”„’‘–—…«»°§")
_CENTRAL_LETTERS = frozenset("áéíóúýčďěňřšťůžąćęłńśźżőűăâîşţäöüÄÖÜßÁÉÍÓÚÝČĎĚŇŘŠŤŮŽĄĆĘŁŃŚŹŻŐŰĂÂÎŞŢ€“”„’‘–—…«»°§")
_FOLDED = (".ics", ".vcf")  # calendars and cards break long lines and indent the rest
# Encodings that look like ASCII to everyone who does not know them.
_SEVEN_BIT = ("iso-2022-", "utf-7", "hz")
_ESCAPES = re.compile(rb"\x1b\$[@B]")


class TextParser(Parser):
    name: ClassVar[str] = "text/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"text/plain"})
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {".txt", ".text", ".log", ".rst", ".org", ".tex", ".adoc", ".asciidoc", ".ics", ".vcf", ".srt", ".vtt"}
        | {".yaml", ".yml", ".toml", ".ini", ".cfg"}
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) in ("", "a web page") and is_text(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        text = tidy(decode(read_limited(path)))
        if path.suffix.lower() in _FOLDED:
            text = text.replace("\n ", "").replace("\n\t", "")
        if not text.strip():
            raise Permanent("This file holds no text.")
        work.progress(1, 1)
        return ParsedDocument("", (Page(None, text),), self.name)


def read_limited(path: Path) -> bytes:
    """The bytes of a text file; raises `Permanent` for one that is too large to be a text."""
    if path.stat().st_size > _MOST_BYTES:
        raise Permanent("This file is too large for a text.")
    return path.read_bytes()


def decode(data: bytes, declared: str = "") -> str:
    """`data` as text: by its byte-order mark, as UTF-8, as it declares itself, else by the best guess.

    Raises `Permanent` for bytes that are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if not is_text(data[:_SAMPLE]) or not is_text(data[-_SAMPLE:]):
        raise Permanent("This file does not hold readable text.")
    if declared.lower().startswith(_SEVEN_BIT) or _ESCAPES.search(data[:_SAMPLE]):
        with suppress(LookupError):
            return data.decode(declared if declared.lower().startswith(_SEVEN_BIT) else "iso-2022-jp", "replace")
    if order := utf16_order(data[:_SAMPLE]):
        return data.decode(order, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if declared:
        try:
            return data.decode(declared)
        except (UnicodeDecodeError, LookupError):
            pass
    return _guessed(data)


def _guessed(data: bytes) -> str:
    """Text that is not UTF-8 throughout."""
    almost = data.decode("utf-8", "replace")
    broken = almost.count("\ufffd")
    # Good UTF-8 with a few bad bytes: other encodings would garble every accent.
    if broken * 3 <= sum(1 for letter in almost if letter > "\x7f"):
        return almost
    sample = data[:_SAMPLE]
    if sum(byte > 0x7F for byte in sample) >= _LEAST_ACCENTS:
        for encoding in ("cp932", "euc_jp"):
            if _is_japanese(sample, encoding):
                return data.decode(encoding, "replace")
        from charset_normalizer import from_bytes

        best = from_bytes(sample).best()
        if best is not None and (best.encoding not in _CENTRAL_EUROPEAN or _is_central(sample)):
            return data.decode(best.encoding, "replace")
    return data.decode("cp1250" if _is_central(sample) else "cp1252", "replace")


def _is_central(sample: bytes) -> bool:
    """Whether the bytes make more sense as Polish or Czech than as French, German or Spanish."""
    western = sum(letter in _WESTERN_LETTERS for letter in sample.decode("cp1252", "replace"))
    central = sum(letter in _CENTRAL_LETTERS for letter in sample.decode("cp1250", "replace"))
    return central > western


def _is_japanese(sample: bytes, encoding: str) -> bool:
    """Whether the bytes are good Japanese: a tenth of it is kana, which no other encoding makes of other text."""
    try:
        # The sample may end within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    letters = [letter for letter in text if letter > "\x7f"]
    return sum("\u3041" <= letter <= "\u30ff" for letter in letters) > 0.1 * len(letters)
