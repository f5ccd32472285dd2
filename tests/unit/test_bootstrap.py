"""core/bootstrap.py: installing the locks from a bare Python, with small wheels of our own and no index."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import bootstrap
from tests.wheels import make_wheel, write_locks

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip alone; copied by the tests, because making one takes seconds."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    subprocess.run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_environment: Path) -> Path:
    """A folder like the repository's with four small packages, and pip that looks nowhere but there."""
    root = tmp_path / "site"
    offered = tmp_path / "offered"
    wheels = {name: make_wheel(offered, name) for name in ("torch", "alpha", "beta", "gamma")}
    elsewhere = make_wheel(tmp_path / "not-offered", "torch", "1.0+cpu")
    write_locks(
        root,
        {
            "torch-cpu": [elsewhere],
            "torch-cuda": [wheels["torch"]],
            "requirements": [wheels["alpha"], wheels["beta"]],
            "test": [wheels["gamma"]],
        },
    )
    shutil.copytree(empty_environment, root / ".venv", symlinks=True)
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(bootstrap, "VENV", root / ".venv")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    return root


def installed(root: Path) -> set[str]:
    """The modules of ours that the new environment can import."""
    code = "import importlib.util as u; print([n for n in ('torch', 'alpha', 'beta', 'gamma') if u.find_spec(n)])"
    run = subprocess.run([root / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True)
    names: list[str] = ast.literal_eval(run.stdout)
    return set(names)


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse((REPOSITORY / "core/bootstrap.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_can_read_manage_py_far_enough_to_say_what_it_needs() -> None:
    ast.parse((REPOSITORY / "manage.py").read_text(), feature_version=(3, 6))


def test_an_install_is_complete_and_the_second_start_takes_no_time(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.install(("test",))
    assert installed(root) == {"torch", "alpha", "beta", "gamma"}
    assert "Installed in" in capsys.readouterr().out
    started = time.monotonic()
    assert bootstrap.is_installed(("test",))
    assert time.monotonic() - started < 0.2


def test_where_no_cpu_build_is_offered_the_general_one_is_taken(root: Path) -> None:
    bootstrap.install(())
    assert installed(root) == {"torch", "alpha", "beta"}
    assert set(bootstrap.read_stamp()) == {"python", "torch-cuda", "requirements"}


def test_a_changed_lock_and_a_new_extra_are_installed_and_extras_stay(root: Path, tmp_path: Path) -> None:
    bootstrap.install(("test",))
    newer = make_wheel(tmp_path / "offered", "alpha", "2.0")
    write_locks(root, {"requirements": [newer, tmp_path / "offered/beta-1.0-py3-none-any.whl"]})
    assert not bootstrap.is_installed(())
    bootstrap.install(())
    run = [str(root / ".venv/bin/python"), "-c", "import alpha; print(alpha.VERSION)"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "2.0\n"
    assert bootstrap.is_installed(("test",))


def test_a_package_that_is_not_the_locked_one_is_refused(root: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "offered", "beta", licence="swapped")
    with pytest.raises(bootstrap.Stop, match=r"not the one that requirements\.lock names, so it was refused"):
        bootstrap.install(())
    assert not bootstrap.is_installed(())


def test_an_interrupted_install_goes_on(root: Path, tmp_path: Path) -> None:
    beta = tmp_path / "offered/beta-1.0-py3-none-any.whl"
    beta.rename(tmp_path / "away.whl")
    with pytest.raises(bootstrap.Stop, match="No wheel is offered for this Python and machine"):
        bootstrap.install(())
    (tmp_path / "away.whl").rename(beta)
    # What a kill in the middle of a package leaves: its metadata, without the list that pip writes last.
    half = next((root / ".venv").glob("lib/python3*/site-packages")) / "alpha-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Metadata-Version: 2.4\nName: alpha\nVersion: 1.0\n")
    bootstrap.install(())
    assert installed(root) == {"torch", "alpha", "beta"}


def test_two_at_once_install_once(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from core import bootstrap as b; "
        f"b.ROOT = Path({str(root)!r}); b.VENV = b.ROOT / '.venv'; b.install(())"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    output = "".join(run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert output.count("Installed in") == 1
    assert installed(root) == {"torch", "alpha", "beta"}


def test_an_environment_whose_python_is_gone_is_made_again(root: Path) -> None:
    bootstrap.install(())
    python = root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")  # as after an upgrade of the system's Python
    assert not bootstrap.is_installed(())
    bootstrap.install(())
    assert installed(root) == {"torch", "alpha", "beta"}


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_another_python_gets_a_sentence(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(bootstrap.Stop, match=r"needs Python 3\.11, 3\.12 or 3\.13; this is 3\.1"):
        bootstrap.check_python()


def test_a_python_without_venv_gets_the_command_that_fixes_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".venv")
    find = bootstrap.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))  # type: ignore[attr-defined]
    with pytest.raises(bootstrap.Stop, match=r"On Debian and Ubuntu: .*apt install python3.*-venv"):
        bootstrap.install(())


def test_a_full_disk_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(REPOSITORY)._replace(free=bootstrap.GIGABYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(bootstrap.Stop, match=r"needs about 6 GB of free disk and .* has 1\.0"):
        bootstrap.check_disk(6)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["WARNING: Retrying (Retry(total=0))", "ERROR: No matching distribution found for x"], "cannot be reached"),
        (["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"], "disk is full"),
        (["ERROR: something new"], "Installing requirements.lock failed"),
    ],
)
def test_pips_failures_are_explained(lines: list[str], said: str) -> None:
    stop = str(bootstrap.failed("requirements", lines))
    assert said in stop
    assert lines[-1] in stop


def run_manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "core").mkdir()
    for name in ("manage.py", "requirements.lock", "core/__init__.py", "core/bootstrap.py"):
        shutil.copy(REPOSITORY / name, folder / name)
    return subprocess.run([sys.executable, "manage.py", *arguments], cwd=folder, capture_output=True, text=True)


def test_without_an_install_help_names_the_commands(tmp_path: Path) -> None:
    run = run_manage(tmp_path, "--help")
    assert (run.returncode, run.stdout) == (0, bootstrap.USAGE + "\n")
    assert not (tmp_path / ".venv").exists()


def test_without_an_install_other_commands_say_what_to_run(tmp_path: Path) -> None:
    run = run_manage(tmp_path, "migrate")
    assert (run.returncode, run.stderr) == (1, "Footnote is not installed here yet. Run: python3 manage.py up\n")


# --- A folder made by `manage.py bundle`


@pytest.fixture
def bundled(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder as a bundle, with pip's configuration pointing at nothing."""
    shutil.rmtree(root / ".venv")  # made by the install here, as on the other machine
    (tmp_path / "offered").rename(root / "wheels")
    (root / "readme.txt").write_text("Read me.\n")
    (root / "bundle.json").write_text(json.dumps({"machine": bootstrap.this_machine(), "torch": "torch-cuda"}))
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    lines = [f"{bootstrap.sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in files]
    (root / "SHA256SUMS").write_text("".join(lines))
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    return root


def test_a_bundle_installs_from_itself(bundled: Path) -> None:
    bootstrap.install(())
    assert installed(bundled) == {"torch", "alpha", "beta"}


@pytest.mark.parametrize("name", ["readme.txt", "wheels/beta-1.0-py3-none-any.whl"])
def test_a_bundle_names_the_file_that_is_missing(bundled: Path, name: str) -> None:
    (bundled / name).unlink()
    with pytest.raises(bootstrap.Stop, match=f"^{name} is missing. Copy the bundle again"):
        bootstrap.install(())


@pytest.mark.parametrize("name", ["readme.txt", "wheels/beta-1.0-py3-none-any.whl"])
def test_a_bundle_names_the_file_that_is_altered(bundled: Path, name: str) -> None:
    with (bundled / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(bootstrap.Stop, match=f"^{name} is altered. Copy the bundle again"):
        bootstrap.install(())
    assert not (bundled / ".venv/bin").exists()


def test_a_bundle_refuses_a_wheel_that_nobody_listed(bundled: Path) -> None:
    make_wheel(bundled / "wheels", "intruder")
    with pytest.raises(bootstrap.Stop, match=r"intruder-1\.0-py3-none-any\.whl is not in SHA256SUMS"):
        bootstrap.install(())


def test_a_bundle_for_another_machine_says_so(bundled: Path) -> None:
    (bundled / "bundle.json").write_text(json.dumps({"machine": "Python 3.12 on Plan9 mips", "torch": "torch-cpu"}))
    with pytest.raises(bootstrap.Stop, match=r"This bundle is for Python 3\.12 on Plan9 mips; this is Python 3\."):
        bootstrap.install(())
