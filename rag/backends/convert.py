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
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path, PurePath

from rag.backends.convert_child import Ending
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
    ending = _run([*command, str(int(seconds) + 1), str(memory)], kind=kind, seconds=seconds, password=password)
    match ending:
        case Ending.PROTECTED:
            raise Protected(f"This {kind} document is protected by a password.")
        case Ending.OTHER:
            raise Permanent(f"This file's name says that it is an old {kind} file, but it holds something else.")
        case Ending.SLOW:
            raise _took_too_long(kind, seconds)
    if not target.is_file() or not target.stat().st_size:
        raise Permanent(f"This old {kind} file could not be converted: it is damaged, or built in an unusual way.")
    return target


def _run(command: list[str], *, kind: str, seconds: float, password: str) -> int:
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
        raise _took_too_long(kind, seconds) from None
    finally:
        # The group lives on while one of its processes does, and its number with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode


def _took_too_long(kind: str, seconds: float) -> Permanent:
    return Permanent(f"Converting this old {kind} file took longer than {seconds:g} seconds and was stopped.")
