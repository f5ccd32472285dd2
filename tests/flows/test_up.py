"""`manage.py up` as a person runs it: a real Redis, web server and workers in a fresh data folder."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError

from core.management.commands.up import parse_bind, require_free
from tests.signals import hear_ctrl_c

pytestmark = [pytest.mark.once, pytest.mark.timeout(400)]
REPOSITORY = Path(__file__).resolve().parents[2]


class Up:
    """A running `manage.py up` and everything that it has said so far."""

    def __init__(self, data: Path, port: int, **environment: str) -> None:
        self.port, self.data = port, data
        self.environment = clean_environment(data, **environment)
        command = [sys.executable, "manage.py", "up", "--port", str(port), "--no-samples"]
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=hear_ctrl_c,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.rstrip() for line in lines)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"{text!r} was not said in time:\n{self.output}"
            assert self.process.poll() is None or text in self.output, f"it ended:\n{self.output}"
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(90)
        self.reader.join(10)
        return code

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )


def clean_environment(data: Path, **more: str) -> dict[str, str]:
    ours = ("FOOTNOTE_", "REDIS_", "DATABASE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "FOOTNOTE_DATA": str(data), "FOOTNOTE_OLLAMA_URL": "http://127.0.0.1:9", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes_of(data: Path) -> list[str]:
    """The command lines of processes that were started for this data folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"FOOTNOTE_DATA={data}".encode() in environment.split(b"\0") and command:
            found.append(command)
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data", free_port())
    try:
        running.wait_for("Ctrl-C stops everything.")
        yield running
    finally:
        running.stop()


def test_it_says_the_address_and_a_password_that_was_made(up: Up) -> None:
    assert re.search(rf"Footnote is ready after \d+ s: http://127\.0\.0\.1:{up.port}$", up.output, re.MULTILINE)
    assert re.search(r"^Sign in as admin with the password \S{20} ", up.output, re.MULTILINE)


def test_the_password_is_nowhere_in_the_data_folder(up: Up) -> None:
    found = re.search(r"with the password (\S+) ", up.output)
    assert found is not None
    for path in up.data.rglob("*"):
        if path.is_file() and not path.is_socket():
            assert found[1].encode() not in path.read_bytes(), path


def test_the_site_answers_and_asks_to_sign_in(up: Up) -> None:
    assert up.get("/health/live/") == 200
    assert up.get("/health/ready/") == 200
    assert up.get("/sign-in/") == 200
    assert up.get("/") == 302


def test_the_data_folder_is_for_this_user_alone(up: Up) -> None:
    open_to_others = [path for path in [up.data, *up.data.rglob("*")] if path.lstat().st_mode & 0o077]
    assert open_to_others == []


def test_a_second_one_on_the_same_folder_names_the_first(up: Up) -> None:
    run = up.manage("up", "--port", str(free_port()))
    assert run.returncode == 1
    assert f"already runs on this data folder, as process {up.process.pid}. Stop it with: kill" in run.stderr


def test_doctor_finds_everything_working(up: Up) -> None:
    run = up.manage("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(run.stdout)}
    assert {"Python", "Settings", "Data folder", "Disk", "Database", "Redis", "Workers", "Web"} <= set(rows)
    for name in ("Settings", "Data folder", "Database", "Redis", "Workers", "Web"):
        assert rows[name]["state"] == "ok", rows[name]
    assert rows["Workers"]["found"] == "worker-embed, worker-ingest"
    assert "noeviction" in rows["Redis"]["found"]
    assert "journal mode wal" in rows["Database"]["found"]


def test_a_worker_that_is_killed_comes_back(up: Up) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"worker-embed@footnote" in command and parent == up.process.pid:
            os.kill(int(folder.name), signal.SIGKILL)
            break
    else:
        pytest.fail("the worker was not found")
    up.wait_for("worker-embed was ended by SIGKILL; starting it again", 20)
    deadline = time.monotonic() + 60
    while (
        "worker-embed" not in (found := up.manage("doctor").stdout.partition("Workers")[2].splitlines()[0])
        or "no answer" in found
    ):
        assert time.monotonic() < deadline, found


def test_ctrl_c_stops_everything_and_the_second_start_keeps_what_was_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = Up(data, free_port(), FOOTNOTE_ADMIN_NAME="dana", FOOTNOTE_ADMIN_PASSWORD="a long enough password")
    try:
        first.wait_for("Ctrl-C stops everything.")
        assert "Sign in as dana." in first.output
        assert "a long enough password" not in first.output
    finally:
        code = first.stop()
    assert code == 0, first.output
    assert first.lines[-1] == "Stopped."
    assert "by force" not in first.output
    assert processes_of(data) == []

    second = Up(data, first.port)
    try:
        second.wait_for("Ctrl-C stops everything.")
        assert "Sign in as" not in second.output
    finally:
        second.stop(signal.SIGTERM)
    assert processes_of(data) == []
    with sqlite3.connect(data / "footnote.sqlite3") as database:
        assert database.execute("SELECT username, is_superuser FROM core_user").fetchall() == [("dana", 1)]
    database.close()


def test_nobody_stays_behind_when_it_is_killed(tmp_path: Path) -> None:
    running = Up(tmp_path / "data", free_port())
    running.wait_for("Ctrl-C stops everything.")
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 60
    while left := processes_of(tmp_path / "data"):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_weak_password_from_the_environment_is_refused(tmp_path: Path) -> None:
    run = Up(tmp_path / "data", free_port(), FOOTNOTE_ADMIN_PASSWORD="short")
    assert run.process.wait(120) == 1
    run.reader.join(10)
    assert "The administrator 'admin' cannot be made: This password is too short" in run.output
    assert processes_of(tmp_path / "data") == []


def test_a_port_in_use_gets_the_command_that_works() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} .* cannot be used .* --port {port + 1}$"):
            require_free("127.0.0.1", port)


@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("127.0.0.1:8000", None, ("127.0.0.1", 8000)),
        ("192.0.2.1", None, ("192.0.2.1", 8000)),
        (":9000", None, ("127.0.0.1", 9000)),
        ("[::1]:9000", None, ("::1", 9000)),
        ("[::1]", None, ("::1", 8000)),
        ("127.0.0.1:8000", 8123, ("127.0.0.1", 8123)),
    ],
)
def test_addresses_to_listen_on(text: str, port: int | None, expected: tuple[str, int]) -> None:
    assert parse_bind(text, port) == expected


@pytest.mark.parametrize("text", ["127.0.0.1:http", "127.0.0.1:0", "127.0.0.1:70000"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is not an address to listen on"):
        parse_bind(text, None)
