"""The rich text that Outlook keeps mails in: packed, and often HTML in disguise."""

import struct
from collections.abc import Iterator

from rag.backends.parsers.rtf import rtf_text
from rag.domain.errors import Permanent

_MOST_BYTES = 64 * 1024 * 1024
# What every packed text may refer back to, by [MS-OXRTFCP].
_DICTIONARY = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArial"
    rb"Times New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def unpacked(data: bytes) -> bytes:
    """The rich text in a packed body; raises `Permanent` for what is none."""
    if len(data) < 16:
        raise Permanent("The text of this mail is damaged.")
    _, size, kind, _ = struct.unpack_from("<IIII", data)
    if kind == 0x414C454D:  # stored as it is
        return data[16 : 16 + size]
    if kind != 0x75465A4C or size > _MOST_BYTES:
        raise Permanent("The text of this mail is damaged.")
    return _expanded(data[16:], size)


def _expanded(data: bytes, size: int) -> bytes:
    """The text of LZFu codes: letters, and references into the last 4,096 letters."""
    window = bytearray(_DICTIONARY.ljust(4096, b"\x00"))
    write, out = len(_DICTIONARY), bytearray()
    for piece in _codes(data):
        if isinstance(piece, bytes):
            letters = [*piece]
        else:
            start, length = piece
            if start == write % 4096:
                break
            letters = []
            for step in range(length):
                # A reference may reach into what it is just writing.
                letters.append(window[(start + step) % 4096])
                window[(write + step) % 4096] = letters[-1]
        for letter in letters:
            window[write % 4096] = letter
            write += 1
        out += bytes(letters)
        if len(out) >= size:
            break
    return bytes(out)


def _codes(data: bytes) -> Iterator[bytes | tuple[int, int]]:
    """A letter, or where a reference begins in the window and how long it is."""
    place = 0
    while place < len(data):
        control = data[place]
        place += 1
        for bit in range(8):
            if control >> bit & 1 and place + 2 <= len(data):
                (reference,) = struct.unpack_from(">H", data, place)
                yield reference >> 4, (reference & 15) + 2
                place += 2
            elif place < len(data):
                yield data[place : place + 1]
                place += 1


def text_of(data: bytes) -> str:
    """The plain text of a packed body; raises `Permanent` for what is none."""
    return rtf_text(unpacked(data))
