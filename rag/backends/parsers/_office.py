"""Opens the zip packages of Office formats after looking at what they would unpack to."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from rag.domain.errors import Permanent

_MOST_ENTRIES = 5_000
_MOST_TOTAL = 1024**3  # bytes of all parts unpacked; pictures are counted, though never read
_MOST_XML = 64 * 1024**2  # bytes of one part that is read; its tree takes some ten times that
_MOST_RATIO = 200  # unpacked to packed, for parts above _RATIO_FROM; real documents stay under 40
_RATIO_FROM = 4 * 1024**2
_PIECE = 1024**2
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class Package:
    """A checked package, read part by part. Nothing is unpacked to disk and nothing outside it is opened.

    Raises `Permanent` for a protected, damaged or oversized file, and for XML that declares a document type or
    entities.
    """

    def __init__(self, source: Path | IO[bytes], *, kind: str) -> None:
        self._kind = kind
        self._zip = self._opened(source)
        try:
            self._check()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def __contains__(self, part: str) -> bool:
        return part in self._sizes

    def names(self) -> tuple[str, ...]:
        """The names of all parts, in the package's order."""
        return tuple(self._sizes)

    def read(self, part: str) -> bytes:
        """The bytes of a part; raises KeyError when there is no such part."""
        if part not in self._sizes:
            raise KeyError(part)
        return b"".join(self._pieces(part))

    def xml(self, part: str) -> Any:
        """The root element of an XML part, entities unresolved; raises KeyError when there is no such part."""
        from lxml import etree

        # huge_tree stays off: it would lift the limits on depth and length.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        try:
            return etree.fromstring(self.read(part), parser)
        except etree.XMLSyntaxError:
            raise Permanent(f"This {self._kind} is damaged and cannot be read.") from None

    def _opened(self, source: Path | IO[bytes]) -> zipfile.ZipFile:
        if isinstance(source, Path):
            with source.open("rb") as file:
                if file.read(8) == _OLE:
                    self._refuse_old(file.read(_MOST_XML))
        try:
            return zipfile.ZipFile(source)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
            raise Permanent(f"This {self._kind} is damaged and cannot be read.") from None

    def _refuse_old(self, content: bytes) -> None:
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise Permanent(f"This {self._kind} is protected by a password.")
        raise Permanent(f"This {self._kind} is in an old format; save it in the current one first.")

    def _check(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > _MOST_TOTAL:
            raise self._too_large()
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self._sizes) < len(entries) or any(entry.flag_bits & 1 for entry in entries):
            # Two parts of one name: readers disagree on which one counts. A flagged part is encrypted.
            raise Permanent(f"This {self._kind} is damaged and cannot be read.")
        for entry in entries:
            if entry.file_size > max(_RATIO_FROM, _MOST_RATIO * entry.compress_size):
                raise self._too_large()
            if entry.filename.lower().endswith((".xml", ".rels", ".vml")):
                self._refuse_declarations(entry.filename)

    def _refuse_declarations(self, part: str) -> None:
        """No document type and no entity, in whatever encoding: UTF-16's NULs are taken out before looking."""
        tail = b""
        for piece in self._pieces(part):
            plain = tail + piece.replace(b"\x00", b"")
            if _DECLARATION.search(plain):
                raise Permanent(f"This {self._kind} declares XML entities, which no real one does; it was not read.")
            tail = plain[-16:]

    def _pieces(self, part: str) -> Iterator[bytes]:
        """The part's bytes piece by piece; the size in its header may lie, so they are counted."""
        count = 0
        try:
            with self._zip.open(part) as file:
                while piece := file.read(_PIECE):
                    count += len(piece)
                    if count > _MOST_XML:
                        raise self._too_large()
                    yield piece
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RuntimeError, zlib.error):
            raise Permanent(f"This {self._kind} is damaged and cannot be read.") from None

    def _too_large(self) -> Permanent:
        return Permanent(f"This {self._kind} is too large when unpacked.")
