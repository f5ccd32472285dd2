"""What mails need of their parsers: MIME, mail folders, saved web pages, Outlook's files."""

import struct
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

import pytest

from rag.backends.parsers._letter import ENCRYPTED, unflowed
from rag.backends.parsers._names import Names, safe_path
from rag.backends.parsers._rtf_body import text_of as rich_text
from rag.backends.parsers._rtf_body import unpacked
from rag.backends.parsers.base import Work
from rag.backends.parsers.mail import EmlParser, MboxParser, WebArchiveParser
from rag.backends.parsers.outlook import MsgParser, TnefParser
from rag.domain.errors import Permanent
from rag.domain.types import ParsedDocument, Reading
from tests.contracts.test_parsers import (
    FILES,
    HOSTILE,
    ContainerContract,
    ParserContract,
    check_promises,
    needs_files,
    needs_hostile,
    parse,
    text_of,
)


def with_files(path: Path) -> tuple[ParsedDocument, dict[str, bytes]]:
    """The document and the files inside it."""
    from rag.backends.parsers import HEAD, parser_for

    taken: dict[str, bytes] = {}
    work = Work(attach=lambda name, content: taken.__setitem__(name, content.read()))
    return parser_for(path.name, path.read_bytes()[:HEAD])().parse(path, work), taken


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    given = {"Subject": "Notice of lease", "From": "Ada Byron <ada@example.org>", "To": "bob@example.org"} | headers
    for name, value in given.items():
        message[name] = value
    message["Date"] = "Sat, 04 May 2024 10:30:00 +0200"
    return message


def saved(path: Path, message: EmailMessage | bytes) -> Path:
    path.write_bytes(message if isinstance(message, bytes) else message.as_bytes())
    return path


class TestEml(ParserContract):
    parser, suffix = EmlParser, ".eml"

    def make(self, path: Path) -> Path:
        message = mail(Subject=self.named_heading)
        message.set_content(self.known)
        return saved(path, message)


class TestWebArchive(ParserContract):
    parser, suffix = WebArchiveParser, ".mhtml"

    def make(self, path: Path) -> Path:
        message = mail()
        message.set_content(f"<html><h1>{self.named_heading}</h1><p>{self.known}</p></html>", subtype="html")
        return saved(path, message)


@needs_files
class TestMsg(ParserContract):
    parser, suffix = MsgParser, ".msg"
    named_heading, known = "Test Email Message", "This is the body of the test email message"

    def make(self, path: Path) -> Path:
        return saved(path, (FILES / "email/markitdown__test_outlook_msg.msg").read_bytes())


class TestMbox(ContainerContract):
    parser, suffix = MboxParser, ".mbox"

    def make(self, path: Path, files: Mapping[str, bytes]) -> Path:
        return saved(path, b"".join(b"From ada Sat May  4 10:30:00 2024\n" + text + b"\n\n" for text in files.values()))


def tnef_attribute(kind: int, value: bytes) -> bytes:
    return b"\x01" + struct.pack("<II", kind, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


class TestTnef(ParserContract):
    parser, suffix = TnefParser, ".dat"

    def make(self, path: Path) -> Path:
        data = b"\x78\x9f\x3e\x22\x01\x00"
        data += tnef_attribute(0x00018004, self.named_heading.encode("cp1252") + b"\0")
        data += tnef_attribute(0x0002800C, self.known.encode() + b"\0")
        data += tnef_attribute(0x00069002, bytes(14)) + tnef_attribute(0x00018010, b"a.txt\0")
        return saved(path, data + tnef_attribute(0x0006800F, b"words"))


# --- MIME


def test_a_mail_is_its_subject_its_heading_and_its_text(tmp_path: Path) -> None:
    message = mail(Subject="Kündigung für die Wohnung", Cc="Zoë <zoe@example.org>")
    message.set_content("Dear Bob,\n\nyes.\n\n> Shall we meet?\n")
    document = parse(saved(tmp_path / "a.eml", message))
    check_promises(document)
    assert document.title == "Kündigung für die Wohnung"
    assert document.pages[0].text == (
        "Kündigung für die Wohnung\n\nFrom: Ada Byron <ada@example.org>\nTo: bob@example.org\nCc: Zoë <zoe@example.org>\n"
        "Date: 2024-05-04 10:30+02:00\n\nDear Bob,\n\nyes.\n\n> Shall we meet?"
    )
    assert document.properties == {
        "sender": "Ada Byron <ada@example.org>",
        "author": "Ada Byron <ada@example.org>",
        "recipients": "bob@example.org, Zoë <zoe@example.org>",
        "date": "2024-05-04",
        "created": "2024-05-04",
        "subject": "Kündigung für die Wohnung",
    }


def test_the_plain_version_is_read_unless_it_is_a_notice(tmp_path: Path) -> None:
    page = "<p>Shown</p><img src='http://127.0.0.1:9/pixel.gif'><p style='display:none'>preheader</p>"
    message = mail()
    message.set_content("Plain words.")
    message.add_alternative(page, subtype="html")
    assert text_of(parse(saved(tmp_path / "a.eml", message))).endswith("\n\nPlain words.")
    message = mail()
    message.set_content("See HTML.")
    message.add_alternative(page.replace("Shown", "All that there is to say about the lease. " * 5), subtype="html")
    text = text_of(parse(saved(tmp_path / "a.eml", message)))
    assert "All that there is to say" in text
    assert "See HTML" not in text
    assert "preheader" not in text


def test_attachments_are_handed_over_and_named(tmp_path: Path) -> None:
    inner = mail(Subject="Inner: one/two")
    inner.set_content("inner words")
    message = mail()
    message.set_content("See below.")
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="Übersicht.pdf")
    message.add_attachment(b"again", maintype="application", subtype="pdf", filename="../Übersicht.pdf")
    message.add_attachment(b"\xff\xd8\xff logo", maintype="image", subtype="jpeg", cid="<1>", disposition="inline")
    message.add_attachment(inner)
    document, files = with_files(saved(tmp_path / "a.eml", message))
    assert list(files) == ["Übersicht.pdf", "Übersicht (2).pdf", "Inner_ one-two.eml"]
    assert files["Übersicht.pdf"] == b"%PDF-1.7"
    assert b"inner words" in files["Inner_ one-two.eml"]
    assert "Attachments: Übersicht.pdf, Übersicht (2).pdf, Inner_ one-two.eml" in text_of(document)
    assert "inner words" not in text_of(document)


