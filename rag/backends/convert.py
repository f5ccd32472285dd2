"""Turns the old binary Office formats into current ones with LibreOffice, where it is installed.

Why here and not in a parser: a parser's process may start no other. So whoever has a document read asks for the file to
read first, and hands that to the sandbox:

    with TemporaryDirectory() as folder:
        path, name = readable(path, name=name, seconds=…, memory=…, folder=Path(folder))
        document = sandbox.parse(path, name=name, …)

For every other file that gives back what was put in. LibreOffice runs in a process of its own (`convert_child`) that
reaches no network, writes nowhere but in `folder`, and reads nothing but the file and the system's programs.
"""

import contextlib
import hashlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePath

from rag.backends.convert_child import Ending, home_of
from rag.backends.parsers import HEAD, parser_for
from rag.domain.errors import Permanent, Protected, Retryable

_ROOT = Path(__file__).resolve().parents[2]
_MAC = Path("/Applications/LibreOffice.app/Contents/MacOS/soffice")
_KINDS = {".doc": ("Word", ".docx"), ".dot": ("Word", ".docx")}
_POWERPOINT = ("PowerPoint", ".pptx")


def libreoffice() -> str:
    """The path of LibreOffice's program, or "" where it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice") or (str(_MAC) if _MAC.exists() else "")


def readable(
    path: Path, *, name: str, seconds: float, memory: int, folder: Path, password: str = ""
) -> tuple[Path, str]:
    """The file that a parser can read in place of the one at `path`, which was uploaded as `name`, and its name.

    That is the same file, unless it is of an old format: then a converted one, written below the empty `folder`, which
    is the caller's to remove. Raises `Permanent` with a sentence when it cannot be converted within `seconds` and
    `memory` (bytes), or its format is not read at all, and `Protected` when it needs a password, or another one.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    parser = parser_for(name, head)
    if not parser.converts_to:
        return path, name
    current = PurePath(name).stem
    if head.startswith(b"PK"):
        return path, current + parser.converts_to  # in the current format already, under its old name
    if head.startswith(b"{\\rtf"):
        return path, f"{current}.rtf"
    converted = convert(path, name=name, seconds=seconds, memory=memory, folder=folder, password=password)
    return converted, current + parser.converts_to


def convert(path: Path, *, name: str, seconds: float, memory: int, folder: Path, password: str = "") -> Path:
    """The old Office file at `path` in its current format, as a new file below the empty `folder`; raises as `readable`."""
    kind, suffix = _KINDS.get(PurePath(name).suffix.lower(), _POWERPOINT)
    program = libreoffice()
    if not program:
        raise Permanent(
            f"Reading old {kind} files needs LibreOffice on the server; save the file as {suffix}, or ask whoever runs "
            "Footnote to install it."
        )
    target = folder.resolve() / f"document{suffix}"
    command = [sys.executable, "-m", "rag.backends.convert_child", program, str(path.resolve()), str(target)]
    command += [str(math.ceil(seconds) + 1), str(memory)]
    last = time.monotonic() + seconds
    # The first start in a new home may only make that ready, and want another.
    for _ in range(2):
        ending = _run(command, password=password, seconds=last - time.monotonic())
        _remove_sockets(target)
        if ending in set(Ending) or target.exists():
            break
    match ending:
        case Ending.PROTECTED:
            raise Protected(f"This {kind} document is protected by a password.")
        case Ending.DAMAGED:
            raise Permanent(f"This old {kind} file is damaged and cannot be read.")
        case Ending.OTHER:
            raise Permanent(f"This file's name says that it is an old {kind} file, but it holds something else.")
        case Ending.SLOW:
            raise Permanent(f"Converting this old {kind} file took longer than {seconds:g} seconds and was stopped.")
    if not target.is_file() or not target.stat().st_size:
        raise Permanent(f"This old {kind} file could not be converted: it is damaged, or built in an unusual way.")
    return target


def _run(command: list[str], *, password: str, seconds: float) -> int:
    """The exit code; whatever was started is gone when this returns or raises."""
    try:
        process = subprocess.Popen(  # noqa: S603  (our own module, in our own Python)
            command,
            cwd=_ROOT,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        raise Retryable("The program that converts old Office files could not be started.") from None
    try:
        process.communicate(password.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        return Ending.SLOW
    finally:
        # The group lives on while one of its processes does, and its number with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode


def socket_name(target: Path) -> str:
    """How the name of LibreOffice's socket ends while it makes `target`."""
    digest = hashlib.md5(home_of(target).as_uri().encode("utf-16-le"), usedforsecurity=False).digest()
    return "_SingleOfficeIPC_" + "".join(
        f"{byte:x}" for byte in digest
    )  # without leading zeros: that is how it writes them


def _remove_sockets(target: Path) -> None:
    """By its socket in /tmp a second LibreOffice would find the first; ours may make it, and not remove it."""
    for folder in ("/tmp", "/var/tmp"):  # noqa: S108
        for place in Path(folder).glob(f"OSL_PIPE_*{socket_name(target)}"):
            place.unlink(missing_ok=True)
