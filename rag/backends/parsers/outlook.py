"""What Outlook keeps: mails, appointments, tasks and contacts (MSG), and its envelopes for mails (winmail.dat)."""

import datetime
import email.header
import email.message
import email.parser
import email.policy
import email.utils
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from rag.backends.parsers import _rtf_body, _tnef
from rag.backends.parsers._letter import ENCRYPTED, SMALL_PICTURE, Letter, document_of, names_of
from rag.backends.parsers._names import Names
from rag.backends.parsers.base import Parser, Work
from rag.backends.parsers.html import decode_page
from rag.domain.errors import Permanent
from rag.domain.text import one_line
from rag.domain.types import ParsedDocument

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MOST_BYTES = 256 * 1024 * 1024
_DEEPEST = 8  # mails inside mails that are unwrapped from one file
_MOST_FILES = 2_000
_PROPERTIES = "__properties_version1.0"
_EPOCH = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)
# Properties of [MS-OXPROPS].
_SUBJECT, _BODY, _RTF, _HTML, _HEADERS, _CLASS = 0x0037, 0x1000, 0x1009, 0x1013, 0x007D, 0x001A
_SENT, _DELIVERED, _MESSAGE_PAGE, _BODY_PAGE, _LOCALE = 0x0039, 0x0E06, 0x3FFD, 0x3FDE, 0x3FF1
_SENDER, _SENDER_ADDRESS, _SENDER_SMTP, _ON_BEHALF = 0x0C1A, 0x0C1F, 0x5D01, 0x0042
_SHOWN_TO, _SHOWN_CC, _NAME, _ADDRESS, _SMTP, _RECIPIENT_KIND = 0x0E04, 0x0E03, 0x3001, 0x3003, 0x39FE, 0x0C15
_DATA, _SHORT_NAME, _LONG_NAME, _CONTENT_ID, _MEDIA_TYPE, _METHOD = 0x3701, 0x3704, 0x3707, 0x3712, 0x370E, 0x3705
_WRAPPED = (".pgp-encrypted", "smime.p7m")
_EMBEDDED = 5  # the method of a mail inside a mail
_APPOINTMENT = {0x8208: "Location", 0x820D: "Starts", 0x820E: "Ends"}
_PAGES = {
    65001: "utf-8",
    1200: "utf-16-le",
    20127: "cp1252",
    28591: "cp1252",
    936: "gb18030",
    54936: "gb18030",
    20866: "koi8-r",
}
_PAGES_OF_LOCALES = {
    0x11: 932,
    0x12: 949,
    0x19: 1251,
    0x22: 1251,
    0x02: 1251,
    0x08: 1253,
    0x0D: 1255,
    0x01: 1256,
    0x1F: 1254,
}
_PAGES_OF_LOCALES |= {0x05: 1250, 0x0E: 1250, 0x15: 1250, 0x18: 1250, 0x1B: 1250, 0x1E: 874}


class MsgParser(Parser):
    name: ClassVar[str] = "msg/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.ms-outlook"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".msg", ".oft"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(_OLE)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        import olefile

        if path.stat().st_size > _MOST_BYTES:
            raise Permanent("This mail is too large to be read.")
        try:
            with path.open("rb") as file, olefile.OleFileIO(file) as container:
                if not container.exists(_PROPERTIES):
                    raise Permanent("This file is not an Outlook mail.")
                mail = _Mail(container, (), _pages(container))
                letter = mail.letter()
                names = Names()
                for name, content in mail.files(0) if letter.gap != ENCRYPTED else ():
                    letter.files.append(names.take(name))
                    work.attach(letter.files[-1], BytesIO(content))
        except (OSError, struct.error, IndexError, RecursionError):
            raise Permanent("This Outlook file is damaged and cannot be read.") from None
        work.progress(1, 1)
        return document_of(letter, self.name)


class TnefParser(Parser):
    name: ClassVar[str] = "tnef/1"
    media_types: ClassVar[frozenset[str]] = frozenset({"application/vnd.ms-tnef"})
    suffixes: ClassVar[frozenset[str]] = frozenset({".dat", ".tnef"})

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(_tnef.SIGNATURE)

    def parse(self, path: Path, work: Work) -> ParsedDocument:
        if path.stat().st_size > _MOST_BYTES:
            raise Permanent("This mail is too large to be read.")
        envelope = _tnef.read(path.read_bytes())
        names = Names()
        for name, content in envelope.files:
            envelope.letter.files.append(names.take(name))
            work.attach(envelope.letter.files[-1], BytesIO(content))
        work.progress(1, 1)
        return document_of(envelope.letter, self.name)


