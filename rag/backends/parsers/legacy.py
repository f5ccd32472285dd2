"""Old binary Word and PowerPoint files (.doc, .ppt): known by their first bytes, and read after a conversion.

Why: there is no sound reader of these formats without LibreOffice, and a parser's process may not start it. So
`rag.backends.convert.readable` converts the file before it is handed to the sandbox, which then reads the new one.
"""

from pathlib import Path
from typing import ClassVar

from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent
from rag.domain.types import ParsedDocument

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class _OldOffice(Parser):
    def parse(self, path: Path, work: Work) -> ParsedDocument:
        # Only a caller that did not convert it comes here.
        raise Permanent(f"This file is in an old format; save it as {self.converts_to} first.")


class OldWordParser(_OldOffice):
    name: ClassVar[str] = "doc/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/msword"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".doc", ".dot"})
    converts_to: ClassVar[str] = ".docx"

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        # Programs write rich text and current documents under the old name, and Word opens them.
        return head.startswith((_OLE, b"{\\rtf", b"PK\x03\x04"))


class OldPowerPointParser(_OldOffice):
    name: ClassVar[str] = "ppt/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.ms-powerpoint"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".ppt", ".pps", ".pot"})
    converts_to: ClassVar[str] = ".pptx"

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith((_OLE, b"PK\x03\x04"))