@pytest.mark.parametrize("charset", ["iso-2022-jp", "shift_jis", "euc-jp", "utf-7"])
def test_mails_are_read_in_their_charset(tmp_path: Path, charset: str) -> None:
    words = "契約の期間は三か月です。"
    data = f"Subject: x\nContent-Type: text/plain; charset={charset}\n\n".encode() + words.encode(charset)
    assert words in text_of(parse(saved(tmp_path / "a.eml", data)))


def test_headers_without_any_encoding_are_read_too(tmp_path: Path) -> None:
    data = "From: Zoë <zoe@example.org>\nSubject: Größe =?utf-8?q?f=C3=BCr?= alle\nDate: yesterday\n\nx".encode()
    document = parse(saved(tmp_path / "a.eml", data))
    assert document.title == "Größe für alle"
    assert "From: Zoë <zoe@example.org>\nDate: yesterday" in text_of(document)


def test_an_encrypted_mail_is_a_gap(tmp_path: Path) -> None:
    kinds = ('multipart/encrypted; boundary="b"', "application/pkcs7-mime; smime-type=enveloped-data")
    for kind in (*kinds, "text/plain"):
        secret = "-----BEGIN PGP MESSAGE-----\nhIwDY32hYGCE8MkBA\n-----END PGP MESSAGE-----\n"
        data = f"Subject: Secret plan\nContent-Type: {kind}\n\n--b\n\n{secret}"
        document, files = with_files(saved(tmp_path / "a.eml", data.encode()))
        assert not files
        assert document.warnings == (ENCRYPTED,)
        assert (document.pages[0].reading, document.pages[0].gap) == (Reading.UNREAD, ENCRYPTED)
        assert "hIwDY" not in text_of(document)


@pytest.mark.parametrize("levels", [300, 5_000])
def test_mails_in_mails_are_unwrapped_one_at_a_time(tmp_path: Path, levels: int) -> None:
    data = b"".join(b"Subject: level %d\nContent-Type: message/rfc822\n\n" % level for level in range(levels))
    _, files = with_files(saved(tmp_path / "a.eml", data + b"Subject: end\n\nwords"))
    assert list(files) == ["level 1.eml"]


def test_parts_nested_without_end_are_refused_or_read(tmp_path: Path) -> None:
    data = b"Subject: x\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(3000)
    )
    try:
        check_promises(parse(saved(tmp_path / "a.eml", data)))
    except Permanent as error:
        assert "nested" in error.message


def test_what_lies_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    kind = 'message/external-body; access-type=local-file; name="/etc/hostname"'
    document, files = with_files(saved(tmp_path / "a.eml", f"Subject: x\nContent-Type: {kind}\n\n\n".encode()))
    assert not files
    assert document.warnings == ("A part of this mail lies elsewhere and was not fetched.",)


def test_soft_line_ends_are_undone() -> None:
    assert unflowed("One \nline.\n> quoted \n> more\n-- \nAda") == "One line.\n> quoted \n> more\n-- \nAda"


