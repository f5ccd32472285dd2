"""Tesseract, where its library is installed, with the languages that are.

Why the library and not the program: a process that reads a stranger's file may start no other. Loaded into that process
it has the same limits as everything there, and its models are read once for a document.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.backends.ocr.base import Engine, Found, Line, Picture, Word, certain, grey, turned

_LIBRARIES = (
    *("libtesseract.so.5", "libtesseract.so.4", "/opt/homebrew/lib/libtesseract.5.dylib"),
    "/usr/local/lib/libtesseract.5.dylib",
)
_FOLDERS = ("/usr/share/tesseract-ocr/5/tessdata", "/usr/share/tesseract-ocr/4.00/tessdata", "/usr/share/tessdata")
_MORE_FOLDERS = ("/usr/local/share/tessdata", "/opt/homebrew/share/tessdata")
_AUTO, _LOOK_ONLY = 3, 0  # page segmentation modes
# Of a line, and of all that are above it. Russian and Greek are .85 to .97 sure, Ukrainian taken for Russian .72 to .77,
# what is in another script stays below .56.
_LEAST_SURE, _LEAST_ON_PAGE = 0.7, 0.82
_OSD = "osd"
_WORD_LEVEL = "5"


@dataclass(frozen=True, slots=True)
class Look:
    """How a page stands and what it is written in: `turns` are the quarter turns anticlockwise that set it upright."""

    turns: int
    sure_of_turns: float
    script: str  # "Latin", "Cyrillic", "Han" …
    sure_of_script: float


@cache
def library() -> Any:
    """The loaded library, or None where it is not installed."""
    for name in _LIBRARIES:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.TessVersion.restype = ctypes.c_char_p
        found.TessBaseAPICreate.restype = ctypes.c_void_p
        found.TessBaseAPIGetTsvText.restype = ctypes.c_void_p
        return found
    return None


@cache
def data_folder() -> Path | None:
    """Where the languages lie."""
    folders = [Path(folder) for folder in (*_FOLDERS, *_MORE_FOLDERS)]
    return next((folder for folder in folders if any(folder.glob("*.traineddata"))), None)


@cache
def installed() -> frozenset[str]:
    """The codes of the languages that can be read ("eng", "chi_sim"), "osd" among them; empty without Tesseract."""
    folder = data_folder()
    if folder is None or library() is None:
        return frozenset()
    return frozenset(file.stem for file in folder.glob("*.traineddata"))


def version() -> str:
    """Such as "5.3.0"; "" where it is not installed."""
    return str(library().TessVersion().decode()) if library() is not None else ""


class _Handle:
    """One loaded set of languages."""

    def __init__(self, languages: Sequence[str]) -> None:
        self.library = library()
        self.api = ctypes.c_void_p(self.library.TessBaseAPICreate())
        if self.library.TessBaseAPIInit3(self.api, str(data_folder()).encode(), "+".join(languages).encode()):
            raise RuntimeError("the languages could not be loaded")

    def show(self, picture: NDArray[np.uint8], *, mode: int, dpi: int) -> None:
        height, width = picture.shape
        pixels = np.ascontiguousarray(picture)
        self.library.TessBaseAPISetPageSegMode(self.api, mode)
        self.library.TessBaseAPISetImage(self.api, pixels.ctypes.data_as(ctypes.c_void_p), width, height, 1, width)
        self.library.TessBaseAPISetSourceResolution(self.api, dpi)

    def table(self) -> str:
        text = self.library.TessBaseAPIGetTsvText(self.api, 0)
        if not text:
            return ""
        try:
            return ctypes.string_at(text).decode("utf-8", "replace")
        finally:
            self.library.TessDeleteText(ctypes.c_void_p(text))

    def look(self) -> Look | None:
        degrees, sure_of_degrees = ctypes.c_int(), ctypes.c_float()
        script, sure_of_script = ctypes.c_char_p(), ctypes.c_float()
        found = self.library.TessBaseAPIDetectOrientationScript(
            self.api,
            *(ctypes.byref(place) for place in (degrees, sure_of_degrees, script, sure_of_script)),
        )
        if not found or not script.value:
            return None
        # It says by how much the text is turned clockwise… anticlockwise undoes that.
        turns = degrees.value // 90 % 4
        return Look(turns, sure_of_degrees.value, script.value.decode(), sure_of_script.value)


@lru_cache(maxsize=3)
def _handle(languages: tuple[str, ...]) -> _Handle:
    return _Handle(languages)


def look_at(picture: Picture, *, dpi: int) -> Look | None:
    """How the page stands, or None where there is too little text to tell, or the model for that is not installed."""
    if _OSD not in installed():
        return None
    handle = _handle((_OSD,))
    handle.show(grey(picture), mode=_LOOK_ONLY, dpi=dpi)
    return handle.look()


class Tesseract(Engine):
    """Reads with `languages`, which must be installed."""

    def __init__(self, languages: Sequence[str], *, dpi: int) -> None:
        self.languages = tuple(languages)
        self.dpi = dpi

    def read(self, picture: Picture, turns: int | None = None) -> Found:
        shades = grey(picture)
        tried = [self._read(turned(shades, way), way) for way in ((0, 1, 2, 3) if turns is None else (turns,))]
        return max(tried, key=_letters_upright)

    def _read(self, shades: NDArray[np.uint8], turns: int) -> Found:
        handle = _handle(self.languages)
        handle.show(shades, mode=_AUTO, dpi=self.dpi)
        lines = _lines(handle.table())
        believed = certain([line for line in lines if line.confidence >= _LEAST_SURE], least=_LEAST_ON_PAGE)
        return Found(turns, believed, len(lines) - len(believed))


def _letters_upright(found: Found) -> int:
    """It reads some lines that run up or down the page too: what it reads of those does not say that the page is upright."""
    words = [word for line in found.lines for word in line.words]
    return sum(len(word.text) for word in words if len(word.text) > 2 and word.x1 - word.x0 > word.y1 - word.y0)


def _lines(table: str) -> list[Line]:
    lines: dict[tuple[str, ...], list[Word]] = {}
    for row in table.splitlines():
        cells = row.split("\t")
        if len(cells) < 12 or cells[0] != _WORD_LEVEL or not cells[11].strip():
            continue
        left, top, width, height = (int(cell) for cell in cells[6:10])
        confidence = min(max(float(cells[10]) / 100, 0.0), 1.0)
        word = Word(cells[11].strip(), left, top, left + width, top + height, confidence)
        lines.setdefault(tuple(cells[1:5]), []).append(word)
    return [Line(tuple(words)) for words in lines.values()]
