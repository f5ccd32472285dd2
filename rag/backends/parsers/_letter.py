"""A mail as text: the same for every format that mails come in."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.backends.parsers._writer import Writer
from rag.backends.parsers.html import write_visible
from rag.domain.text import one_line, sensible_title, tidy
from rag.domain.types import Page, ParsedDocument, Reading

ENCRYPTED = "This mail is encrypted; its content was not read."
SMALL_PICTURE = 20_000  # bytes; smaller pictures inside a mail are logos and signatures
_ENCRYPTED_TEXT = re.compile(r"-----BEGIN PGP MESSAGE-----.*?(?:-----END PGP MESSAGE-----|\Z)", re.DOTALL)
_MOST_NAMED = 20  # attachments in the heading of a mail
_STUB = 3  # a plain version that says so many times less than the one in HTML is a notice, not a version
_STUB_FROM = 300  # characters


@dataclass(slots=True)
class Letter:
    """One mail. `lines` are its further headers as they are shown ("Location", "Starts"); `blocks` stand behind the text."""

    subject: str = ""
    sender: str = ""
    to: str = ""
    cc: str = ""
    bcc: str = ""
    date: datetime.datetime | None = None
    date_text: str = ""  # where the date cannot be understood
    lines: list[tuple[str, str]] = field(default_factory=list)
    plain: str = ""
    html: str = ""
    blocks: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # the names of what was attached
    gap: str = ""  # what was not read of it, as a sentence
    warnings: list[str] = field(default_factory=list)


def document_of(letter: Letter, parser: str) -> ParsedDocument:
    """The mail as a document of one page: subject, headers, text."""
    writer = Writer()
    writer.heading(letter.subject, 1)
    writer.block("\n".join(_headers(letter)))
    _write_body(writer, letter)
    for block in letter.blocks:
        writer.block(block)
    page = writer.page()
    if letter.gap:
        page = Page(None, page.text, page.headings, reading=Reading.UNREAD, gap=letter.gap)
        letter.warnings.insert(0, letter.gap)
    subject = one_line(letter.subject)
    title = sensible_title(subject) or subject[:200]
    return ParsedDocument(title, (page,), parser, tuple(letter.warnings), _properties(letter))


def _headers(letter: Letter) -> list[str]:
    date = letter.date.isoformat(" ", "minutes") if letter.date else letter.date_text
    named = [("From", letter.sender), ("To", letter.to), ("Cc", letter.cc), ("Bcc", letter.bcc), ("Date", date)]
    files = ", ".join(letter.files[:_MOST_NAMED]) + (" …" if len(letter.files) > _MOST_NAMED else "")
    lines = [*named, *letter.lines, ("Attachments", files)]
    return [f"{name}: {one_line(value)}" for name, value in lines if one_line(value)]


def _write_body(writer: Writer, letter: Letter) -> None:
    plain = tidy(letter.plain)
    if _ENCRYPTED_TEXT.search(plain):
        plain = tidy(_ENCRYPTED_TEXT.sub("", plain))
        letter.gap = letter.gap or ENCRYPTED
    if letter.html and len(plain) < _STUB_FROM:
        rich = Writer()
        write_visible(rich, letter.html)
        if len(rich.page().text) > _STUB * len(plain):
            write_visible(writer, letter.html)
            return
    writer.block(plain)


def _properties(letter: Letter) -> dict[str, str]:
    recipients = ", ".join(one_line(names) for names in (letter.to, letter.cc, letter.bcc) if one_line(names))
    day = letter.date.date().isoformat() if letter.date else ""
    found = {
        "sender": one_line(letter.sender),
        "author": one_line(letter.sender),
        "recipients": recipients,
        "date": day,
        "created": day,
        "subject": one_line(letter.subject),
    }
    return {key: text for key, text in found.items() if text}


def unflowed(text: str) -> str:
    """Text in which a blank before a line end means that the line goes on ("format=flowed"), with its lines joined."""
    lines: list[str] = []
    open_line = False
    for line in text.split("\n"):
        quoted = line.startswith(">")
        if open_line and not quoted and line.strip():
            lines[-1] += line.removeprefix(" ") if lines[-1].startswith(">") else line
        else:
            lines.append(line)
        open_line = line.endswith(" ") and line != "-- " and not quoted
    return "\n".join(lines)


def names_of(addresses: Sequence[tuple[str, str]]) -> str:
    """People as they are shown: "Ada Byron <ada@example.org>, bob@example.org"."""
    shown = []
    for name, address in addresses:
        name, address = one_line(name), one_line(address)
        shown.append(f"{name} <{address}>" if name and address and name != address else name or address)
    return ", ".join(text for text in shown if text)
