"""A small IMAP server over TLS, with a certificate authority of its own: what a mailbox is, and every way in which one misbehaves."""

import asyncio
import base64
import datetime
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Mailboxes:
    """What the server holds and how it behaves; tests change it while it runs."""

    user: str = "team@example.org"
    password: str = "correct horse"
    uid_validity: int = 7
    folders: dict[str, dict[int, bytes]] = field(default_factory=lambda: {"INBOX": {}})
    said_sizes: dict[int, int] = field(default_factory=dict)  # RFC822.SIZE, where it is not the truth
    plain: bool = True  # whether AUTH=PLAIN is offered
    refusal: str = "[AUTHENTICATIONFAILED] Wrong."
    break_at: bytes = b""  # a command at which the server hangs up
    break_after: int = 0  # as many of these commands are answered before
    silent_at: bytes = b""  # a command that it never answers
    flood_at: bytes = b""  # a command that it answers with more than anybody asked for
    commands: list[bytes] = field(default_factory=list)


class _Talk:
    """One connection."""

    def __init__(self, held: Mailboxes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.held, self.reader, self.writer = held, reader, writer
        self.folder: dict[int, bytes] = {}

    async def run(self) -> None:
        self.say("* OK ready")
        while line := await self.reader.readline():
            tag, _, command = line.rstrip(b"\r\n").partition(b" ")
            self.held.commands.append(command)
            if self.held.silent_at and self.held.silent_at in command:
                await asyncio.sleep(30)
            if self.held.break_at and self.held.break_at in command:
                if self.held.break_after == 0:
                    return
                self.held.break_after -= 1
            if self.held.flood_at and self.held.flood_at in command:
                await self.flood()
                return
            verdict = await self.answer(command)
            self.writer.write(tag + b" " + verdict.encode() + b" so\r\n")
            await self.writer.drain()
            if command.upper() == b"LOGOUT":
                return

    async def flood(self) -> None:
        """A literal of a gigabyte, as far as anybody takes it."""
        self.writer.write(b"* 1 FETCH (UID 1 BODY[]<0> {1073741824}\r\n")
        for _ in range(1024):
            self.writer.write(b"x" * 1024 * 1024)
            await self.writer.drain()

    def say(self, text: str) -> None:
        self.writer.write(text.encode() + b"\r\n")

    async def answer(self, command: bytes) -> str:
        word = command.split(b" ", 1)[0].upper()
        match word:
            case b"CAPABILITY":
                self.say("* CAPABILITY IMAP4rev1" + (" AUTH=PLAIN" if self.held.plain else ""))
                return "OK"
            case b"AUTHENTICATE":
                self.say("+ ")
                await self.writer.drain()
                return self.signed_in(base64.b64decode(await self.reader.readline()).decode().split("\0")[1:])
            case b"LOGIN":
                return self.signed_in([part.decode().strip('"') for part in command.split(b" ", 2)[1:]])
            case b"EXAMINE":
                return self.examine(command.split(b" ", 1)[1].decode().strip('"'))
            case b"UID":
                return self.uid(command)
            case b"LOGOUT":
                self.say("* BYE")
                return "OK"
        return "BAD unknown"

    def signed_in(self, given: list[str]) -> str:
        return "OK" if given == [self.held.user, self.held.password] else f"NO {self.held.refusal}"

    def examine(self, name: str) -> str:
        if name not in self.held.folders:
            return "NO no such folder"
        self.folder = self.held.folders[name]
        self.say(f"* {len(self.folder)} EXISTS")
        self.say(f"* OK [UIDVALIDITY {self.held.uid_validity}] valid")
        return "OK [READ-ONLY] examined"

    def uid(self, command: bytes) -> str:
        if found := re.match(rb"UID SEARCH UID (\d+):\*", command):
            first, last = int(found[1]), max(self.folder, default=0)
            # "8:*" is "*:8" where the last mail is number 7: it is always among them.
            shown = [uid for uid in sorted(self.folder) if uid >= first or uid == last]
            self.say("* SEARCH " + " ".join(map(str, shown)))
            return "OK"
        found = re.match(rb"UID FETCH (\d+) \((RFC822\.SIZE|BODY\.PEEK\[\]<(\d+)\.(\d+)>)\)", command)
        if found is None:
            return "BAD not understood"
        uid = int(found[1])
        if uid not in self.folder:
            return "OK nothing"
        body = self.folder[uid]
        if found[2] == b"RFC822.SIZE":
            self.say(f"* 1 FETCH (UID {uid} RFC822.SIZE {self.held.said_sizes.get(uid, len(body))})")
        else:
            piece = body[int(found[3]) : int(found[3]) + int(found[4])]
            start = f"* 1 FETCH (UID {uid} BODY[]<{int(found[3])}> {{{len(piece)}}}\r\n".encode()
            self.writer.write(start + piece + b")\r\n")
        return "OK"


def certificates(folder: Path) -> tuple[Path, Path]:
    """A new authority's certificate, and a certificate with its key for 127.0.0.1 that it signed."""
    now = datetime.datetime.now(datetime.UTC)

    def build(subject: str, issuer: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
        begun = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key)
        begun = begun.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        return begun.not_valid_after(now + datetime.timedelta(days=2))

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    signer = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        build("Test authority", "Test authority", authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    own = (
        build("127.0.0.1", "Test authority", key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    authority_file, own_file = folder / "authority.pem", folder / "server.pem"
    authority_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own_file.write_bytes(own.public_bytes(serialization.Encoding.PEM) + private)
    return authority_file, own_file


@contextmanager
def serving(held: Mailboxes, certificate: Path) -> Iterator[int]:
    """The port on which the server answers while the block runs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop, ports, stop = asyncio.new_event_loop(), [], asyncio.Event()
    ready = threading.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Talk(held, reader, writer).run()
        except (OSError, asyncio.CancelledError, EOFError):
            return  # the other side hung up, or the test is over
        finally:
            writer.transport.abort()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
