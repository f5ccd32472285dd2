"""core/process.py with real children: logs, restarts, the order of stopping, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import process
from core.env import environment_with
from core.process import Program, Supervisor

pytestmark = pytest.mark.once
REPOSITORY = Path(__file__).resolve().parents[2]
PATIENT = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, said.append)
    yield supervisor
    supervisor.stop(hurry=lambda: True)


def program(code: str, name: str = "child", **more: float) -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], environment=environment_with({}), **more)


def until(supervisor: Supervisor, happened: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        supervisor.tick(0.05)


def test_what_a_child_writes_goes_to_its_own_log(supervisor: Supervisor, tmp_path: Path, said: list[str]) -> None:
    code = "import sys, time; print('hello', flush=True); print('oops', file=sys.stderr, flush=True); time.sleep(60)"
    supervisor.start(program(code, "web"))
    log = tmp_path / "web.log"
    until(supervisor, lambda: log.read_text().count("\n") == 2)
    assert sorted(log.read_text().splitlines()) == ["hello", "oops"]
    assert said == []


def test_errors_reach_the_terminal_but_not_without_end(supervisor: Supervisor, tmp_path: Path, said: list[str]) -> None:
    code = "import time\nfor i in range(50): print('12:00 ERROR core: broken', i)\nprint('end', flush=True); time.sleep(60)"
    supervisor.start(program(code, "web"))
    until(supervisor, lambda: "end" in (tmp_path / "web.log").read_text())
    assert said[0] == "web: 12:00 ERROR core: broken 0"
    assert len(said) == process.TOLD_LINES + 1
    assert said[-1] == f"web: more errors are in {tmp_path}/web.log"


def test_a_line_that_never_ends_does_not_fill_the_memory(supervisor: Supervisor) -> None:
    supervisor.start(program("import sys\nwhile True: sys.stdout.write('x' * 65536)"))
    for _ in range(100):
        supervisor.tick(0.01)
    assert len(supervisor.children["child"].unread) <= process.LONGEST_LINE


def test_logs_are_rotated(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 1000)
    supervisor.start(
        program("for i in range(1000): print('line', i)\nimport time; print('end', flush=True); time.sleep(60)")
    )
    until(supervisor, lambda: any("end" in line for line in supervisor.children["child"].last_lines))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["child.log", *(f"child.log.{number}" for number in range(1, process.LOG_FILES + 1))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_crashed_child_starts_again_and_it_is_said(supervisor: Supervisor, tmp_path: Path, said: list[str]) -> None:
    supervisor.start(program(f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(3)"))
    until(supervisor, lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) >= 3)
    assert said[0] == f"child ended with exit code 3; starting it again in 1 s (its log: {tmp_path}/child.log)"
    assert "in 2 s" in said[1]


def test_a_killed_child_that_ran_long_starts_again_at_once(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STEADY_SECONDS", 0)
    supervisor.start(program(PATIENT))
    until(supervisor, lambda: "up" in supervisor.children["child"].last_lines)
    first = supervisor.children["child"].process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    until(supervisor, lambda: supervisor.children["child"].process not in (None, first))
    assert said[0].startswith("child was ended by SIGKILL; starting it again now")


def test_a_killed_child_leaves_nobody_behind(supervisor: Supervisor, tmp_path: Path) -> None:
    grandchild = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    supervisor.start(program(f"import subprocess, sys, time; print({grandchild}.pid, flush=True); time.sleep(60)"))
    log = tmp_path / "child.log"
    until(supervisor, lambda: log.read_text().count("\n") == 1)
    child = supervisor.children["child"].process
    assert child is not None
    child.kill()
    until(supervisor, lambda: supervisor.children["child"].failures == 1)
    assert _gone(int(log.read_text().split()[0]))


def test_those_named_first_stop_before_the_others(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(tmp_path, said.append)
    order = tmp_path / "order"
    for name in ("redis", "web", "worker"):
        code = PATIENT.replace("sys.exit(0)", f"(open({str(order)!r}, 'a').write({name + ' '!r}), sys.exit(0))")
        supervisor.start(program(code, name))
    until(supervisor, lambda: all("up" in child.last_lines for child in supervisor.children.values()))
    supervisor.stop(first=("web", "worker"))
    assert order.read_text().split()[-1] == "redis"
    assert not any(child.running for child in supervisor.children.values())
    assert said == []


def test_a_child_that_will_not_stop_is_killed_with_its_children(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(tmp_path, said.append)
    grandchild = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); print(p.pid, flush=True)\n"
    supervisor.start(program(grandchild + STUBBORN, stop_seconds=0.3))
    until(supervisor, lambda: supervisor.children["child"].last_lines.count("up") == 2)
    pid = int(next(line for line in supervisor.children["child"].last_lines if line.isdigit()))
    supervisor.stop()
    assert said == ["child did not stop in time and is stopped by force."]
    assert _gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_children_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from core.process import *; from core.env import environment_with\n"
        f"s = Supervisor(Path({str(tmp_path)!r}), print)\n"
        f"s.start(Program(name='a', command=[sys.executable, '-c', {PATIENT!r}], environment=environment_with({{}})))\n"
        "while 'up' not in s.children['a'].last_lines: s.tick(0.1)\n"
        "print(s.children['a'].process.pid, flush=True)\n"
        "while True: s.tick(1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not _gone(child, seconds=0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _gone(child)


def _gone(pid: int, seconds: float = 10) -> bool:
    """True once the process has ended, at the latest after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z" or time.monotonic() > deadline:
            return state == "Z"
        time.sleep(0.05)
