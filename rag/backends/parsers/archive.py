"""ZIP archives as folders of documents: each file in one becomes a document of its own."""

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from rag.backends.parsers._names import Names, leads_outside, safe_path
from rag.backends.parsers.base import Parser, Work
from rag.domain.errors import Permanent, Protected
from rag.domain.types import ParsedDocument

_MOST_FILES = 2_000
_MOST_TOTAL = 4 * 1024**3  # bytes of all files unpacked
_MOST_RATIO = 200  # unpacked to packed, for files above _RATIO_FROM
_RATIO_FROM = 4 * 1024**2
_MOST_DIRECTORY = 64 * 1024**2  # bytes of the list of files, which is read whole
_PIECE = 256 * 1024
_MOST_SAID = 10  # files that are named one by one when they are left out
_PROTECTED = "This archive is protected by a password."
_DAMAGED = "This archive is damaged and cannot be read."
_LITTER = re.compile(
    r"(?:^|/)(?:__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._[^/]*$|\.git/|\.svn/)", re.IGNORECASE
)
_UTF8 = 0x800
_ENCRYPTED = 1
_OFFICE = {"word/": "a Word document", "xl/": "an Excel workbook", "ppt/": "a PowerPoint presentation"}


class ZipParser(Parser):
    name: ClassVar[str] = "zip/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/zip"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".zip"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        try:
            with path.open("rb") as file:
                _measure_directory(file)
                with zipfile.ZipFile(file) as archive:
                    warnings = _unpack(archive, work)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError):
            raise Permanent(_DAMAGED) from None
        return ParsedDocument("", (), self.name, tuple(warnings))


def _measure_directory(file: IO[bytes]) -> None:
    """Refuses a list of files that would not fit into memory, before anything reads it."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - 65_557))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise Permanent(_DAMAGED)
    count, length = (
        int.from_bytes(tail[end + 10 : end + 12], "little"),
        int.from_bytes(tail[end + 12 : end + 16], "little"),
    )
    if count < 0xFFFF and count > _MOST_FILES * 5:
        raise _too_many(count)
    if length > min(size, _MOST_DIRECTORY) and length != 0xFFFFFFFF:
        raise Permanent(_DAMAGED)
    file.seek(0)


def _too_many(count: int) -> Permanent:
    return Permanent(f"This archive holds {count:,} files; at most {_MOST_FILES:,} are read from one.")


def _unpack(archive: zipfile.ZipFile, work: Work) -> list[str]:
    """Hands over every file that can be, and says which could not."""
    _refuse_office(archive.namelist())
    decoded = _names(archive.infolist())
    entries = [
        (entry, name)
        for entry, name in zip(archive.infolist(), decoded, strict=True)
        if not entry.is_dir() and not name.endswith("/") and not _LITTER.search(name)
    ]
    if len(entries) > _MOST_FILES:
        raise _too_many(len(entries))
    if not entries:
        raise Permanent("This archive holds no files.")
    _measure([entry for entry, _ in entries])
    if not work.password and any(entry.flag_bits & _ENCRYPTED for entry, _ in entries):
        raise Protected(_PROTECTED)
    names, left_out, budget = Names(), list[str](), _MOST_TOTAL
    for done, (entry, name) in enumerate(entries, 1):
        reason = _refused(entry, name)
        if reason:
            left_out.append(f"“{safe_path(name)}” {reason}")
            continue
        with _opened(archive, entry, work.password) as content:
            limited = _Limited(content, min(entry.file_size, budget))
            try:
                work.attach(names.take(name), io.BufferedReader(limited, _PIECE))
            except (zipfile.BadZipFile, zlib.error):
                if entry.flag_bits & _ENCRYPTED:  # one wrong password in 256 is noticed no earlier
                    raise Protected(_PROTECTED) from None
                raise
            budget -= limited.count
        work.progress(done, len(entries))
    work.progress(len(entries), len(entries))
    said = left_out[:_MOST_SAID]
    if len(left_out) > _MOST_SAID:
        said.append(f"{len(left_out) - _MOST_SAID:,} more files of this archive were left out.")
    return said


def _refuse_office(names: Sequence[str]) -> None:
    if "[Content_Types].xml" in names:
        kind = next((kind for folder, kind in _OFFICE.items() if any(name.startswith(folder) for name in names)), "")
        if kind:
            raise Permanent(f"This file's name ends in .zip, but it holds {kind}.")


def _measure(entries: Sequence[zipfile.ZipInfo]) -> None:
    if sum(entry.file_size for entry in entries) > _MOST_TOTAL:
        raise Permanent(
            f"This archive is too large when unpacked: at most {_MOST_TOTAL // 1024**3} GB are read from one."
        )
    for entry in entries:
        if entry.file_size > max(_RATIO_FROM, _MOST_RATIO * entry.compress_size):
            raise Permanent("This archive is too large when unpacked.")


def _refused(entry: zipfile.ZipInfo, name: str) -> str:
    """Why a file is left out, as the rest of a sentence, or ""."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link to another file and was left out."
    if leads_outside(name):
        return "asks for a place outside the archive and was left out."
    return ""


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, password: str) -> IO[bytes]:
    try:
        return archive.open(entry, pwd=password.encode() if entry.flag_bits & _ENCRYPTED else None)
    except RuntimeError:
        raise Protected(_PROTECTED) from None
    except NotImplementedError:
        if entry.flag_bits & _ENCRYPTED:
            raise Permanent(
                "This archive is encrypted in a way that is not read; unpack it and send its files."
            ) from None
        raise Permanent("This archive is packed in a way that is not read; pack it as a common ZIP.") from None


class _Limited(io.RawIOBase):
    """The content of one file, which may not be longer than it says."""

    def __init__(self, content: IO[bytes], most: int) -> None:
        super().__init__()
        self._content = content
        self._most = most
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._content.read(len(buffer))
        self.count += len(piece)
        if self.count > self._most:
            raise Permanent("This archive is too large when unpacked.")
        buffer[: len(piece)] = piece
        return len(piece)


def _names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names as they were meant: in UTF-8 where the archive says so or they happen to be, else by the best guess."""
    raw = [entry.orig_filename if entry.flag_bits & _UTF8 else _bytes(entry.orig_filename) for entry in entries]
    encoding = _encoding([name for name in raw if isinstance(name, bytes) and not name.isascii()])
    return [name if isinstance(name, str) else name.decode(encoding, "replace") for name in raw]


def _bytes(name: str) -> bytes | str:
    try:
        return name.encode("cp437")
    except UnicodeEncodeError:
        return name


def _encoding(names: Sequence[bytes]) -> str:
    if not names:
        return "ascii"
    stems = b"\n".join(bytes(PurePosixPath(name.decode("latin-1")).stem, "latin-1") for name in names)
    try:
        stems.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    from charset_normalizer import from_bytes

    best = from_bytes(stems).best()
    return best.encoding if best else "cp437"
