"""Standard library only: makes .venv from the locks, with hashes, and re-executes manage.py inside it.

Why by hand instead of `pip install -r`: torch has to come first and by itself (in hash mode pip prefers its CUDA
build of several gigabytes to a CPU build in a folder), an interrupted install has to go on where it stopped, and a
folder made by `manage.py bundle` has to install without any network, after its checksums have been compared.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHONS = ("3.11", "3.12", "3.13")  # as in pyproject.toml
EVERYWHERE = ("python", "torch-cpu", "torch-cuda", "requirements")
INSTALLING = ("up", "test", "bundle")  # commands that may make or mend .venv
GIGABYTE = 1024**3
USAGE = """Footnote answers questions from your documents, every sentence cited.

  python3 manage.py up        install what is missing and start; Ctrl-C stops everything
  python3 manage.py test      install what the tests need and run every check
  python3 manage.py bundle    one folder that installs on a machine without a network

Once `up` has run: python3 manage.py doctor, and python3 manage.py help for the rest.
"""


class Stop(Exception):
    """A sentence for the person at the terminal: what is missing and the command that fixes it."""


def ensure_environment(argv: list[str]) -> None:
    """Returns when this interpreter can run the command; else installs, re-executes in .venv, or exits with why."""
    try:
        _ensure(argv)
    except Stop as stop:
        sys.exit(str(stop))
    except KeyboardInterrupt:
        sys.exit("\nStopped. What has been installed is kept; the same command goes on from there.")


def _ensure(argv: list[str]) -> None:
    command = argv[1] if len(argv) > 1 else "help"
    inside = Path(sys.prefix).resolve() == VENV.resolve()
    if command in INSTALLING:
        extras = wanted_extras(command)
        if not is_installed(extras):
            install(extras)
    elif not inside and not venv_python().is_file():
        if command in ("help", "-h", "--help", "--version"):
            say(USAGE)
            sys.exit(0)
        raise Stop("Footnote is not installed here yet. Run: python3 manage.py up")
    if not inside:
        python = str(venv_python())
        os.execv(python, [python, *argv])


def wanted_extras(command: str) -> tuple[str, ...]:
    """The locks in core/locks/ that this command needs beyond the product's own."""
    extras = ("test",) if command == "test" else ()
    return (*extras, "gguf") if os.environ.get("FOOTNOTE_GGUF", "").strip() else extras


# --- What is there already


def venv_python() -> Path:
    return VENV / "bin" / "python"


def lock_digest(name: str) -> str:
    """The SHA-256 of a lock file, which names every package, version and hash."""
    return hashlib.sha256(lock_path(name).read_bytes()).hexdigest()


def lock_path(name: str) -> Path:
    return ROOT / "requirements.lock" if name == "requirements" else ROOT / "core" / "locks" / f"{name}.lock"


