"""Word boxes: stored compactly, found by offset, joined into the rectangles that are drawn as marks."""

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rag.domain.types import Box

# 1: sixteen bytes a box before compression (uint32 start and length, four uint16 fractions); 2: and a byte of confidence.
_ROWS = {b"\x01": 16, b"\x02": 17}
_SCALE = 65_535
_SURE = 255
MOST = 1_000_000  # boxes of a page: ten times the densest page seen; what unpacking may take is bounded by it


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A part of a page, as fractions of its width and height, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float


def pack(boxes: Sequence[Box]) -> bytes:
    """The boxes as bytes, some five a word; fractions are kept to 1/65535, confidences to 1/255. No boxes give b""."""
    if not boxes:
        return b""
    offsets = np.array([(box.start, box.end - box.start) for box in boxes], dtype=np.uint32)
    offsets[1:, 0] -= offsets[:-1, 0].copy()  # differences compress better than places
    fractions = np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes], dtype=np.float64)
    fractions = np.rint(np.clip(fractions, 0.0, 1.0) * _SCALE).astype("<u2")
    # Column by column: neighbours in a column are alike, neighbours in a row are not.
    raw = offsets.astype("<u4").T.tobytes() + fractions.T.tobytes()
    if all(box.confidence >= 1.0 for box in boxes):
        return b"\x01" + zlib.compress(raw, 6)
    sure = np.array([box.confidence for box in boxes], dtype=np.float64)
    raw += np.rint(np.clip(sure, 0.0, 1.0) * _SURE).astype(np.uint8).tobytes()
    return b"\x02" + zlib.compress(raw, 6)


def unpack(data: bytes) -> tuple[Box, ...]:
    """The boxes that `pack` wrote; raises ValueError for anything else."""
    if not data:
        return ()
    row = _ROWS.get(data[:1])
    if row is None:
        raise ValueError("these are not packed boxes")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data[1:], MOST * row)
    except zlib.error:
        raise ValueError("these are not packed boxes") from None
    count, rest = divmod(len(raw), row)
    if rest or not inflate.eof:
        raise ValueError("these are not packed boxes")
    starts, lengths = np.frombuffer(raw, dtype="<u4", count=2 * count).reshape(2, count)
    places = np.cumsum(starts, dtype=np.uint32).tolist()
    corners = (np.frombuffer(raw, dtype="<u2", offset=8 * count, count=4 * count).reshape(4, count) / _SCALE).tolist()
    sure = np.frombuffer(raw, dtype=np.uint8, offset=16 * count) / _SURE if row == 17 else np.ones(count)
    return tuple(
        Box(start, start + length, x0, y0, x1, y1, confidence)
        for start, length, x0, y0, x1, y1, confidence in zip(
            places, lengths.tolist(), *corners, sure.tolist(), strict=True
        )
    )


def boxes_between(boxes: Sequence[Box], start: int, end: int) -> tuple[Box, ...]:
    """The boxes, given in text order, that share at least one code point with [start, end)."""
    if start >= end:
        return ()
    first = bisect_right(boxes, start, key=lambda box: box.end)
    last = bisect_left(boxes, end, key=lambda box: box.start)
    return tuple(boxes[first:last])


def merge_lines(boxes: Iterable[Box]) -> list[Rectangle]:
    """Rectangles to mark the boxes with: neighbours in the text that stand on one line become one rectangle."""
    merged: list[Rectangle] = []
    end = -1
    for box in boxes:
        if box.x1 <= box.x0 or box.y1 <= box.y0:
            continue
        last = merged[-1] if merged else None
        # Two characters may part them: a blank and a mark that has no box.
        if last is not None and box.start - end <= 2 and _one_line(last, box):
            merged[-1] = Rectangle(
                min(last.x0, box.x0), min(last.y0, box.y0), max(last.x1, box.x1), max(last.y1, box.y1)
            )
        else:
            merged.append(Rectangle(box.x0, box.y0, box.x1, box.y1))
        end = box.end
    return merged


def _one_line(last: Rectangle, box: Box) -> bool:
    overlap = min(last.y1, box.y1) - max(last.y0, box.y0)
    gap = max(box.x0 - last.x1, last.x0 - box.x1)  # to the right, or to the left in a right-to-left line
    return overlap >= 0.5 * min(last.y1 - last.y0, box.y1 - box.y0) and gap <= 0.25
