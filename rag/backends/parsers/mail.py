"""Mails and mail folders (EML, MBOX), and web pages that were saved as a mail (MHTML)."""

import email.header
import email.message
import email.parser
import email.policy
import email.utils
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, ClassVar

from rag.backends.parsers import _tnef
from rag.backends.parsers._kinds import is_text, kind_of, utf16_order
from rag.backends.parsers._letter import ENCRYPTED, SMALL_PICTURE, Letter, document_of, unflowed
from rag.backends.parsers._names import Names
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.html import decode_page, read_page
from rag.backends.parsers.text import decode
from rag.domain.errors import Permanent
from rag.domain.text import one_line
from rag.domain.types import Page, ParsedDocument, Reading

_MOST_BYTES = 256 * 1024 * 1024  # of one mail
_MOST_PARTS = 2_000
_MOST_MAILS = 2_000  # of one folder: each becomes a document
_HEADER = re.compile(rb"(?:\A|\n)[!-9;-~]{1,60}:[ \t\r\n]")
_KNOWN_HEADER = re.compile(
    rb"(?i)(?:\A|\n)(?:from|to|subject|date|received|return-path|message-id|mime-version|content-type|x-[\w-]+|delivered-to"
    rb"|dkim-signature|arc-[\w-]+|reply-to|sender):"
)
_FOLDER_LINE = re.compile(rb"From \S.*\d{4}\s*\Z")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-keys",
        "application/pgp-encrypted",
        "text/rfc822-headers",
    }
)
_SUFFIXES = {
    "attached/rfc822": ".eml",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/html": ".html",
    "text/csv": ".csv",
    "text/calendar": ".ics",
    "text/vcard": ".vcf",
    "text/x-vcard": ".vcf",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/tiff": ".tiff",
    "application/zip": ".zip",
    "application/msword": ".doc",
    "application/rtf": ".rtf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}


class _Part(email.message.Message):
    """A part whose mails inside stay bytes: each is a document of its own, and a chain of thousands is no recursion."""

    def get_content_type(self) -> str:
        kind = super().get_content_type()
        return kind.replace("message/", "attached/", 1) if kind.startswith("message/") else kind


class EmlParser(Parser):
    name: ClassVar[str] = "eml/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"message/rfc822"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".eml"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return kind_of(head) == "" and is_text(head) and _KNOWN_HEADER.search(_plain(head)) is not None

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        letter = _Mail(work).read(_message(path))
        work.progress(1, 1)
        return document_of(letter, self.name)


class MboxParser(Parser):
    name: ClassVar[str] = "mbox/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/mbox"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".mbox", ".mbx"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(b"From ") and is_text(head) and _HEADER.search(head) is not None

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        names, taken, all_mails = Names(), 0, 0
        with path.open("rb") as file:
            for mail in _mails(file):
                all_mails += 1
                if taken < _MOST_MAILS:
                    subject = email.parser.BytesHeaderParser().parsebytes(mail[: 64 * 1024])["Subject"]
                    work.attach(names.take(f"{_words(subject)[:80].replace('/', '-') or 'mail'}.eml"), BytesIO(mail))
                    taken += 1
                    work.progress(taken, None)
        if not all_mails:
            raise Permanent("This mail folder holds no mails.")
        work.progress(taken, taken)
        if all_mails == taken:
            return ParsedDocument("", (), self.name)
        gap = f"The first {taken:,} of its {all_mails:,} mails were taken; split the folder to have the others read."
        return ParsedDocument("", (Page(None, "", reading=Reading.UNREAD, gap=gap),), self.name, (gap,))


class WebArchiveParser(Parser):
    name: ClassVar[str] = "mhtml/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"multipart/related"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".mht", ".mhtml"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return EmlParser.recognises(head)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        for part in _leaves(_message(path)):
            if part.get_content_type() == "text/html":
                document = read_page(decode_page(_bytes(part), _charset(part)), self.name)
                work.progress(1, 1)
                return document
        raise Permanent("This web archive holds no page.")


class _Mail:
    """Turns the parts of one mail into its text and attachments."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.names = Names()
        self.letter = Letter()
        self.plain: list[str] = []
        self.html: list[str] = []

    def read(self, message: email.message.Message) -> Letter:
        self._headers(message)
        kind, smime = message.get_content_type(), str(message.get_param("smime-type") or "").lower()
        if kind == "multipart/encrypted" or (kind.endswith("pkcs7-mime") and smime != "signed-data"):
            self.letter.gap = ENCRYPTED
            return self.letter
        if kind.endswith("pkcs7-mime"):
            self.letter.gap = "This mail is wrapped in its signature; its content was not read."
            return self.letter
        for part in _leaves(message):
            self._take(part)
        self.letter.plain = "\n\n".join(self.plain)
        self.letter.html = "\n".join(self.html)
        return self.letter

    def _headers(self, message: email.message.Message) -> None:
        letter = self.letter
        letter.subject = _words(message["Subject"])
        letter.sender, letter.to, letter.cc, letter.bcc = (
            ", ".join(_words(value) for value in message.get_all(name, ())) for name in ("From", "To", "Cc", "Bcc")
        )
        letter.date_text = _words(message["Date"])
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            letter.date = email.utils.parsedate_to_datetime(letter.date_text)

    def _take(self, part: email.message.Message) -> None:
        kind = part.get_content_type()
        name = _words(part.get_filename())
        shown = part.get_content_disposition() != "attachment" and not name
        if kind in _SIGNATURES or kind == "attached/external-body":
            if kind == "attached/external-body":
                self.letter.warnings.append("A part of this mail lies elsewhere and was not fetched.")
        elif kind in ("text/plain", "attached/delivery-status") and shown:
            text = _text(part)
            self.plain.append(unflowed(text) if str(part.get_param("format")).lower() == "flowed" else text)
        elif kind == "text/html" and shown:
            self.html.append(decode_page_or_nothing(_bytes(part), _charset(part)))
        elif kind in ("application/ms-tnef", "application/vnd.ms-tnef") or name.lower() == "winmail.dat":
            self._unwrap(_bytes(part))
        else:
            self._attach(part, kind, name)

    def _unwrap(self, data: bytes) -> None:
        """Outlook's own envelope, whose files are the mail's."""
        try:
            inside = _tnef.read(data)
        except Permanent:
            self.letter.warnings.append(
                "An attachment in Outlook's own format (winmail.dat) is damaged and was not read."
            )
            return
        self.plain.append(inside.letter.plain)
        self.html.append(inside.letter.html)
        for name, content in inside.files:
            self._hand_over(name, content)

    def _attach(self, part: email.message.Message, kind: str, name: str) -> None:
        content = _bytes(part)
        picture = kind.startswith("image/") and (part["Content-ID"] or part.get_content_disposition() == "inline")
        if not content or (picture and len(content) < SMALL_PICTURE):
            return
        if kind == "attached/rfc822":
            subject = _words(email.parser.BytesHeaderParser().parsebytes(content[: 64 * 1024])["Subject"])
            name = name or subject[:80].replace("/", "-") or "mail"
            name = name if name.lower().endswith(".eml") else f"{name}.eml"
        self._hand_over(name or f"attachment{_SUFFIXES.get(kind, '')}", content)

    def _hand_over(self, name: str, content: bytes) -> None:
        self.letter.files.append(self.names.take(name))
        self.work.attach(self.letter.files[-1], BytesIO(content))


def decode_page_or_nothing(data: bytes, declared: str) -> str:
    """The source of a mail's HTML; "" where the bytes are no text."""
    try:
        return decode_page(data, declared)
    except Permanent:
        return ""


def _plain(head: bytes) -> bytes:
    """The beginning of a mail, in ASCII where some program has saved it as UTF-16."""
    return head.replace(b"\x00", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").removeprefix(b"\xef\xbb\xbf")


def _message(path: Path) -> email.message.Message:
    if path.stat().st_size > _MOST_BYTES:
        raise Permanent("This mail is too large to be read.")
    parser = email.parser.BytesParser(_Part, policy=email.policy.compat32)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) or utf16_order(head):
                return parser.parsebytes(decode(path.read_bytes()).lstrip().encode())
            file.seek(0)
            return parser.parse(file)
    except RecursionError:
        raise Permanent("The parts of this mail are nested too deep to be read.") from None


def _leaves(message: email.message.Message) -> Iterator[email.message.Message]:
    """The parts that hold content, in order; of alternatives all, the plain ones first as mails have them."""
    stack = [message]
    count = 0
    while stack:
        part = stack.pop()
        count += 1
        if count > _MOST_PARTS:
            raise Permanent(f"This mail has more than {_MOST_PARTS:,} parts; it was not read.")
        inside = part.get_payload()
        if isinstance(inside, list):
            stack.extend(inner for inner in reversed(inside) if isinstance(inner, email.message.Message))
        else:
            yield part


def _bytes(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _charset(part: email.message.Message) -> str:
    with suppress(LookupError, UnicodeError, ValueError, TypeError):
        return part.get_content_charset() or ""
    return ""


def _text(part: email.message.Message) -> str:
    try:
        return decode(_bytes(part), _charset(part))
    except Permanent:
        return ""


def _words(value: object) -> str:
    """A header as people read it: encoded words decoded, folds undone."""
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, email.header.Header):
        # Bytes that are no ASCII, which no standard allows and many programs send.
        raw = b"".join(
            piece if isinstance(piece, bytes) else piece.encode() for piece, _ in email.header.decode_header(value)
        )
        with suppress(Permanent):
            text = decode(raw)
    with suppress(ValueError, LookupError, IndexError, TypeError):
        text = "".join(_word(piece, charset) for piece, charset in email.header.decode_header(text))
    return one_line(text)


def _word(piece: bytes | str, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    if charset is None:  # what stands between encoded words, escaped as Python source is
        return piece.decode("raw-unicode-escape")
    try:
        return piece.decode(charset, "replace")
    except LookupError:
        return decode(piece)


def _mails(file: IO[bytes]) -> Iterator[bytes]:
    """The mails of a folder, one after the other."""
    lines: list[bytes] = []
    size, blank, started = 0, True, False
    for line in file:
        if blank and line.startswith(b"From ") and _FOLDER_LINE.match(line):
            if started and lines:
                yield _QUOTED_FROM.sub(rb"\1", b"".join(lines))
            lines, size, started, blank = [], 0, True, False
            continue
        size += len(line)
        if size > _MOST_BYTES:
            raise Permanent("A mail in this folder is too large to be read.")
        lines.append(line)
        blank = not line.strip()
    if started and any(line.strip() for line in lines):
        yield _QUOTED_FROM.sub(rb"\1", b"".join(lines))
