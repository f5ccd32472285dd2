"""The process that becomes LibreOffice: it takes away from itself what converting a file does not need, then starts it.

Started by `rag.backends.convert` as `python -m rag.backends.convert_child PROGRAM SOURCE TARGET SECONDS MEMORY`, in a
session of its own, with the password on its standard input. Its exit code is an `Ending`, or LibreOffice's own.
"""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from rag.backends.sandbox_limits import confine_program, die_with_parent

_ROOM = 1024**3  # bytes that LibreOffice maps beside what it needs for a document: 600 MB, measured
_FILTERS = {".docx": "docx:MS Word 2007 XML", ".pptx": "pptx:Impress MS PowerPoint 2007 XML"}
_SYSTEM = (
    "/usr /lib /lib64 /bin /opt /nix/store /etc/ld.so.cache /etc/fonts /etc/libreoffice /etc/alternatives "
    "/var/lib/libreoffice /var/spool/libreoffice "
    "/etc/nsswitch.conf /etc/localtime /var/cache/fontconfig /proc /dev/urandom /dev/random /System /Library /Applications"
)
# No macro runs, nothing linked is brought up to date, nothing on the network is asked for, and no lock is written.
_SETTINGS = (
    ("Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Common/Security/Scripting", "DisableActiveContent", "true"),
    ("Writer/Content/Update", "Link", "0"),
    ("Calc/Content/Update", "Link", "2"),
    ("Java/VirtualMachine", "Enable", "false"),
    ("Common/Misc", "UseLocking", "false"),
    ("Common/Misc", "UseDocumentOOoLockFile", "false"),
    ("Common/Misc", "UseOpenCL", "false"),
    ("Common/Misc", "CrashReport", "false"),
)


class Ending(IntEnum):
    """What the exit code says; LibreOffice's own codes are others."""

    PROTECTED = 120
    OTHER = 121  # no document of the kind that the name says
    DAMAGED = 122
    SLOW = 123


def home_of(target: Path) -> Path:
    """Where LibreOffice keeps its settings and temporary files while it makes `target`."""
    return target.parent / "home"


def main(arguments: Sequence[str]) -> None:
    program, source, target = arguments[0], Path(arguments[1]), Path(arguments[2])
    seconds, memory = (int(number) for number in arguments[3:])
    die_with_parent(os.getppid())
    password = sys.stdin.read()
    folder = target.parent
    # What Python has not imported yet it can still read, but not the folder of the application: data may be there.
    root = Path(__file__).resolve().parents[2]
    places = (Path(place) for place in (*_SYSTEM.split(), *sys.path, sys.prefix, sys.base_prefix) if place)
    readable = [place for place in places if place.resolve() != root]
    programs = Path(program).resolve().parents[1]
    confine_program(seconds=seconds, memory=memory + _ROOM, readable=[*readable, programs, source], writable=folder)
    document = folder / f"document.{'doc' if target.suffix == '.docx' else 'ppt'}"
    ending = _prepared(source, document, password)
    if ending is not None:
        sys.exit(ending)
    _become(program, document, target)


def _prepared(source: Path, document: Path, password: str) -> Ending | None:
    """Puts the file to convert at `document`, without its password; an ending where there is nothing to convert."""
    import olefile

    try:
        with olefile.OleFileIO(source) as container:
            if document.suffix == ".doc":
                found, protected = _word(container)
            else:
                found, protected = _powerpoint(container)
    except (OSError, ValueError, IndexError, RecursionError):
        return Ending.DAMAGED
    if not found:
        return Ending.OTHER
    if not protected:
        if not document.exists():
            document.symlink_to(source)
        return None
    return None if password and _decrypted(source, document, password) else Ending.PROTECTED


def _word(container: Any) -> tuple[bool, bool]:
    """Whether it is a Word document, and whether a protected one."""
    if not container.exists("WordDocument"):
        return False, False
    head = container.openstream("WordDocument").read(12)
    return True, len(head) == 12 and bool(head[11] & 1)  # fEncrypted


def _powerpoint(container: Any) -> tuple[bool, bool]:
    """Whether it is a presentation, and whether a protected one."""
    if not container.exists("PowerPoint Document"):
        return False, False
    user = container.openstream("Current User").read(16) if container.exists("Current User") else b""
    return True, user[12:16] == b"\xdf\xc4\xd1\xf3"


def _decrypted(source: Path, document: Path, password: str) -> bool:
    """Whether the password opened the file, which is at `document` then."""
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError

    try:
        with source.open("rb") as file, document.open("wb") as plain:
            protected = msoffcrypto.OfficeFile(file)
            protected.load_key(password=password)
            protected.decrypt(plain)
    except (InvalidKeyError, DecryptionError, FileFormatError, ParseError, AssertionError, KeyError, ValueError):
        return False
    return True


def _become(program: str, document: Path, target: Path) -> None:
    """Replaces this process by LibreOffice, which finds its settings, its home and its temporary files beside the target."""
    home = home_of(target)
    if not home.exists():
        (home / "user").mkdir(parents=True)
        (home / "tmp").mkdir()
        (home / "user" / "registrymodifications.xcu").write_text(_settings())
        if build := _build(program):
            # A home without the mark of this very build costs a second start.
            (home / "user" / "extensions").mkdir()
            (home / "user" / "extensions" / "buildid").write_text(build)
    environment = {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "SAL_USE_VCLPLUGIN": "svp",
    }
    command = [
        program,
        f"-env:UserInstallation={home.as_uri()}",
        "--headless",
        "--norestore",
        "--nologo",
        "--nodefault",
    ]
    command += ["--convert-to", _FILTERS[target.suffix], "--outdir", str(target.parent), str(document)]
    os.chdir(home)
    os.execve(program, command, environment)  # noqa: S606  (that is what this process is for)


def _build(program: str) -> str:
    """What LibreOffice calls its build, "" where it does not say so."""
    versions = Path(program).resolve().parent / "versionrc"
    lines = versions.read_text(errors="replace").splitlines() if versions.is_file() else []
    return next((line.removeprefix("buildid=") for line in lines if line.startswith("buildid=")), "")


def _settings() -> str:
    items = "".join(
        f'<item oor:path="/org.openoffice.Office.{path}"><prop oor:name="{name}" oor:op="fuse">'
        f"<value>{value}</value></prop></item>"
        for path, name, value in _SETTINGS
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry">'
        f"{items}</oor:items>"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
