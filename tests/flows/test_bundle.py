"""`manage.py bundle`, and what it wrote installed elsewhere: with small wheels always, with the real ones when asked (-m slow)."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from core import bootstrap
from tests.signals import hear_ctrl_c
from tests.wheels import make_wheel, write_locks

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Path:
    """A folder like the repository's with small packages, on a machine whose pip finds them."""
    site, offered = tmp_path / "site", tmp_path / "offered"
    names = ("torch", "alpha", "gguf", "gamma")
    torch, alpha, gguf, gamma = (make_wheel(offered, name) for name in names)
    write_locks(
        site,
        {"torch-cpu": [torch], "torch-cuda": [torch], "requirements": [alpha], "gguf": [gguf], "test": [gamma]},
    )
    for name in ("manage.py", "docs/air-gap.md", ".env.example"):
        (site / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, site / name)
    for private in ("data/footnote.sqlite3", ".venv/junk", ".env", "core/__pycache__/junk.pyc"):
        (site / private).parent.mkdir(parents=True, exist_ok=True)
        (site / private).write_text("private")
    settings.BASE_DIR = site
    monkeypatch.setattr(bootstrap, "ROOT", site)
    monkeypatch.setattr(bootstrap, "read_stamp", lambda: {"torch-cpu": "", "requirements": ""})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    return site


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_source_wheels_checksums_and_licences_and_nothing_private(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    call_command("bundle", str(folder))
    files = files_of(folder)
    assert {"manage.py", ".env.example", "docs/air-gap.md", "requirements.lock", "core/locks/gguf.lock"} <= files
    assert {"LICENCES.md", "README-BUNDLE.txt", "SHA256SUMS", "bundle.json"} <= files
    wheels = {name.partition("/")[2].partition("-")[0] for name in files if name.startswith("wheels/")}
    assert wheels == {"torch", "alpha", "gguf", "pip"}
    assert not [name for name in files if "private" in (folder / name).read_text(errors="replace")]
    assert bootstrap.damaged_files(folder) == []
    listed = {line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == files - {"SHA256SUMS"}
    assert json.loads((folder / "bundle.json").read_text())["machine"] == bootstrap.this_machine()


def test_sha256sum_reads_the_checksums(site: Path, tmp_path: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("this machine has no sha256sum")
    call_command("bundle", str(tmp_path / "out"))
    run = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_the_packages_of_the_tests_come_when_asked_for(site: Path, tmp_path: Path) -> None:
    call_command("bundle", str(tmp_path / "out"), with_tests=True)
    assert list((tmp_path / "out/wheels").glob("gamma-*.whl"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed: nothing can be a clone")
def test_a_clone_gives_what_git_tracks(site: Path, tmp_path: Path) -> None:
    (site / "notes-of-mine.txt").write_text("not tracked")
    for command in (["init", "-q"], ["add", "manage.py", "requirements.lock", "core"]):
        subprocess.run(["git", "-C", str(site), *command], check=True)
    call_command("bundle", str(tmp_path / "out"))
    files = files_of(tmp_path / "out")
    assert "manage.py" in files
    assert "notes-of-mine.txt" not in files


def test_a_licence_that_does_not_fit_ends_it_without_a_folder(site: Path, tmp_path: Path) -> None:
    alpha = make_wheel(tmp_path / "offered", "alpha", licence="AGPL-3.0-only")
    write_locks(site, {"requirements": [alpha]})
    with pytest.raises(CommandError, match=r"do not fit Apache-2\.0, so nothing was written: alpha \(AGPL-3\.0-only\)"):
        call_command("bundle", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_left_alone(site: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CommandError, match="exists already"):
        call_command("bundle", str(tmp_path / "out"))


def test_a_bundle_can_be_bundled_again_without_any_index(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    call_command("bundle", str(tmp_path / "first"))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "first")
    settings.BASE_DIR = tmp_path / "first"
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    call_command("bundle", str(tmp_path / "second"))
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


def test_it_installs_where_python_came_without_pip(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    call_command("bundle", str(folder))
    monkeypatch.setattr(bootstrap, "ROOT", folder)
    monkeypatch.setattr(bootstrap, "VENV", folder / ".venv")
    monkeypatch.setattr(bootstrap, "read_stamp", dict)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    find = importlib.util.find_spec

    def without_ensurepip(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "ensurepip" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_ensurepip)
    bootstrap.install(("gguf",))
    code = "import torch, alpha, gguf; print('all there')"
    run = subprocess.run([folder / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "all there\n"


LOOPBACK_ONLY = """
import fcntl, os, socket, struct, sys
with socket.socket() as lo:  # what `ip link set lo up` does
    name = struct.pack("16sh14x", b"lo", 0)
    flags = struct.unpack("16sh14x", fcntl.ioctl(lo, 0x8913, name))[1]
    fcntl.ioctl(lo, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_bundle_installs_and_starts_without_any_network(tmp_path: Path) -> None:
    """Needs the package index for the first half; the second half runs in a network namespace with loopback alone."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a user make a network namespace")
    folder = tmp_path / "bundle"
    ours = ("FOOTNOTE_", "REDIS_", "DATABASE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    subprocess.run([sys.executable, "manage.py", "bundle", str(folder)], cwd=REPOSITORY, env=environment, check=True)
    offline = ["unshare", "-rn", sys.executable, "-c", LOOPBACK_ONLY]
    base = getattr(sys, "_base_executable", sys.executable)
    with (tmp_path / "output").open("w+") as output:
        up = subprocess.Popen(
            [*offline, base, "manage.py", "up"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            preexec_fn=hear_ctrl_c,
        )
        deadline = time.monotonic() + 900
        while "Ctrl-C stops everything." not in (said := (tmp_path / "output").read_text()):
            assert up.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
        doctor = subprocess.run(
            ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(up.pid), base, "manage.py", "doctor", "--json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        up.send_signal(signal.SIGINT)
        assert up.wait(90) == 0, (tmp_path / "output").read_text()
    rows = {row["name"]: row for row in json.loads(doctor.stdout)}
    assert {rows[name]["state"] for name in ("Packages", "Database", "Redis", "Workers", "Web")} == {"ok"}, rows
