"""A mail folder, read over IMAP and TLS. Nothing in it is changed: it is opened with EXAMINE, and bodies are asked for with PEEK.

Why bounded everywhere: what a server sends is as untrusted as any document. Literals, lines and the whole session have a most, and
a mail is fetched in pieces, so that one of a gigabyte takes no memory.
"""

import base64
import imaplib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from django.utils.translation import gettext as _

from rag.domain.errors import Permanent, Retryable

PIECE = 1024 * 1024  # bytes of a mail that are asked for at once
_ANSWER_MOST = 24 * 1024 * 1024  # bytes of all answers to one command: a list of two million numbers
_NUMBER = re.compile(rb"RFC822\.SIZE (\d+)")
_QUOTED = re.compile(rb'BODY\[\](?:<\d+>)? "((?:[^"\\]|\\.)*)"')


class MailFailed(Retryable):
    """The mailbox could not be read now; the message says why."""


class SignInRefused(Permanent):
    """The server does not take this user name with this password."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the mails are, and how to get there; `authority`: a file with the certificate authority, or "" for the system's."""

    host: str
    port: int
    user: str
    password: str
    folder: str
    authority: str = ""


class _Connection(imaplib.IMAP4_SSL):
    """imaplib's connection, which reads no more than it was allowed to."""

    allowance = _ANSWER_MOST

    def read(self, size: int) -> bytes:
        self._spend(size)
        data: bytes = self.file.read(size)
        return data

    def readline(self) -> bytes:
        line: bytes = self.file.readline(self.allowance + 1)
        self._spend(len(line))
        return line

    def _spend(self, count: int) -> None:
        self.allowance -= count
        if self.allowance < 0:
            raise self.abort("more was sent than one answer may have")


class Session:
    """An open mail folder. Its methods raise MailFailed when the connection breaks off or the server refuses."""

    def __init__(self, connection: _Connection, account: Account) -> None:
        self._connection, self._account = connection, account
        self.uid_validity = 0
        self.count = 0

    def sign_in(self, user: str, password: str) -> None:
        """Raises SignInRefused, unless the server says that it only cannot check the password now."""
        connection = self._connection
        try:
            if "AUTH=PLAIN" in connection.capabilities:  # the one way for a password that is not ASCII
                connection.authenticate("PLAIN", lambda challenge: f"\0{user}\0{password}".encode())
            else:
                connection.login(user, password)
        except imaplib.IMAP4.abort:
            raise
        except (imaplib.IMAP4.error, UnicodeError) as error:
            if any(word in str(error).upper() for word in ("[UNAVAILABLE]", "[INUSE]", "[SERVERBUG]", "[LIMIT]")):
                raise MailFailed(_("The mail server cannot check passwords at the moment.")) from None
            raise SignInRefused(_("The mail server refused this user name or password.")) from None

    def open_folder(self, name: str) -> None:
        """Opens the folder for reading alone."""
        quoted = '"' + _modified_utf7(name).replace("\\", "\\\\").replace('"', '\\"') + '"'
        state, data = self._connection.select(quoted, readonly=True)
        if state != "OK":
            raise MailFailed(_("There is no mail folder “%(name)s” there.") % {"name": name})
        self.count = int(data[0] or 0)
        validity = self._connection.response("UIDVALIDITY")[1]
        self.uid_validity = int(validity[0] or 0) if validity else 0

    def uids_after(self, last: int) -> list[int]:
        """The numbers of the mails that came after this one, the oldest first."""
        data = self._asked("SEARCH", "UID", f"{last + 1}:*")
        found = {int(number) for line in data if isinstance(line, bytes) for number in line.split() if number.isdigit()}
        return sorted(uid for uid in found if uid > last)  # "8:*" always has the last mail, even when it is number 7

    def size(self, uid: int) -> int | None:
        """The mail's bytes as the server counts them; None when it is gone."""
        for line in self._asked("FETCH", str(uid), "(RFC822.SIZE)"):
            found = _NUMBER.search(line if isinstance(line, bytes) else b"")
            if found:
                return int(found[1])
        return None

    def download(self, uid: int, target: IO[bytes], *, size: int, most: int) -> bool:
        """Writes the mail to `target`; False when it is larger than `most` after all."""
        offset = 0
        while True:
            piece = _piece(self._asked("FETCH", str(uid), f"(BODY.PEEK[]<{offset}.{PIECE}>)"))
            target.write(piece)
            offset += len(piece)
            if offset > most:
                return False
            if not piece or (len(piece) < PIECE and offset >= size):
                return True

    def _asked(self, command: str, *arguments: str) -> list[object]:
        self._connection.allowance = _ANSWER_MOST
        with _told(self._account):
            state, data = self._connection.uid(command, *arguments)
        if state != "OK":
            raise MailFailed(_("The mail server did not understand: %(command)s.") % {"command": command})
        return list(data or ())


