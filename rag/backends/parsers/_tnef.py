"""Outlook's own envelope for mails, known as winmail.dat (TNEF): its text and its files."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from rag.backends.parsers import _rtf_body
from rag.backends.parsers._letter import Letter
from rag.backends.parsers.text import decode
from rag.domain.errors import Permanent
from rag.domain.text import one_line

SIGNATURE = b"\x78\x9f\x3e\x22"
_SUBJECT, _BODY, _PROPERTIES = 0x00018004, 0x0002800C, 0x00069003
_FILE_BEGINS, _FILE_NAME, _FILE_DATA, _FILE_PROPERTIES, _CODE_PAGE = (
    0x00069002,
    0x00018010,
    0x0006800F,
    0x00069005,
    0x00069007,
)
_SIZES = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 10: 4, 11: 4, 20: 8, 64: 8, 72: 16}
_VARIABLE = (0x0D, 0x1E, 0x1F, 0x102)  # objects, strings, bytes
_MOST_FILES = 2_000


@dataclass(slots=True)
class Envelope:
    letter: Letter = field(default_factory=Letter)
    files: list[tuple[str, bytes]] = field(default_factory=list)


def read(data: bytes) -> Envelope:
    """What the envelope holds; raises `Permanent` for a damaged one."""
    if not data.startswith(SIGNATURE):
        raise Permanent("This file is not an Outlook envelope (winmail.dat).")
    envelope, page = Envelope(), "cp1252"
    try:
        for kind, value in _attributes(data):
            if kind == _CODE_PAGE and len(value) >= 4:
                page = f"cp{struct.unpack_from('<I', value)[0]}"
            else:
                _take(envelope, kind, value, page)
    except (struct.error, IndexError):
        raise Permanent("This Outlook envelope (winmail.dat) is damaged and cannot be read.") from None
    return envelope


def _take(envelope: Envelope, kind: int, value: bytes, page: str) -> None:
    letter, files = envelope.letter, envelope.files
    match kind:
        case 0x00018004:
            letter.subject = one_line(_string(value, page))
        case 0x0002800C:
            letter.plain = _string(value, page)
        case 0x00069003:
            _take_properties(letter, dict(_properties(value)), page)
        case 0x00069002:
            if len(files) >= _MOST_FILES:
                raise Permanent(f"This mail holds more than {_MOST_FILES:,} files.")
            files.append((f"attachment {len(files) + 1}", b""))
        case 0x00018010 if files:
            files[-1] = (_string(value, page) or files[-1][0], files[-1][1])
        case 0x0006800F if files:
            files[-1] = (files[-1][0], value)
        case 0x00069005 if files:
            found = dict(_properties(value))
            name = _text(found, 0x3707, page) or files[-1][0]
            inner = found.get(0x3701, (0, b""))[1][16:]
            if inner.startswith(SIGNATURE):  # a mail inside the mail
                files[-1] = (f"{_text(found, 0x3001, page) or 'mail'}.dat", inner)
            else:
                files[-1] = (name, files[-1][1])


def _take_properties(letter: Letter, found: dict[int, tuple[int, bytes]], page: str) -> None:
    letter.subject = letter.subject or one_line(_text(found, 0x0037, page))
    letter.sender = letter.sender or _text(found, 0x0C1A, page)
    letter.to = letter.to or _text(found, 0x0E04, page)
    letter.plain = letter.plain or _text(found, 0x1000, page)
    html = found.get(0x1013, (0, b""))[1]
    if html:
        letter.html = decode(html)
    if not letter.plain and not letter.html and 0x1009 in found:
        letter.plain = _rtf_body.text_of(found[0x1009][1])


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 6
    while place + 9 <= len(data):
        kind, length = struct.unpack_from("<II", data, place + 1)
        yield kind, data[place + 9 : place + 9 + length]
        place += 9 + length + 2


def _properties(data: bytes) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """The number of each property, its type, and its first value."""
    (count,) = struct.unpack_from("<I", data)
    place = 4
    for _ in range(min(count, 10_000)):
        kind, number = struct.unpack_from("<HH", data, place)
        place += 4
        if number >= 0x8000:
            named, length = struct.unpack_from("<II", data, place + 16)
            place += 24 + (_padded(length) if named else 0)
        several = bool(kind & 0x1000)
        kind &= 0xEFFF
        values = 1
        if several or kind in _VARIABLE:
            (values,) = struct.unpack_from("<I", data, place)
            place += 4
        first = b""
        for turn in range(min(values, 10_000)):
            if kind in _VARIABLE:
                (size,) = struct.unpack_from("<I", data, place)
                place += 4
            else:
                size = _SIZES.get(kind, 0)
            if not turn:
                first = data[place : place + size]
            place += _padded(size)
        yield number, (kind, first)


def _padded(size: int) -> int:
    return size + -size % 4


def _text(found: dict[int, tuple[int, bytes]], number: int, page: str) -> str:
    kind, value = found.get(number, (0, b""))
    return (
        value.decode("utf-16-le", "replace").rstrip("\x00")
        if kind == 0x1F
        else _string(value, page)
        if kind == 0x1E
        else ""
    )


def _string(value: bytes, page: str) -> str:
    try:
        return value.rstrip(b"\x00").decode(page, "replace")
    except LookupError:
        return value.rstrip(b"\x00").decode("cp1252", "replace")
