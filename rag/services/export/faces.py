"""The faces that a PDF is set in: one that reportlab brings, and for characters that it lacks one of this machine's.

Why: a PDF holds the faces that it uses, and no face has every script. Bitstream Vera comes with reportlab and has the Latin letters;
DejaVu, its larger sister, and the Noto faces, one a script, are on most machines. Nothing is loaded from elsewhere.
"""

import os
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFError, TTFont

BASE, BOLD, ITALIC = "Vera", "Vera-Bold", "Vera-Italic"
_BUNDLED = {BASE: "Vera.ttf", BOLD: "VeraBd.ttf", ITALIC: "VeraIt.ttf"}
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts",
            "/System/Library/Fonts", "C:/Windows/Fonts")  # fmt: skip
_ANYTHING = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")
_SYMBOLS = ("NotoSansSymbols-Regular.ttf", "NotoSansSymbols2-Regular.ttf", "NotoSansMath-Regular.ttf")
# Faces that every reader of PDFs brings itself, by the first word of a character's name: they are not inside the file.
_EAST_ASIAN = {
    "CJK": "STSong-Light",
    "HIRAGANA": "HeiseiMin-W3",
    "KATAKANA": "HeiseiMin-W3",
    "HANGUL": "HYSMyeongJo-Medium",
}
_lock = threading.Lock()

MISSING = "?"  # stands for a character that no face has


def markup(text: str, face: str = BASE) -> str:
    """The text for a reportlab paragraph: nothing in it is markup, and each character is in a face that has it, or is MISSING."""
    with _lock:
        _register()
        pieces = []
        for name, characters in groupby(text, key=lambda character: _face_for(character, face)):
            piece = "".join(characters)
            if name is None:
                pieces.append(MISSING * len(piece))
            elif name == face:
                pieces.append(escape(piece))
            else:
                pieces.append(f'<font name="{name}">{escape(piece)}</font>')
        return "".join(pieces)


@cache
def _register() -> None:
    for name, file in _BUNDLED.items():
        pdfmetrics.registerFont(TTFont(name, file))
    pdfmetrics.registerFontFamily(BASE, normal=BASE, bold=BOLD, italic=ITALIC, boldItalic=BOLD)


@cache
def _face_for(character: str, face: str) -> str | None:
    """The face that has the character, or None."""
    if character.isspace() or ord(character) in pdfmetrics.getFont(face).face.charToGlyph:
        return face
    script = unicodedata.name(character, "").partition(" ")[0]
    if script in _EAST_ASIAN:
        name = _EAST_ASIAN[script]
        pdfmetrics.registerFont(UnicodeCIDFont(name))
        return name
    own = (f"NotoSans{script.title()}-Regular.ttf", f"NotoSerif{script.title()}-Regular.ttf") if script else ()
    return next((name for name in _registered((*_ANYTHING, *own, *_SYMBOLS)) if _has(name, character)), None)


def _has(name: str, character: str) -> bool:
    return ord(character) in pdfmetrics.getFont(name).face.charToGlyph


def _registered(files: tuple[str, ...]) -> Iterator[str]:
    """The names of those of the files that are on this machine and can be put into a PDF."""
    for file in files:
        if name := _installed(file):
            yield name


@cache
def _installed(file: str) -> str:
    path = _files().get(file)
    if path is None:
        return ""
    name = file.partition(".")[0]
    try:
        pdfmetrics.registerFont(TTFont(name, str(path)))
    except TTFError:  # outlines of another kind, or a broken file: as good as not there
        return ""
    return name


@cache
def _files() -> dict[str, Path]:
    """Where each face of this machine is, by its file's name."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for place, _folders, names in os.walk(Path(folder).expanduser()):
            for name in names:
                if name.endswith(".ttf"):
                    found.setdefault(name, Path(place, name))
    return found
