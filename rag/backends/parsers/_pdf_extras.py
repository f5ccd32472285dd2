"""What a PDF holds beside its pages: its properties, and the files inside it."""

import ctypes
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from rag.domain.text import one_line

_MOST_ATTACHMENTS = 2_000
_LARGEST_ATTACHMENT = 512 * 1024 * 1024  # bytes
_LONGEST = 2_000  # letters of a property
_NAMES = {
    "Title": "title",
    "Author": "author",
    "Subject": "subject",
    "Keywords": "keywords",
    "CreationDate": "created",
    "ModDate": "modified",
}
_DATE = re.compile(r"(?:D:)?\s*(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(?:([Zz+-])(?:(\d\d)'?(\d\d)?'?)?)?")


def properties(pdf: Any) -> dict[str, str]:
    """What the file says of itself, dates in ISO 8601; a date that is none is left out."""
    found: dict[str, str] = {}
    for key, name in _NAMES.items():
        value = one_line(pdf.get_metadata_value(key) or "")[:_LONGEST]
        if name in ("created", "modified"):
            value = iso_date(value)
        if value:
            found[name] = value
    return found


def iso_date(text: str) -> str:
    """A PDF's date ("D:20240131120000+01'00'") in ISO 8601, as exact as it is; "" for what is no date."""
    match = _DATE.match(text)
    if match is None:
        return ""
    year, month, day, hour, minute, second, sign, hours, minutes = match.groups()
    try:
        moment = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
        if sign in ("Z", "z"):
            moment = moment.replace(tzinfo=UTC)
        elif sign:
            ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
            moment = moment.replace(tzinfo=timezone(ahead if sign == "+" else -ahead))
    except ValueError:
        return ""
    if hour is None:
        return moment.date().isoformat() if day else f"{year}-{month}" if month else year
    return moment.isoformat()


def attachments(pdf: Any) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each file inside the PDF; those whose bytes are not there are passed over."""
    import pypdfium2.raw as raw

    for index in range(min(raw.FPDFDoc_GetAttachmentCount(pdf.raw), _MOST_ATTACHMENTS)):
        attachment = raw.FPDFDoc_GetAttachment(pdf.raw, index)
        content = content_of(attachment) if attachment else None
        if content is not None:
            yield name_of(attachment) or f"attachment {index + 1}", content


def name_of(attachment: Any) -> str:
    import pypdfium2.raw as raw

    length = raw.FPDFAttachment_GetName(attachment, None, 0)
    buffer = ctypes.create_string_buffer(max(length, 2))
    raw.FPDFAttachment_GetName(attachment, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    return one_line(buffer.raw[: max(length - 2, 0)].decode("utf-16-le", "replace"))


def content_of(attachment: Any) -> bytes | None:
    import pypdfium2.raw as raw

    length = ctypes.c_ulong()
    if not raw.FPDFAttachment_GetFile(attachment, None, 0, length) or length.value > _LARGEST_ATTACHMENT:
        return None
    if not length.value:
        return b""
    buffer = ctypes.create_string_buffer(length.value)
    if not raw.FPDFAttachment_GetFile(attachment, buffer, length.value, length):
        return None
    return buffer.raw
