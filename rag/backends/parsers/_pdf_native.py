"""PDFium's functions as they are called thousands of times a page: by address, without ctypes checking every argument.

Why: with the checks a call takes 0.9 µs, without them 0.3 µs, and inside `map` no Python runs between two calls. Handles
must be `c_void_p` objects here, since a bare int would be passed as 32 bits.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROOM = 4096  # rectangles that are fetched at once


@cache
def bare(name: str, result: Any = ctypes.c_int) -> Any:
    """PDFium's function of this name without checks of its arguments."""
    import pypdfium2.raw as raw

    function = getattr(raw, name)
    unchecked = type(function)(ctypes.cast(function, ctypes.c_void_p).value)
    unchecked.restype = result
    return unchecked


def handle(pointer: Any) -> ctypes.c_void_p:
    """A pypdfium2 pointer as `bare` functions take it."""
    return ctypes.cast(pointer, ctypes.c_void_p)


@cache
def _room() -> tuple[Any, list[Any]]:
    """A buffer for rectangles of four floats, and a reference to each place in it."""
    buffer = (ctypes.c_float * (4 * _ROOM))()
    return buffer, [ctypes.byref(buffer, 16 * place) for place in range(_ROOM)]


class TextPage:
    """The characters of a loaded page."""

    def __init__(self, text: Any) -> None:
        self.text = handle(text.raw)
        self.count = int(text.count_chars())

    def characters(self, most: int) -> str:
        """The text, one code point for each character that PDFium counts: U+FFFE for a hyphen that parts a word, NUL for
        what stands for no letter.
        """
        count = min(self.count, most)
        if count <= 0:
            return ""
        buffer = ctypes.create_string_buffer(2 * count + 2)
        written = bare("FPDFText_GetText")(self.text, 0, count, buffer) - 1
        if written == count:
            text = buffer.raw[: 2 * count].decode("utf-16-le", "surrogatepass")
            if len(text) == count:
                return text
        # Characters that stand for nothing are missing above, and pairs have become one: then one by one.
        codes = list(map(bare("FPDFText_GetUnicode", ctypes.c_uint), repeat(self.text), range(count)))
        is_hyphen = bare("FPDFText_IsHyphen")
        letters = [_letter(code) for code in codes]
        for index, code in enumerate(codes):
            if code == 2 and is_hyphen(self.text, index) == 1:
                letters[index] = "\ufffe"
            elif 0xDC00 <= code < 0xE000 and index and 0xD800 <= codes[index - 1] < 0xDC00:
                letters[index - 1] = "\u200b"  # one place each: the whole character stands in the second
                letters[index] = chr(0x10000 + ((codes[index - 1] - 0xD800) << 10) + (code - 0xDC00))
        return "".join(letters)

    def objects(self, indices: Sequence[int]) -> list[int | None]:
        """The address of the text object that each character belongs to; None for those that PDFium made up."""
        return list(map(bare("FPDFText_GetTextObject", ctypes.c_void_p), repeat(self.text), indices))

    def edges(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rectangle (left, top, right, bottom) of each character's place in its line, n by 4; NaN where unknown."""
        fetch = bare("FPDFText_GetLooseCharBox")
        buffer, places = _room()
        found = np.empty((len(indices), 4))
        for start in range(0, len(indices), _ROOM):
            part = indices[start : start + _ROOM]
            good = list(map(fetch, repeat(self.text), part, places))
            rows = found[start : start + len(part)]
            rows[:] = np.frombuffer(buffer, np.float32, 4 * len(part)).reshape(-1, 4)
            if 0 in good:
                rows[np.array(good) == 0] = np.nan
        wrong = ~(np.isfinite(found).all(axis=1) & (found[:, 2] > found[:, 0]) & (found[:, 1] > found[:, 3]))
        for row in np.flatnonzero(wrong).tolist():
            found[row] = self._ink(indices[row])
        return found

    def _ink(self, index: int) -> tuple[float, float, float, float]:
        """The rectangle around a character's ink, at least a tenth of a point each way."""
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        refs = (ctypes.byref(edge) for edge in (left, right, bottom, top))
        if not bare("FPDFText_GetCharBox")(self.text, int(index), *refs):
            return (np.nan,) * 4
        return left.value, max(top.value, bottom.value + 0.1), max(right.value, left.value + 0.1), bottom.value


def _letter(code: int) -> str:
    if 0xD800 <= code < 0xE000:
        return "\ufffd"
    return chr(code) if code < 0x110000 else "\x00"