def _pages(container: Any) -> tuple[str, str]:
    """The encodings of the file's strings and of its body."""
    fixed = _fixed(container, (), 32)
    strings = fixed.get(_MESSAGE_PAGE) or fixed.get(_BODY_PAGE) or _page_of_locale(fixed.get(_LOCALE, 0))
    return _encoding(strings), _encoding(fixed.get(_BODY_PAGE) or strings)


def _page_of_locale(locale: int) -> int:
    if locale & 0x3FF == 0x04:  # Chinese: simplified or traditional by the country
        return 936 if locale in (0x0804, 0x1004) else 950
    return _PAGES_OF_LOCALES.get(locale & 0x3FF, 1252)


def _encoding(page: int) -> str:
    name = _PAGES.get(page, f"cp{page}")
    try:
        "".encode(name)
    except LookupError:
        return "cp1252"
    return name


def _fixed(container: Any, place: tuple[str, ...], header: int) -> dict[int, int]:
    """The properties that fit into eight bytes, as integers."""
    data = _stream(container, (*place, _PROPERTIES))
    found = {}
    for start in range(header, len(data) - 15, 16):
        _, number, _, value = struct.unpack_from("<HHIq", data, start)
        kind = struct.unpack_from("<H", data, start)[0]
        if kind in (2, 3, 11):
            value &= 0xFFFFFFFF
        found[number] = value
    return found


def _stream(container: Any, path: tuple[str, ...]) -> bytes:
    if not container.exists(list(path)) or container.get_type(list(path)) != 2:
        return b""
    with container.openstream(list(path)) as stream:
        return bytes(stream.read())