def test_a_folder_hands_over_each_mail_with_its_text_unquoted(tmp_path: Path) -> None:
    text = "From a Sat May  4 10:30:00 2024\nSubject: One\n\nHello\n\n>From here on\nFrom there\n\n"
    path = saved(tmp_path / "a.mbox", text.encode() + b"From b Sat May  4 10:30:00 2024\nSubject: One\n\nBye\n")
    _, files = with_files(path)
    assert list(files) == ["One.eml", "One (2).eml"]
    assert files["One.eml"].decode().endswith("Hello\n\nFrom here on\nFrom there\n\n")


def test_a_folder_of_too_many_mails_says_which_were_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.backends.parsers.mail._MOST_MAILS", 2)
    mails = b"".join(b"From a Sat May  4 10:30:00 2024\nSubject: %d\n\nx\n\n" % n for n in range(5))
    document, files = with_files(saved(tmp_path / "a.mbox", mails))
    assert len(files) == 2
    assert document.pages[0].gap.startswith("The first 2 of its 5 mails were taken")
    assert document.warnings == (document.pages[0].gap,)


# --- Outlook


def test_an_envelope_gives_its_files(tmp_path: Path) -> None:
    document, files = with_files(TestTnef().make(tmp_path / "winmail.dat"))
    assert files == {"a.txt": b"words"}
    assert "Attachments: a.txt" in text_of(document)


def test_an_envelope_inside_a_mail_is_unwrapped(tmp_path: Path) -> None:
    message = mail()
    message.set_content("See below.")
    envelope = TestTnef().make(tmp_path / "winmail.dat").read_bytes()
    message.add_attachment(envelope, maintype="application", subtype="ms-tnef", filename="winmail.dat")
    document, files = with_files(saved(tmp_path / "a.eml", message))
    assert files == {"a.txt": b"words"}
    assert TestTnef.known in text_of(document)


def test_packed_rich_text_is_unpacked() -> None:
    # The example of [MS-OXRTFCP], section 4.1.1.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert unpacked(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert rich_text(packed) == "hello world"
    with pytest.raises(Permanent):
        unpacked(b"no such thing, but long enough")


@needs_files
def test_outlook_files_show_what_outlook_shows() -> None:
    appointment = text_of(parse(FILES / "email/tika__testMSG_Appointment.msg"))
    assert "Location: under lazy dog\nStarts: 2017-02-28 18:30+00:00\nEnds: 2017-02-28 19:00+00:00" in appointment
    assert "格式測試" in text_of(parse(FILES / "email/tika__testMSG_chinese.msg"))
    _, files = with_files(FILES / "email/tika__testMSG_att_msg.msg")
    assert list(files) == ["Test Attachment.eml", "smbprn.00009008.KdcPjl.pdf"]
    document, files = with_files(FILES / "email/unstructured__fake-encrypted.msg")
    assert not files
    assert document.pages[0].gap == ENCRYPTED
    _, files = with_files(FILES / "email/tika__testWINMAIL.dat")
    assert list(files) == ["quick.doc", "quick.html", "quick.pdf", "quick.txt", "quick.xml"]


@needs_files
def test_a_mail_inside_an_outlook_mail_is_read_by_the_mail_parser(tmp_path: Path) -> None:
    _, files = with_files(FILES / "email/tika__testMSG_att_msg.msg")
    document = parse(saved(tmp_path / "a.eml", files["Test Attachment.eml"]))
    check_promises(document)
    assert document.title == "Test Attachment"


@needs_hostile
def test_hostile_mails_are_read_without_leaving_the_file() -> None:
    host = Path("/etc/hostname").read_text().strip()
    for name in ("external_body", "remote_body", "nested_300"):
        document, files = with_files(HOSTILE / f"active/{name}.eml")
        assert host not in text_of(document) + repr(files)
    assert text_of(parse(HOSTILE / "active/remote_body.eml")).endswith("Meeting at ten.")


# --- Names of files inside files


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/absolute/a.txt", "absolute/a.txt"),
        ("C:\\Windows\\x.txt", "C_/Windows/x.txt"),
        ("a\r\nSet-Cookie: b", "a Set-Cookie_ b"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("", "unnamed"),
        ("x" * 3000 + ".txt", "x" * 116 + ".txt"),
    ],
)
def test_names_are_safe_to_keep_and_to_show(given: str, name: str) -> None:
    assert safe_path(given) == name


def test_equal_names_are_kept_apart() -> None:
    names = Names()
    assert [names.take("a.txt"), names.take("A.TXT"), names.take("b/a.txt")] == ["a.txt", "A (2).TXT", "b/a.txt"]
