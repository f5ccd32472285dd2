"""What a file's first bytes say that it is."""

import re

_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or protected Office document, or an Outlook mail"),
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
    (b"\x78\x9f\x3e\x22", "an Outlook envelope (winmail.dat)"),
    (b"%!PS", "PostScript"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\xffWPC", "a WordPerfect document"),
    (b"!BDN", "an Outlook data file"),
    (b"ID3", "sound"),
    (b"OggS", "sound or video"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xfe\xed\xfa", "a program"),
)
# Formats that people do send and nothing here reads, by suffix: what to do instead.
_INSTEAD = {
    "7z archives are not read; send a ZIP.": (".7z",),
    "RAR archives are not read; send a ZIP.": (".rar",),
    "TAR archives are not read; send a ZIP.": (".tar", ".tgz", ".tbz", ".tbz2", ".txz"),
    "GZIP archives are not read; send a ZIP.": (".gz",),
    "Archives of this kind are not read; send a ZIP.": (
        ".bz2",
        ".xz",
        ".zst",
        ".lz",
        ".lzma",
        ".cab",
        ".iso",
        ".arj",
        ".jar",
    ),
    "Apple Pages documents are not read; export this one as PDF or Word.": (".pages",),
    "Apple Numbers tables are not read; export this one as Excel.": (".numbers",),
    "Apple Keynote presentations are not read; export this one as PDF or PowerPoint.": (".key",),
    "XPS documents are not read; save this one as PDF.": (".xps", ".oxps"),
    "WordPerfect documents are not read; save this one as PDF or Word.": (".wpd", ".wps", ".wri"),
    "OneNote notebooks are not read; export this one as PDF or Word.": (".one", ".onepkg"),
    "Outlook data files are not read; export the mails as MSG, EML or MBOX.": (".pst", ".ost"),
    "Visio, Publisher and Project files are not read; save this one as PDF.": (".vsd", ".vsdx", ".pub", ".mpp"),
    "Databases are not read; export the tables as CSV or Excel.": (".mdb", ".accdb", ".sqlite", ".db", ".dbf"),
    "Drawings are not read; save this one as PDF or PNG.": (".svg", ".dwg", ".dxf", ".ai", ".eps", ".cdr"),
    "PostScript is not read; convert it to PDF.": (".ps",),
    "DjVu documents are not read; convert this one to PDF.": (".djvu", ".djv"),
    "Kindle books are not read; send an EPUB.": (".mobi", ".azw", ".azw3", ".kfx"),
    "Compiled help files are not read; send their pages as HTML or PDF.": (".chm", ".hlp"),
    "Sound and video are not read; send a transcript.": (
        *(".mp3", ".wav", ".m4a", ".ogg", ".flac", ".aac", ".wma", ".amr"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".m4v", ".mpg", ".mpeg"),
    ),
    "Programs are not read.": (
        ".exe",
        ".dll",
        ".msi",
        ".bat",
        ".cmd",
        ".com",
        ".scr",
        ".vbs",
        ".js",
        ".ps1",
        ".apk",
        ".dmg",
    ),
}
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|script|title|meta|table|div|p|h[1-6]|a|br)[\s>/]", re.IGNORECASE)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def kind_of(head: bytes) -> str:
    """What the bytes are, in words that complete "it holds …", or "" where no signature tells."""
    for signature, kind in _SIGNATURES:
        # Two or three letters prove little; what they sign has a header's worth of bytes that are no text.
        if head.startswith(signature) and (len(signature) > 3 or not signature.isalnum() or not is_text(head)):
            return kind
    if head[257:262] == b"ustar":
        return "a TAR archive"
    if head[4:8] == b"ftyp":
        return "a picture" if head[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "sound or video"
    if head.startswith(b"RIFF") and head[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        return "a picture" if head[8:12] == b"WEBP" else "sound or video"
    if b"%PDF-" in head[:1024] and not is_text(head):
        return "a PDF"
    return "a web page" if looks_like_html(head) else ""


def instead_of(suffix: str) -> str:
    """What to tell whoever sends a format by this suffix that is known and not read, or ""."""
    return next((sentence for sentence, suffixes in _INSTEAD.items() if suffix in suffixes), "")


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