def _piece(data: list[object]) -> bytes:
    """The literal of an answer to FETCH, or its quoted string; b"" when there is none."""
    for each in data:
        if isinstance(each, tuple) and len(each) > 1 and isinstance(each[1], bytes):
            return each[1]
        quoted = _QUOTED.search(each) if isinstance(each, bytes) else None
        if quoted:
            return re.sub(rb"\\(.)", rb"\1", quoted[1])
    return b""


@contextmanager
def opened(account: Account, *, silence: float, seconds: float) -> Iterator[Session]:
    """The account's mail folder, for at most `seconds`; `silence` is how long one answer may take.

    Raises MailFailed and SignInRefused.
    """
    connection: _Connection | None = None
    cut: threading.Timer | None = None
    began = time.monotonic()
    try:
        with _told(account):
            context = _context(account.authority)
            connection = _Connection(account.host, account.port, ssl_context=context, timeout=silence)
            # A server that sends a byte every now and then would never be silent for long enough.
            cut = threading.Timer(max(1.0, seconds - (time.monotonic() - began)), _cut, (connection.sock,))
            cut.daemon = True
            cut.start()
            session = Session(connection, account)
            session.sign_in(account.user, account.password)
            session.open_folder(account.folder)
        yield session
        with suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError):
            connection.logout()
    finally:
        if cut is not None:
            cut.cancel()
        if connection is not None:
            with suppress(OSError):
                connection.shutdown()


@contextmanager
def _told(account: Account) -> Iterator[None]:
    """Says in a sentence what went wrong between here and the server."""
    try:
        yield
    except (imaplib.IMAP4.error, OSError, ValueError, EOFError) as error:
        raise MailFailed(_sentence(error, account)) from error


def _cut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except OSError:  # no such file, or no certificates in it
        raise MailFailed(_("The file that FOOTNOTE_MAIL_CA names cannot be read.")) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _sentence(error: Exception, account: Account) -> str:
    server = f"{account.host}:{account.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        said = _("The certificate of %(server)s is not trusted: %(reason)s.")
        return said % {"server": server, "reason": error.verify_message or error.reason}
    if isinstance(error, socket.gaierror):
        return _("The name %(server)s could not be found.") % {"server": account.host}
    if isinstance(error, TimeoutError):
        return _("%(server)s did not answer in time.") % {"server": server}
    if isinstance(error, ConnectionRefusedError):
        return _("Nothing answers at %(server)s.") % {"server": server}
    if isinstance(error, ssl.SSLError):
        return _("%(server)s does not speak TLS as it should.") % {"server": server}
    return _("The connection to %(server)s broke off. What was taken is kept; it goes on by itself.") % {
        "server": server
    }


def _modified_utf7(name: str) -> str:
    """A folder's name as IMAP spells it (RFC 3501, 5.1.3)."""
    pieces: list[str] = []
    for plain, other in re.findall(r"([\x20-\x7e]+)|([^\x20-\x7e]+)", name):
        if plain:
            pieces.append(plain.replace("&", "&-"))
        else:
            coded = base64.b64encode(other.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            pieces.append(f"&{coded}-")
    return "".join(pieces)
