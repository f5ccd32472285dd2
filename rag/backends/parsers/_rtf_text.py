"""The characters of rich text: code pages by font, escapes of every kind, and the words that stand for signs."""

import codecs
import re
from collections.abc import Iterator

TOKEN = re.compile(
    rb"\\([A-Za-z]{1,32})(-?\d{1,10})?[ ]?"  # a control word, its number, and the blank that ends it
    rb"|\\'([0-9A-Fa-f]{2})"
    rb"|\\([^A-Za-z'])"
    rb"|([{}])"
    rb"|[\r\n\x00]+"
    rb"|([^\\{}\r\n\x00]+)"
)
_CODE_PAGES = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
SYMBOL = 2  # the charset of fonts that draw signs in the place of letters
DRAWN = {
    0x20: " ",
    0xB7: "•",
    0xA7: "•",
    0xA8: "☐",
    0x6F: "☐",
    0xFE: "☑",
    0xFD: "☒",
    0xFC: "✓",
    0xE0: "→",
}  # by such fonts
SIGNS = {
    "par": "", "line": "\n", "page": "\n", "column": "\n", "softline": "\n", "tab": " ", "emdash": "—", "endash": "–",
    "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ",
    "qmspace": " ",
}  # fmt: skip
SYMBOLS = {"~": " ", "_": "-", "-": "", "{": "{", "}": "}", "\\": "\\", "\t": " "}


def code_page(number: int) -> str:
    """Python's name of a code page, Windows' usual one where it is not known."""
    names = {932: "cp932", 936: "gbk", 949: "cp949", 950: "cp950", 1361: "johab", 65001: "utf-8", 10000: "mac_roman"}
    name = names.get(number, f"cp{number}")
    try:
        codecs.lookup(name)
    except LookupError:
        return "cp1252"
    return name


def charset_page(charset: int) -> str:
    """The code page of a font's charset, "" where the document's own counts."""
    return _CODE_PAGES.get(charset, "")


def joined(pieces: list[str]) -> str:
    """The pieces as one text; letters that were written in two halves are whole again."""
    text = "".join(pieces)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def tokens(data: bytes) -> Iterator[tuple[str, int | None, bytes]]:
    """What the file consists of: ("{" or "}", None, b""), ("\\'", byte, b""), ("", None, letters), ("\\*", None, b"")
    and other escapes, and control words with their numbers. Binary data is passed over."""
    place, end = 0, len(data)
    while place < end:
        found = TOKEN.match(data, place)
        if found is None:
            place += 1  # a lone backslash at the end
            continue
        place = found.end()
        word, count, code, symbol, brace, letters = found.groups()
        if letters is not None:
            yield "", None, letters
        elif code is not None:
            yield "\\'", int(code, 16), b""
        elif brace is not None:
            yield brace.decode(), None, b""
        elif word == b"bin":
            place += max(0, int(count or 0))
        elif word is not None:
            yield word.decode(), int(count) if count is not None else None, b""
        elif symbol is not None:
            yield "\\" + symbol.decode("latin-1"), None, b""