def read_stamp() -> dict[str, str]:
    """Which lock .venv holds in which version: {lock name: digest}; {} when there is no complete install."""
    try:
        stamp = json.loads((VENV / "footnote.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_installed(extras: tuple[str, ...]) -> bool:
    """True when .venv holds exactly what today's locks say, for a Python that still runs. Takes milliseconds."""
    stamp = read_stamp()
    if not venv_python().exists() or not any(name in stamp for name in ("torch-cpu", "torch-cuda")):
        return False
    if Path(sys.prefix).resolve() == VENV.resolve() and stamp.get("python") != "{}.{}".format(*sys.version_info[:2]):
        return False  # the system's Python was upgraded under .venv
    locks = [name for name in stamp if name != "python" and lock_path(name).is_file()]
    return {"requirements", *extras} <= set(stamp) and all(stamp[name] == lock_digest(name) for name in locks)


# --- Installing


def install(extras: tuple[str, ...]) -> None:
    """Makes .venv hold the product's locks and `extras`; raises Stop with a sentence when it cannot."""
    started = time.monotonic()
    check_python()
    VENV.mkdir(exist_ok=True)
    with _only_one():
        if is_installed(extras):
            return  # another command was quicker
        known = read_stamp()
        source = verified_bundle() or Source()
        if "torch-cuda" in known:
            source = replace(source, torch=("torch-cuda",))
        check_disk(2 if known else 6)
        make_venv(source)
        say("Installing packages into .venv (a few minutes the first time).")
        torch = install_torch(source)
        # What an earlier command needed (the tests' packages) stays in step with its lock.
        kept = [name for name in known if name not in EVERYWHERE and lock_path(name).is_file()]
        names = ["requirements", *dict.fromkeys([*extras, *kept])]
        for name in names:
            pip_install(name, source)
        stamp = {name: lock_digest(name) for name in (torch, *names)}
        partial = VENV / "footnote.json.part"
        partial.write_text(json.dumps({"python": venv_version(), **stamp}, indent=1))
        partial.replace(VENV / "footnote.json")
        say(f"Installed in {time.monotonic() - started:.0f} s.")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    with (VENV / "footnote.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another command is installing; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_python() -> None:
    """Raises Stop unless this Python can make an environment that the locks fit."""
    if os.name != "posix":
        raise Stop("Footnote runs on Linux and macOS; on Windows use WSL.")
    version = "{}.{}".format(*sys.version_info[:2])
    if version not in PYTHONS:
        other = next((f"python{name}" for name in PYTHONS if shutil.which(f"python{name}")), None)
        fix = f"Run: {other} manage.py up" if other else "Install Python 3.11 or 3.12 and run manage.py with it."
        raise Stop(f"Footnote needs Python 3.11, 3.12 or 3.13; this is {version}. {fix}")


def check_disk(gigabytes: int) -> None:
    free = shutil.disk_usage(ROOT).free
    if free < gigabytes * GIGABYTE:
        raise Stop(
            f"Installing needs about {gigabytes} GB of free disk and {ROOT} has {free / GIGABYTE:.1f}. "
            "Make room, then run the same command again."
        )


@dataclass(frozen=True)
class Source:
    """Where packages come from: the indexes that this machine's pip knows, or a bundle's folder `wheels/` alone."""

    torch: tuple[str, ...] = ("torch-cpu", "torch-cuda")  # locks to try, in this order
    wheels: Path | None = None
    pip_wheel: Path | None = None  # a bundle brings pip, so that it installs where Python's ensurepip is missing

    def options(self) -> list[str]:
        return ["--no-index", "--find-links", str(self.wheels)] if self.wheels else []

    def environment(self) -> dict[str, str]:
        """What pip is started with; a bundle ignores every index that the machine's configuration names."""
        mine = {"PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
        if self.wheels is None:
            return {**os.environ, **mine}
        others = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return {**others, **mine, "PIP_CONFIG_FILE": os.devnull}


def make_venv(source: Source) -> None:
    """Makes .venv unless it has a Python that runs and that its packages were installed for."""
    if (VENV / "pyvenv.cfg").is_file():
        version = venv_version()
        if (VENV / "lib" / f"python{version}").is_dir() and version in PYTHONS:
            remove_half_installed()
            return
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if importlib.util.find_spec("venv") is None or not (with_pip or source.pip_wheel):
        raise Stop(missing_venv())
    say("Making .venv.")
    base = getattr(sys, "_base_executable", sys.executable)  # .venv cannot be cleared by the Python inside it
    for stale in (VENV / name for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg")):
        if stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale)
        else:
            stale.unlink(missing_ok=True)
    command = [base, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise Stop(f"{made.stdout}{made.stderr}\n{missing_venv()}".strip())
    if not with_pip:
        pip = [str(venv_python()), f"{source.pip_wheel}/pip", "install", "--no-index", "--quiet", str(source.pip_wheel)]
        subprocess.run(pip, check=True, env=source.environment())


def venv_version() -> str:
    """The version of .venv's Python, as in "3.11"; "" when it does not run."""
    probe = [str(venv_python()), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(probe, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def missing_venv() -> str:
    """What to type where Python came without its venv module, as on Debian."""
    package = "python3-venv" if sys.executable in ("/usr/bin/python3",) else f"python3.{sys.version_info[1]}-venv"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return (
        f"This Python has no venv module. On Debian and Ubuntu: {sudo}apt install {package}. "
        "Elsewhere install the package that holds Python's venv and ensurepip. Then run the same command again."
    )


def remove_half_installed() -> None:
    """Forgets packages that a killed install left looking installed: pip writes RECORD last, so its absence tells."""
    for folder in VENV.glob("lib/python3*/site-packages/*.dist-info"):
        if not (folder / "RECORD").is_file():
            shutil.rmtree(folder)


def install_torch(source: Source) -> str:
    """The name of the torch lock that got installed: the CPU build where one is offered."""
    first, *others = source.torch
    try:
        pip_install(first, source)
    except NotOffered:
        if not others:
            raise
    else:
        return first
    if sys.platform == "linux":
        say("No CPU build of torch is offered here; installing the general build (several GB).")
        check_disk(16)
    pip_install(others[0], source)
    return others[0]


class NotOffered(Stop):
    """No index and no folder offers one of the wheels."""


def pip_install(name: str, source: Source) -> None:
    """Installs one lock exactly, showing which package is at work; raises Stop with pip's last words."""
    _pip(name, source, ["install", "--no-compile", "--no-warn-script-location"])


def pip_download(name: str, source: Source, folder: Path) -> None:
    """Puts the wheels of one lock into `folder`, for this Python and machine; raises Stop with pip's last words."""
    _pip(name, source, ["download", "--dest", str(folder)])


def _pip(name: str, source: Source, verb: list[str]) -> None:
    lock = lock_path(name)
    total = len(re.findall(r"^[A-Za-z0-9]", lock.read_text(), re.MULTILINE))
    command = [str(venv_python()), "-m", "pip", *verb, "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", *source.options()]
    command += ["-r", str(lock)]
    lines: list[str] = []
    progress = Progress(name, total)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=source.environment()
    ) as pip:
        try:
            for line in pip.stdout or ():
                lines.append(line.rstrip())
                progress.see(line)
        except BaseException:
            pip.terminate()
            raise
    progress.end()
    if pip.returncode:
        raise failed(name, lines)


def failed(name: str, lines: list[str]) -> Stop:
    """What pip's output means, with its last lines."""
    lines = [line for line in lines if line.strip() and "is ignored: it is" not in line]
    text = "\n".join(lines)
    shown = "\n".join(f"  {line}" for line in lines[-8:])
    retry = "What has been installed is kept; the same command goes on from there."
    if "DO NOT MATCH THE HASHES" in text:
        return NotOffered(f"{shown}\nA package is not the one that {name}.lock names, so it was refused. {retry}")
    if re.search(r"No matching distribution|Could not find a version", text):
        if re.search(r"Retrying|Connection|resolution|timed out|SSLError", text):
            return Stop(
                f"{shown}\nThe package index cannot be reached. Check the network or pip's configuration. {retry}"
            )
        return NotOffered(
            f"{shown}\nNo wheel is offered for this Python and machine. Footnote supports Python 3.11 and 3.12."
        )
    if "No space left" in text:
        return Stop(f"{shown}\nThe disk is full. Make room, then run the same command again. {retry}")
    return Stop(f"{shown}\nInstalling {name}.lock failed. {retry}")


class Progress:
    """One line that says how far an install is; a few whole lines where the output is no terminal."""

    def __init__(self, name: str, total: int) -> None:
        self.label = {"torch-cpu": "torch", "torch-cuda": "torch", "requirements": "packages"}.get(name, name)
        self.total, self.seen, self.shown = total, 0, 0
        self.terminal = sys.stdout.isatty()

    def see(self, line: str) -> None:
        """Takes one line of pip's output."""
        found = re.match(r"(?:Collecting|Requirement already satisfied:|Processing) (?:\S*/)?([A-Za-z0-9._]+)", line)
        if found:
            self.seen += 1
            self.show(f"{self.label}: {min(self.seen, self.total)} of {self.total}, {found[1]}")
        elif line.startswith("Ignoring "):
            self.total -= 1  # for another kind of machine
        elif line.startswith("Installing collected packages"):
            self.show(f"{self.label}: unpacking", always=True)

    def show(self, text: str, *, always: bool = False) -> None:
        if self.terminal:
            sys.stdout.write(f"\r\033[K  {text}")
            sys.stdout.flush()
        elif always or self.seen - self.shown >= 25:
            self.shown = self.seen
            say(f"  {text}")

    def end(self) -> None:
        if self.terminal:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()


def say(text: str) -> None:
    print(text, flush=True)


# --- A folder made by `manage.py bundle`


def verified_bundle() -> Source | None:
    """The bundle that this folder is, every file compared with SHA256SUMS; None when this is no bundle."""
    if not (ROOT / "SHA256SUMS").is_file() or not (ROOT / "bundle.json").is_file():
        return None
    facts = json.loads((ROOT / "bundle.json").read_text())
    here, made_for = this_machine(), str(facts["machine"])
    if made_for != here:
        raise Stop(f"This bundle is for {made_for}; this is {here}. Make one with manage.py bundle on such a machine.")
    say("Comparing the bundle with its checksums.")
    wrong = damaged_files(ROOT)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Stop(f"{'; '.join(wrong[:3])}{more}. Copy the bundle again from where it was made.")
    pip_wheel = next(iter(sorted((ROOT / "wheels").glob("pip-*.whl"))), None)
    return Source(torch=(str(facts["torch"]),), wheels=ROOT / "wheels", pip_wheel=pip_wheel)


def this_machine() -> str:
    """What wheels are made for: "Python 3.11 on Linux x86_64"."""
    return "Python {}.{} on {} {}".format(*sys.version_info[:2], platform.system(), platform.machine())


def damaged_files(folder: Path) -> list[str]:
    """A phrase for each file of SHA256SUMS that is missing or altered, and for each wheel that is not listed."""
    wrong, listed = [], set()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        listed.add(name)
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif sha256(path) != digest:
            wrong.append(f"{name} is altered")
    extra = [path.relative_to(folder).as_posix() for path in sorted((folder / "wheels").glob("*"))]
    return wrong + [f"{name} is not in SHA256SUMS" for name in extra if name not in listed]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> NoReturn:
    """Installs, with the extra locks named, and does nothing more: `python3 core/bootstrap.py [test] [gguf]`."""
    try:
        install(tuple(sys.argv[1:]))
    except Stop as stop:
        sys.exit(str(stop))
    sys.exit(0)


if __name__ == "__main__":
    main()
