"""OpenDocument files as parts: a checked zip, with its password where it is encrypted, or one flat XML file."""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rag.backends.parsers._office import Package
from rag.backends.parsers._ooxml import child, local, number, value
from rag.domain.errors import Permanent, Protected
from rag.domain.text import one_line

_MOST_XML = 64 * 1024**2  # bytes of one part that is read
_MOST_FLAT = 256 * 1024**2  # bytes of a flat file, pictures included
_MOST_ROUNDS = 5_000_000  # of a key's derivation: LibreOffice takes 100,000
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_BINARY = re.compile(rb"<office:binary-data[^>]*>[^<]*</office:binary-data>")
_META = {
    "title": "title",
    "initial-creator": "author",
    "creator": "last modified by",
    "subject": "subject",
    "creation-date": "created",
    "date": "modified",
}


class OdfPackage:
    """The parts of an OpenDocument file: `mimetype` says of what kind it is.

    Raises `Permanent` for a damaged or oversized file, and `Protected` where it needs a password, or another one.
    """

    def __init__(self, path: Path, *, kind: str, password: str = "") -> None:
        self._kind = kind
        self._zip: Package | None = None
        self._locked: dict[str, _Lock] = {}
        self._password = password
        with path.open("rb") as file:
            head = file.read(4)
            if head != b"PK\x03\x04":
                self._flat = self._read_flat(head + file.read(_MOST_FLAT))
                self.mimetype = value(self._flat, "mimetype")
                return
        self._zip = Package(path, kind=kind)
        try:
            self.mimetype = (
                self._zip.read("mimetype").decode("ascii", "replace").strip() if "mimetype" in self._zip else ""
            )
            if "META-INF/manifest.xml" in self._zip:
                self._locked = _locks(self._zip.xml("META-INF/manifest.xml"))
        except BaseException:
            self._zip.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.__exit__(kind, error, trace)

    def __contains__(self, part: str) -> bool:
        return part in ("content.xml", "styles.xml", "meta.xml") if self._zip is None else part in self._zip

    @property
    def parts(self) -> Package | None:
        """The zip's parts as they are stored, or None for a flat file and for an encrypted one."""
        return None if self._locked else self._zip

    def xml(self, part: str) -> Any:
        """The root element of a part; a flat file is all of its parts at once. Raises KeyError for one that is missing."""
        if self._zip is None:
            return self._flat
        if part not in self._locked:
            return self._zip.xml(part)
        return self._parsed(self._unlocked(part))

    def properties(self) -> dict[str, str]:
        """What the file says of itself, and the properties that its users added."""
        found: dict[str, str] = {}
        keywords: list[str] = []
        meta = child(self.xml("meta.xml"), "meta") if "meta.xml" in self else None
        for item in meta if meta is not None else ():
            text = one_line("".join(item.itertext()))[:500]
            name = _META.get(local(item), "")
            if local(item) == "keyword":
                keywords.append(text)
            elif local(item) == "user-defined":
                name = one_line(value(item, "name")).lower()[:50]
            if name and text:
                found.setdefault(name, text)
        if keywords := [word for word in keywords if word]:
            found["keywords"] = ", ".join(keywords)
        found.setdefault("author", found.get("last modified by", ""))
        return {name: text for name, text in found.items() if text}

    # --- One flat file

    def _read_flat(self, data: bytes) -> Any:
        if len(data) > _MOST_FLAT:
            raise Permanent(f"This {self._kind} is too large to be read.")
        return self._parsed(_BINARY.sub(b"", data))

    def _parsed(self, data: bytes) -> Any:
        from lxml import etree

        if len(data) > _MOST_XML:
            raise Permanent(f"This {self._kind} is too large to be read.")
        if _DECLARATION.search(data.replace(b"\x00", b"")):
            raise Permanent(f"This {self._kind} declares XML entities, which no real one does; it was not read.")
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        try:
            return etree.fromstring(data, parser)
        except etree.XMLSyntaxError:
            raise Permanent(f"This {self._kind} is damaged and cannot be read.") from None

    # --- Encrypted parts

    def _unlocked(self, part: str) -> bytes:
        if self._zip is None:
            raise KeyError(part)
        lock = self._locked[part]
        if self._password:
            inflating = zlib.decompressobj(-15)
            try:
                plain = inflating.decompress(lock.opened(self._zip.read(part), self._password), _MOST_XML + 1)
            except (zlib.error, ValueError):
                plain = b""
            if len(plain) == lock.size:
                return plain
        raise Protected(f"This {self._kind} is protected by a password.")


@dataclass(frozen=True, slots=True)
class _Lock:
    """How a part is encrypted, as the manifest says it."""

    size: int
    cipher: str
    start: str
    vector: bytes
    salt: bytes
    rounds: int
    key_size: int

    def opened(self, data: bytes, password: str) -> bytes:
        """The deflated part; raises ValueError for a way of encryption that is not known here."""
        from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish
        from cryptography.hazmat.decrepit.ciphers.modes import CFB
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        if not 0 < self.rounds <= _MOST_ROUNDS:
            raise ValueError("no such derivation")
        digest = hashlib.sha256 if "sha256" in self.start else hashlib.sha1
        key = hashlib.pbkdf2_hmac("sha1", digest(password.encode()).digest(), self.salt, self.rounds, self.key_size)
        if "aes" in self.cipher and "cbc" in self.cipher:
            decryptor = Cipher(AES(key), CBC(self.vector)).decryptor()
        elif "blowfish" in self.cipher:
            decryptor = Cipher(Blowfish(key), CFB(self.vector)).decryptor()
        else:
            raise ValueError("no such cipher")
        return decryptor.update(data) + decryptor.finalize()


def _locks(manifest: Any) -> dict[str, _Lock]:
    found = {}
    for entry in manifest:
        data = child(entry, "encryption-data")
        if data is None:
            continue
        parts = {local(item): item for item in data}
        derivation = parts.get("key-derivation")
        found[value(entry, "full-path")] = _Lock(
            size=number(value(entry, "size")),
            cipher=value(parts.get("algorithm"), "algorithm-name").lower(),
            start=value(parts.get("start-key-generation"), "start-key-generation-name").lower(),
            vector=_bytes(value(parts.get("algorithm"), "initialisation-vector")),
            salt=_bytes(value(derivation, "salt")),
            rounds=number(value(derivation, "iteration-count")),
            key_size=number(value(derivation, "key-size")) or 16,
        )
    return found


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
