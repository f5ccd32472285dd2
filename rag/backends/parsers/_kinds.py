"""What a file's first bytes say that it is."""

import re

_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or protected Office document"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\x89PNG\r\n\x1a\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\x00", "a picture"),
    (b"MM\x00*", "a picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"{\\rtf", "rich text (RTF)"),
    (b"SQLite format 3", "a database"),
    (b"ITSF", "a compiled help file"),
)
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|script|title|meta|table|div|p|h[1-6]|a|br)[\s>/]", re.IGNORECASE)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def kind_of(head: bytes) -> str:
    """What the bytes are, in words that complete "it holds …", or "" where no signature tells."""
    for signature, kind in _SIGNATURES:
        # Two letters prove little; a program has a header's worth of bytes that are no text.
        if head.startswith(signature) and (signature != b"MZ" or not is_text(head)):
            return kind
    if b"%PDF-" in head[:1024] and not is_text(head):
        return "a PDF"
    return "a web page" if looks_like_html(head) else ""


def looks_like_html(head: bytes) -> bool:
    """Whether the first thing in the file is markup of a web page."""
    for mark in _MARKS:
        head = head.removeprefix(mark)
    plain = head.replace(b"\x00", b"").lstrip()
    return plain.startswith(b"<") and _HTML.search(plain[:2048]) is not None


def is_text(head: bytes) -> bool:
    """Whether the bytes can be text in some encoding: few control bytes, many NULs only where UTF-16 has them."""
    if not head or head.startswith(_MARKS) or utf16_order(head):
        return True
    nuls = head.count(0)
    controls = sum((byte < 32 and byte not in b"\x00\t\n\v\f\r\x1a\x1b\x08") or byte == 127 for byte in head)
    if nuls > 0.1 * len(head):
        # Text that something has sprinkled with NULs is otherwise plain; a program or a picture is not.
        return nuls < 0.5 * len(head) and controls == 0 and head.isascii()
    return controls <= max(1, 0.02 * len(head))


def utf16_order(data: bytes) -> str:
    """ "utf-16-le" or "utf-16-be" for bytes that have NULs where such text without a mark has them, else ""."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) <= 0.2 * len(data) or min(even, odd) >= 0.05 * len(data):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"