class _Storage:
    """A folder of the file that has properties: the mail, a recipient, an attachment."""

    def __init__(self, container: Any, place: tuple[str, ...], encodings: tuple[str, str], header: int) -> None:
        self.container = container
        self.place = place
        self.encodings = encodings
        self.fixed = _fixed(container, place, header)

    def bytes(self, number: int) -> bytes:
        return _stream(self.container, (*self.place, f"__substg1.0_{number:04X}0102"))

    def text(self, number: int) -> str:
        wide = _stream(self.container, (*self.place, f"__substg1.0_{number:04X}001F"))
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\x00")
        narrow = _stream(self.container, (*self.place, f"__substg1.0_{number:04X}001E"))
        return narrow.decode(self.encodings[0], "replace").rstrip("\x00")

    def moment(self, number: int) -> datetime.datetime | None:
        ticks = self.fixed.get(number, 0)  # tenths of microseconds
        try:
            return (_EPOCH + datetime.timedelta(microseconds=ticks // 10)).replace(microsecond=0) if ticks > 0 else None
        except OverflowError:
            return None

    def inside(self, prefix: str) -> Iterator[tuple[str, ...]]:
        """The folders in this one whose names begin so, in order."""
        depth = len(self.place)
        names = {
            entry[depth]
            for entry in self.container.listdir(streams=False, storages=True)
            if len(entry) > depth and tuple(entry[:depth]) == self.place and entry[depth].startswith(prefix)
        }
        for name in sorted(names)[:_MOST_FILES]:
            yield (*self.place, name)


class _Mail(_Storage):
    def __init__(self, container: Any, place: tuple[str, ...], encodings: tuple[str, str]) -> None:
        super().__init__(container, place, encodings, 24 if place else 32)

    def letter(self) -> Letter:
        headers = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(self.text(_HEADERS))
        letter = Letter(subject=self.text(_SUBJECT))
        address = self.text(_SENDER_SMTP) or self.text(_SENDER_ADDRESS)
        name = self.text(_SENDER) or self.text(_ON_BEHALF)
        letter.sender = names_of([(name, address if "@" in address else "")])
        people: dict[int, list[tuple[str, str]]] = {1: [], 2: [], 3: []}
        for place in self.inside("__recip_version1.0_#"):
            person = _Storage(self.container, place, self.encodings, 8)
            address = person.text(_SMTP) or person.text(_ADDRESS)
            entry = (person.text(_NAME), address if "@" in address else "")
            people.setdefault(person.fixed.get(_RECIPIENT_KIND, 1), []).append(entry)
        letter.to = names_of(people[1]) or self.text(_SHOWN_TO)
        letter.cc = names_of(people[2]) or self.text(_SHOWN_CC)
        letter.bcc = names_of(people[3])
        letter.date = self.moment(_SENT) or self.moment(_DELIVERED)
        if letter.date is None:
            with suppress(ValueError, TypeError, IndexError, OverflowError):
                letter.date = email.utils.parsedate_to_datetime(str(headers["Date"]))
        self._body(letter)
        self._appointment(letter)
        kind = self.text(_CLASS).lower()
        if ("smime" in kind and "multipartsigned" not in kind) or any(
            name.lower().endswith((".pgp-encrypted", "smime.p7m")) for name, _ in self._named()
        ):
            letter.gap = ENCRYPTED
        return letter

    def _body(self, letter: Letter) -> None:
        letter.plain = self.text(_BODY)
        html = self.bytes(_HTML)
        with suppress(Permanent):
            letter.html = decode_page(html, self.encodings[1]) if html else self.text(_HTML)
        rich = self.bytes(_RTF)
        if rich and not letter.plain.strip() and not letter.html.strip():
            try:
                letter.plain = _rtf_body.text_of(rich)
            except Permanent:
                letter.warnings.append("The formatted text of this mail is damaged and was not read.")

    def _appointment(self, letter: Letter) -> None:
        """Adds where and when an appointment is: properties whose numbers the file itself hands out."""
        if "appointment" not in self.text(_CLASS).lower() and "meeting" not in self.text(_CLASS).lower():
            return
        names = _stream(self.container, ("__nameid_version1.0", "__substg1.0_00030102"))
        numbers = {}
        for start in range(0, len(names) - 7, 8):
            name, info = struct.unpack_from("<II", names, start)
            if not info & 1:
                numbers[name] = 0x8000 + (info >> 16)
        for name, label in _APPOINTMENT.items():
            number = numbers.get(name)
            if number is None:
                continue
            moment = None if label == "Location" else self.moment(number)
            text = self.text(number) if label == "Location" else moment.isoformat(" ", "minutes") if moment else ""
            if text:
                letter.lines.append((label, text))

    def _named(self) -> Iterator[tuple[str, _Storage]]:
        for place in self.inside("__attach_version1.0_#"):
            entry = _Storage(self.container, place, self.encodings, 8)
            yield (
                one_line(entry.text(_LONG_NAME) or entry.text(_SHORT_NAME) or entry.text(_NAME)) or "attachment",
                entry,
            )

    def files(self, depth: int) -> Iterator[tuple[str, bytes]]:
        """The attachments: a mail inside this one comes as a mail of the common kind (EML)."""
        for name, entry in self._named():
            inner = (*entry.place, f"__substg1.0_{_DATA:04X}000D")
            if entry.fixed.get(_METHOD) == _EMBEDDED or self.container.exists([*inner, _PROPERTIES]):
                if depth < _DEEPEST and self.container.exists([*inner, _PROPERTIES]):
                    title = name.removesuffix(".msg").replace("/", "-")[:80]
                    yield f"{title}.eml", _Mail(self.container, inner, self.encodings).as_eml(depth + 1)
                continue
            content = entry.bytes(_DATA)
            is_picture = entry.text(_MEDIA_TYPE).startswith("image/")
            if content and not (is_picture and entry.text(_CONTENT_ID) and len(content) < SMALL_PICTURE):
                yield name, content

    def as_eml(self, depth: int) -> bytes:
        """The mail in the common format."""
        letter = self.letter()
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        named = {"Subject": letter.subject, "From": letter.sender, "To": letter.to, "Cc": letter.cc, "Bcc": letter.bcc}
        for name, value in named.items():
            if one_line(value):
                # Encoded by hand: the library refuses names that are no addresses.
                message.add_header(name, email.header.Header(one_line(value), "utf-8", maxlinelen=900).encode())
        if letter.date:
            message["Date"] = email.utils.format_datetime(letter.date)
        lines = [f"{label}: {text}" for label, text in letter.lines]
        message.set_content("\n".join([*lines, *([""] if lines else []), letter.plain]))
        if letter.html:
            message.add_alternative(letter.html, subtype="html")
        for name, content in self.files(depth):
            message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
        return message.as_bytes()
