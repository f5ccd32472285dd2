"""Real workers for the crash tests: the programs of `manage.py up`, under its supervisor, on the test's database and Redis."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from django.db import connection

from core.management.commands.up import WORKERS, programs
from core.process import Program, Supervisor

_PATIENCE = 200.0  # seconds; on a quiet machine nothing here takes thirty


class Workers:
    """Reader and embedder, started again when they die, as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self.orders = folder / "orders"
        self.orders.mkdir()
        self.said: list[str] = []
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.crash.settings",
            "CRASH_DATABASE": str(connection.settings_dict["NAME"]),
            "CRASH_ORDERS": str(self.orders),
            "FOOTNOTE_LOG_LEVEL": "INFO",
        }
        self._logs = folder / "logs"
        self._logs.mkdir()
        self._programs = [_ours(program) for program in programs("", 0, environment) if program.name in WORKERS]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        # Started here: children get a signal when the thread that started them ends.
        supervisor = Supervisor(self._logs, self.said.append)
        try:
            for program in self._programs:
                supervisor.start(program)
            while not self._over.is_set():
                supervisor.tick(0.1)
        finally:
            supervisor.stop()

    def kill_at(self, step: str, whom: str = "child") -> None:
        """Orders whoever comes to this step next to be killed there with SIGKILL."""
        (self.orders / step).write_text(whom)

    def spare(self, step: str) -> None:
        """Takes the order back."""
        (self.orders / step).unlink()

    def wait_for_death_at(self, step: str) -> None:
        """Returns once somebody has died there."""
        self.wait_until(lambda: (self.orders / f"{step}.carried-out").exists(), f"nobody came to {step}")
        (self.orders / f"{step}.carried-out").unlink()

    def wait_until(self, true: Callable[[], object], otherwise: str) -> None:
        """Returns once `true()`; fails with `otherwise` and what the workers said."""
        deadline = time.monotonic() + _PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"{otherwise}\n{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """The last that everybody said."""
        last = [f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in self._logs.glob("*.log")]
        return "\n".join([*self.said[-10:], *last])


def _ours(program: Program) -> Program:
    command = ["tests.crash.app" if word == "core" else word for word in program.command]
    return Program(name=program.name, command=command, environment=program.environment, stop_seconds=5)
