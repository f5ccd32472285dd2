"""Opens the zip packages of Office formats after looking at what they would unpack to."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from rag.domain.errors import Permanent, Protected

_MOST_ENTRIES = 5_000
_MOST_TOTAL = 1024**3  # bytes of all parts unpacked; pictures are counted, though never read
_MOST_XML = 64 * 1024**2  # bytes of one part that is read; its tree takes some ten times that
_MOST_RATIO = 200  # unpacked to packed, for parts above _RATIO_FROM; real documents stay under 40
_RATIO_FROM = 4 * 1024**2
_PIECE = 1024**2
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_ENTITY = re.compile(rb"<!ENTITY|<!DOCTYPE[^>]*\[", re.IGNORECASE)
_DESCRIPTIONS = ("META-INF/", "Basic/", "Dialogs/", "Object ")
_OPENS_ITSELF = "VelvetSweatshop"  # Office's own password for files that are protected and yet open without one


class Package:
    """A checked package, read part by part. Nothing is unpacked to disk and nothing outside it is opened.

    Raises `Permanent` for a protected, damaged or oversized file, and for XML that declares a document type or
    entities.
    """

    def __init__(self, source: Path | IO[bytes], *, kind: str, password: str = "") -> None:
        """`kind` is what the file is called in sentences, "Word document"; `password` opens an encrypted one."""
        self._kind = kind
        self._zip = self._opened(source, password)
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

    def size(self, part: str) -> int:
        """How many bytes a part unpacks to, as the package says; raises KeyError when there is no such part."""
        return self._sizes[part]

    def read(self, part: str) -> bytes:
        """The bytes of a part of up to 64 MB; raises KeyError when there is no such part."""
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
            raise self._damaged() from None

    @contextmanager
    def open(self, part: str) -> Iterator[IO[bytes]]:
        """A part as a stream, for what is handed on unread; raises KeyError when there is no such part."""
        if part not in self._sizes:
            raise KeyError(part)
        try:
            with self._zip.open(part) as file:
                yield file
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error):
            raise self._damaged() from None

    def _opened(self, source: Path | IO[bytes], password: str) -> zipfile.ZipFile:
        if isinstance(source, Path):
            with source.open("rb") as file:
                if file.read(8) == _OLE:
                    source = self._decrypted(file, password)
        try:
            return zipfile.ZipFile(source)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
            raise self._damaged() from None

    def _decrypted(self, file: IO[bytes], password: str) -> IO[bytes]:
        """The package inside an encrypted file. It stays in memory, since a parser's process writes no file."""
        import msoffcrypto
        from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError
        from msoffcrypto.format.ooxml import OOXMLFile

        plain = BytesIO()
        try:
            office = msoffcrypto.OfficeFile(file)
            if not isinstance(office, OOXMLFile):
                raise Permanent(f"This {self._kind} is in an old format; save it in the current one first.")
            office.load_key(password=password or _OPENS_ITSELF, verify_password=True)
            office.decrypt(plain)
        except (InvalidKeyError, DecryptionError):
            raise Protected(f"This {self._kind} is protected by a password.") from None
        except (FileFormatError, ParseError, OSError, ValueError, KeyError, IndexError, AssertionError, struct.error):
            raise self._damaged() from None
        except RecursionError:
            raise self._damaged() from None
        plain.seek(0)
        return plain

    def _check(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > _MOST_TOTAL:
            raise self._too_large()
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self._sizes) < len(entries) or any(entry.flag_bits & 1 for entry in entries):
            # Two parts of one name: readers disagree on which one counts. A flagged part is encrypted.
            raise self._damaged()
        for entry in entries:
            if entry.file_size > max(_RATIO_FROM, _MOST_RATIO * entry.compress_size):
                raise self._too_large()
            if entry.filename.lower().endswith((".xml", ".rels", ".vml")):
                self._refuse_declarations(entry.filename)

    def _refuse_declarations(self, part: str) -> None:
        """No document type and no entity, in whatever encoding: UTF-16's NULs are taken out before looking."""
        # OpenOffice named a document type, with no declaration in it, in formulas and in what describes the package.
        forbidden = _ENTITY if part.startswith(_DESCRIPTIONS) else _DECLARATION
        tail = b""
        for piece in self._pieces(part):
            plain = tail + piece.replace(b"\x00", b"")
            if forbidden.search(plain):
                raise Permanent(f"This {self._kind} declares XML entities, which no real one does; it was not read.")
            tail = plain[-512:]

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
            raise self._damaged() from None

    def _damaged(self) -> Permanent:
        return Permanent(f"This {self._kind} is damaged and cannot be read.")

    def _too_large(self) -> Permanent:
        return Permanent(f"This {self._kind} is too large when unpacked.")
