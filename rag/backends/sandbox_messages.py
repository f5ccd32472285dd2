"""What the sandbox's processes say to each other: JSON behind its length. Nothing is unpickled.

The receiver trusts nothing: whoever takes over a reader with a crafted file writes these messages. Pages are checked on
arrival.
"""

import base64
import binascii
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

from rag.domain.boxes import pack, unpack
from rag.domain.text import clean, one_line
from rag.domain.types import Heading, Page, Reading

Message = dict[str, Any]
_LENGTH = struct.Struct(">I")
FRAME_LIMIT = 256 * 1024 * 1024  # bytes of one message: the largest text a page may have
_PIECE = 1024 * 1024


class TooMuch(Exception):
    """More bytes came than were agreed."""


def send(channel: socket.socket, message: Message) -> None:
    """Writes one message; raises OSError when nobody listens any more."""
    data = json.dumps(message).encode()
    channel.sendall(_LENGTH.pack(len(data)))
    channel.sendall(data)


def receive(channel: socket.socket, *, limit: int, tick: float) -> Iterator[Message | None]:
    """The messages until the other side closes, and None whenever `tick` seconds pass without news.

    Raises TooMuch above `limit` bytes in all, and ValueError for what is no message. A message cut off by the end is
    dropped.
    """
    channel.settimeout(tick)
    buffer = bytearray()
    total = 0
    while True:
        try:
            piece = channel.recv(_PIECE)
        except TimeoutError:
            yield None
            continue
        except ConnectionError:
            return
        if not piece:
            return
        total += len(piece)
        if total > limit:
            raise TooMuch
        buffer += piece
        yield from _whole_messages(buffer)


def _whole_messages(buffer: bytearray) -> Iterator[Message]:
    """Takes the messages that have come whole out of `buffer`."""
    while len(buffer) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer)
        if length > FRAME_LIMIT:
            raise TooMuch
        end = _LENGTH.size + length
        if len(buffer) < end:
            return
        try:
            message = json.loads(bytes(buffer[_LENGTH.size : end]))
        except RecursionError:
            raise ValueError("a message is not nested") from None
        del buffer[:end]
        if not isinstance(message, dict):
            raise ValueError("a message is an object")
        yield message


def page_message(page: Page) -> Message:
    """The page as a message."""
    return {
        "kind": "page",
        "number": page.number,
        "text": page.text,
        "headings": [[heading.start, heading.level, heading.text] for heading in page.headings],
        "boxes": base64.b64encode(pack(page.boxes)).decode(),
        "label": page.label,
        "width": page.width,
        "height": page.height,
        "reading": page.reading.value,
        "confidence": page.confidence,
        "images": page.images,
        "gap": page.gap,
    }


def read_page(message: Message) -> Page:
    """The page of a message; raises ValueError when it is not one, or its offsets do not fit its text."""
    text, label, number = message.get("text"), message.get("label"), message.get("number")
    if not isinstance(text, str) or clean(text) != text or not isinstance(label, str) or len(label) > 100:
        raise ValueError("a page has clean text and a label")
    if number is not None and not (isinstance(number, int) and number > 0):
        raise ValueError("a page's number is positive")
    boxes = unpack(_bytes(message.get("boxes")))
    place = 0
    for box in boxes:
        if not place <= box.start <= box.end <= len(text):
            raise ValueError("boxes stand in the text's order")
        place = box.end
    return Page(
        number,
        text,
        tuple(_heading(item, len(text)) for item in _list(message.get("headings"))),
        boxes,
        clean(label),
        _points(message.get("width")),
        _points(message.get("height")),
        Reading(str(message.get("reading"))),
        min(1.0, _points(message.get("confidence"))),
        int(_points(message.get("images"))),
        one_line(clean(str(message.get("gap"))))[:200],
    )


def read_picture(message: Message) -> bytes:
    """The picture of a message; raises ValueError when it is no PNG."""
    picture = _bytes(message.get("data"))
    if not picture.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("a picture is a PNG")
    return picture


def read_bytes(message: Message) -> bytes:
    """A piece of an attachment; raises ValueError when it is none."""
    return _bytes(message.get("data"))


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except binascii.Error:
        raise ValueError("this is not base64") from None


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a list was expected")
    return value


def _heading(item: object, length: int) -> Heading:
    match item:
        case [int(start), int(level), str(text)] if 0 <= start < length and 1 <= level <= 9:
            return Heading(start, level, clean(text))
    raise ValueError("a heading stands in the text")


def _points(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < 1e12:
        return float(value)
    raise ValueError("a page has a size")
