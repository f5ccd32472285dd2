"""`manage.py bundle`: one folder with everything that `up` needs on a machine that never had a connection."""

import json
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from core import bootstrap, licences

SHOWN = {".ci", ".dockerignore", ".env.example", ".gitignore"}
LEFT_OUT = {"data", "bundle", "wheels", "build", "SHA256SUMS", "bundle.json"}
README = """Footnote, with everything it needs, for {machine}.

1. Copy this whole folder to the other machine. It needs no network, no root and no tool but Python.
2. There, in this folder:   python3 manage.py up

`up` compares every file with SHA256SUMS before it installs anything, and says which one is missing or altered.
To compare by hand: sha256sum --check SHA256SUMS. LICENCES.md lists every package in wheels/ with its licence.
docs/air-gap.md says more.
"""


class Command(BaseCommand):
    requires_system_checks = ()  # it copies files; nothing has to be set up here
    help = "Writes one folder (source, wheels, weights, checksums, licences) that installs without any network."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", nargs="?", default="bundle", help="where to write it; must not exist (bundle)")
        parser.add_argument("--with-tests", action="store_true", help="also what `manage.py test` needs")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"]).resolve()
        if folder.exists():
            raise CommandError(f"{folder} exists already. Remove it, or name another: python3 manage.py bundle FOLDER")
        partial = folder.with_name(folder.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            self._write(partial, with_tests=options["with_tests"])
        except bootstrap.Stop as stop:
            raise CommandError(str(stop)) from None
        partial.rename(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self.stdout.write(f"Written: {folder} ({size / 1e9:.2f} GB). Copy it, and run there: python3 manage.py up")

    def _write(self, folder: Path, *, with_tests: bool) -> None:
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        self.stdout.write("Copying the source.")
        copy_source(settings.BASE_DIR, folder, without={Path(settings.DATA_DIR).resolve(), folder.resolve()})
        stamp = bootstrap.read_stamp()
        torch = next((name for name in ("torch-cpu", "torch-cuda") if name in stamp), None)
        if torch is None:
            raise CommandError("The packages here were not installed from the locks. Run: python3 manage.py up")
        locks = [torch, "requirements", "gguf", *(["test"] if with_tests else [])]
        source = bootstrap.verified_bundle() or bootstrap.Source()
        for name in locks:
            self.stdout.write(f"Fetching the wheels of {name}.lock.")
            bootstrap.pip_download(name, source, wheels)
        bring_pip(wheels)
        self.stdout.write("Reading the licences.")
        found = [licences.of_wheel(path) for path in sorted(wheels.glob("*.whl"))]
        (folder / "LICENCES.md").write_text(licences.table(found))
        if refused := [f"{item.name} ({item.licence})" for item in found if item.verdict is licences.Verdict.REFUSED]:
            raise CommandError(f"These licences do not fit Apache-2.0, so nothing was written: {', '.join(refused)}")
        for item in found:
            if item.verdict is licences.Verdict.UNKNOWN:
                self.stderr.write(f"Unknown licence: {item.name} {item.version}. See LICENCES.md.")
        machine = bootstrap.this_machine()
        (folder / "bundle.json").write_text(json.dumps({"machine": machine, "torch": torch, "locks": locks}) + "\n")
        (folder / "README-BUNDLE.txt").write_text(README.format(machine=machine))
        self.stdout.write("Writing the checksums.")
        write_checksums(folder)


def copy_source(root: Path, folder: Path, *, without: Collection[Path]) -> None:
    """Copies what git tracks, as it is on the disk now; without git, everything but environment, data and caches."""
    for name in tracked_files(root) or untracked_tree(root, without):
        if (root / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)


def tracked_files(root: Path) -> list[str]:
    """The files that git tracks, or [] where this is no clone or git is missing."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return []
    listed = subprocess.run([git, "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)  # noqa: S603
    return [name for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else []


def untracked_tree(root: Path, without: Collection[Path]) -> Iterator[str]:
    """Every file of the source where git cannot say: not `without`, hidden folders, caches and what an install made."""
    for path in sorted(root.iterdir()):
        hidden = path.name.startswith(".") and path.name not in SHOWN
        if hidden or path.name in LEFT_OUT or path.resolve() in without:
            continue
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(root).as_posix()


def bring_pip(wheels: Path) -> None:
    """Copies pip's own wheel from this Python, so that the bundle installs where Python came without ensurepip."""
    import ensurepip

    found = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    found += sorted(Path(sys.base_prefix, "share", "python-wheels").glob("pip-*.whl"))  # Debian keeps it there
    found += sorted(bootstrap.ROOT.glob("wheels/pip-*.whl"))
    if found:
        shutil.copy2(found[0], wheels)


def write_checksums(folder: Path) -> None:
    """Writes SHA256SUMS over every file, in the form that sha256sum --check reads."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{bootstrap.sha256(folder / name)}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))
