"""Runs Footnote's programs as children: their logs go to files, a crashed one starts again, all of them end with us.

Why one thread: everything happens in `tick()`, which reads what the children wrote, sees who died and starts them anew.
Children get sessions of their own, so Ctrl-C reaches `up` alone and it decides the order in which they stop.
"""

import contextlib
import ctypes
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 5 * 1024 * 1024
LOG_FILES = 3  # older ones kept beside the current one
LONGEST_LINE = 64 * 1024
STEADY_SECONDS = 60  # a child that ran this long starts again without a pause
LONGEST_PAUSE = 30
TOLD_LINES, TOLD_SECONDS = 5, 60
KILL_SECONDS = 5  # from "stop at once" to the end
SERIOUS = re.compile(r"(?:^|\s|\[)(?:ERROR|CRITICAL|FATAL)\b")
_PR_SET_PDEATHSIG = 1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. It is asked to stop with SIGTERM and stopped by force `stop_seconds` later."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_seconds: float = 15


@dataclass(slots=True)
class Child:
    """A program that is running, or waiting to be started again at `again` (seconds of time.monotonic)."""

    program: Program
    log: RotatingFileHandler
    process: subprocess.Popen[bytes] | None = None
    pipe: int | None = None  # what the child writes arrives here; None once it has been read to its end
    started: float = 0
    again: float = 0
    failures: int = 0
    unread: bytes = b""
    last_lines: list[str] = field(default_factory=list)
    told: int = 0  # errors shown on the terminal since `told_since`
    told_since: float = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """The children of this process, in the order of their start; stopped in the reverse order."""

    def __init__(self, logs: Path, say: Say) -> None:
        self.logs, self.say = logs, say
        self.children: dict[str, Child] = {}
        self.selector = selectors.DefaultSelector()

    def start(self, program: Program) -> None:
        """Starts a program whose name is new here."""
        path = self.logs / f"{program.name}.log"
        log = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="replace")
        log.setFormatter(logging.Formatter("%(message)s"))
        child = self.children[program.name] = Child(program, log)
        self._launch(child)

    def tick(self, seconds: float) -> None:
        """Waits up to `seconds` for something to happen, writes logs, and starts again what has died."""
        for key, _ in self.selector.select(seconds):
            self._read(key.data)
        for child in self.children.values():
            if child.process is not None and child.process.poll() is not None:
                self._bury(child, child.process)
            if child.process is None and time.monotonic() >= child.again:
                self._launch(child)

    def running(self, name: str) -> bool:
        """True while the child lives; False before its next start after a crash."""
        return self.children[name].running

    def last_words(self, name: str) -> str:
        """The last lines that a child wrote, for a person who asks why it does not run."""
        return "\n".join(f"  {line}" for line in self.children[name].last_lines[-8:])

    def stop(self, *, first: Sequence[str] = (), hurry: Callable[[], bool] = lambda: False) -> None:
        """Asks all to stop, those in `first` before the others; whoever is late, or all once `hurry()`, are killed."""
        late = [name for name in self.children if name not in first]
        for names in ([name for name in first if name in self.children], *([name] for name in reversed(late))):
            self._stop_together([self.children[name] for name in names], hurry)
        self.selector.close()
        for child in self.children.values():
            child.log.close()

    def _launch(self, child: Child) -> None:
        program = child.program
        ours, theirs = os.pipe()
        try:
            child.process = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=dict(program.environment),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        child.started, child.pipe = time.monotonic(), ours
        self.selector.register(ours, selectors.EVENT_READ, child)

    def _read(self, child: Child) -> bool:
        """Moves what a child has written into its log; False when there was nothing to read."""
        if child.pipe is None:
            return False
        try:
            data = os.read(child.pipe, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._close(child)
            return False
        *lines, child.unread = (child.unread + data).split(b"\n")
        if len(child.unread) > LONGEST_LINE:
            lines, child.unread = [*lines, child.unread], b""
        for line in lines:
            self._write(child, line.decode(errors="replace").rstrip("\r"))
        return True

    def _close(self, child: Child) -> None:
        if child.pipe is not None:
            self.selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = None

    def _write(self, child: Child, line: str) -> None:
        child.log.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))
        child.last_lines = [*child.last_lines[-19:], line]
        if SERIOUS.search(line[:80]):
            self._tell(child, line)

    def _tell(self, child: Child, line: str) -> None:
        """Shows an error on the terminal; of many in a row only the first few, the rest are in the log."""
        now = time.monotonic()
        if now - child.told_since > TOLD_SECONDS:
            child.told_since, child.told = now, 0
        child.told += 1
        if child.told <= TOLD_LINES:
            self.say(f"{child.program.name}: {line[:300]}")
        elif child.told == TOLD_LINES + 1:
            self.say(f"{child.program.name}: more errors are in {self.logs / child.program.name}.log")

    def _bury(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        """Reads the rest of a dead child's output and decides when it starts again; what it had started itself ends with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left, most of the time
            os.killpg(process.pid, signal.SIGKILL)
        while self._read(child):
            continue
        self._close(child)  # a grandchild may still hold the other end
        child.process = None
        lived = time.monotonic() - child.started
        child.failures = 0 if lived >= STEADY_SECONDS else child.failures + 1
        pause = min(LONGEST_PAUSE, 2.0 ** (child.failures - 1)) if child.failures else 0.0
        child.again = time.monotonic() + pause
        when = f"in {pause:.0f} s" if pause else "now"
        log = self.logs / f"{child.program.name}.log"
        self.say(f"{child.program.name} {_how(process.returncode)}; starting it again {when} (its log: {log})")

    def _stop_together(self, children: list[Child], hurry: Callable[[], bool]) -> None:
        alive = [child for child in children if child.running]
        for child in alive:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + max((child.program.stop_seconds for child in alive), default=0)
        while any(child.running for child in alive) and time.monotonic() < deadline and not hurry():
            self._drain(0.1)
        for child in alive:
            if child.running:
                self.say(f"{child.program.name} did not stop in time and is stopped by force.")
                _signal(child, signal.SIGKILL)
        deadline = time.monotonic() + KILL_SECONDS
        while any(child.running for child in alive) and time.monotonic() < deadline:
            self._drain(0.05)
        for child in children:
            while self._read(child):
                continue
            self._close(child)

    def _drain(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            self._read(key.data)


def _signal(child: Child, number: signal.Signals) -> None:
    """To the child alone when it may tidy up; to its whole session when it is over."""
    if child.process is None or child.process.poll() is not None:
        return
    if number is signal.SIGKILL:
        os.killpg(child.process.pid, number)
    else:
        child.process.send_signal(number)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _die_with(parent: int) -> Callable[[], None]:
    """Run in a new child: Linux sends it SIGTERM when `parent` dies, however it dies, so that nobody stays behind."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def in_child() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return in_child
