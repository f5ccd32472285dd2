"""The sandbox's own process: keeps the parsers' libraries loaded, forks a limited child for every job, and watches it.

Started by `rag.backends.sandbox` as `python -m rag.backends.sandbox_server FD [MODULE…]`; it ends when FD is closed.
MODULEs are those whose functions a "call" job may name: none, outside the tests of the limits.
"""

import base64
import gc
import importlib
import io
import json
import math
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NoReturn

from rag.backends.parsers import HEAD, all_parsers, parser_for
from rag.backends.parsers.base import Work
from rag.backends.pictures import fitting, open_pictures, unread
from rag.backends.sandbox_limits import confine, die_with_parent, few_arenas
from rag.backends.sandbox_messages import Message, page_message, send
from rag.domain.errors import Permanent, Protected
from rag.domain.pages import split_long

# Loaded once, before the forks: together they take a tenth of a second. A parser that needs another still works, more slowly.
_PRELOADED = (
    "charset_normalizer",
    "lxml.etree",
    "markdown_it",
    "olefile",
    "PIL.Image",
    "PIL.PngImagePlugin",
    "pypdfium2",
    "python_calamine",
    "zipfile",
)
_JOB_LIMIT = 1024 * 1024  # bytes of a job's description: the numbers of 20,000 pages fit
_PIECE = 1024 * 1024  # bytes of an attachment in one message
_MOST_PIXELS = 8_000_000
_PROGRESS_EVERY = 0.1  # seconds
_THREADS = {"recognise": 2}  # the jobs that may use more than one thread, and how many
_ROOM = {
    "recognise": 1024**3
}  # bytes that OpenVINO maps for its threads and models and never touches: 800 MB, measured


@dataclass(slots=True)
class _Running:
    status: socket.socket
    deadline: float
    timed_out: bool = False


class Server:
    """One thread, one loop: new jobs, ended children, passed deadlines, and clients that have gone."""

    def __init__(self, control: socket.socket, allowed: Sequence[str]) -> None:
        self.control = control
        self.allowed = frozenset(allowed)
        self.running: dict[int, _Running] = {}
        self.selector = selectors.DefaultSelector()
        self.woken, waker = socket.socketpair()
        for end in (self.woken, waker):
            end.setblocking(False)  # noqa: FBT003  (the library's own signature)
        self.waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(control, selectors.EVENT_READ, None)
        self.selector.register(self.woken, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Runs jobs until the control socket is closed, then kills what still runs."""
        while True:
            for key, _ in self.selector.select(self._time_left()):
                if key.fileobj is self.woken:
                    self.woken.recv(4096)
                elif key.fileobj is self.control:
                    if not self._accept():
                        for pid in self.running:
                            _kill(pid)
                        return
                elif key.data in self.running:
                    _kill(key.data)  # whoever asked has gone or changed his mind
                    self.selector.unregister(key.fileobj)
            self._kill_late()
            self._reap()

    def _time_left(self) -> float | None:
        deadlines = [job.deadline for job in self.running.values() if not job.timed_out]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _accept(self) -> bool:
        """Starts the next job; False when the control socket is closed."""
        try:
            data, fds, _, _ = socket.recv_fds(self.control, 4, 2)
        except ConnectionError:
            return False
        if len(data) < 4 or len(fds) != 2:
            return False
        length = int.from_bytes(data, "big")
        if length > _JOB_LIMIT:
            return False
        body = b""
        while len(body) < length and (piece := self.control.recv(length - len(body))):
            body += piece
        job = json.loads(body)
        channel, status = (socket.socket(fileno=fd) for fd in fds)
        pid = os.fork()
        if pid == 0:
            self._become_child(job, channel, status)
        channel.close()
        self.running[pid] = _Running(status, time.monotonic() + job["seconds"])
        self.selector.register(status, selectors.EVENT_READ, pid)
        return True

    def _become_child(self, job: Message, channel: socket.socket, status: socket.socket) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.selector.close()
            for end in (self.control, self.woken, self.waker, status, *(job.status for job in self.running.values())):
                end.close()
            Child(channel, self.allowed).run(job)
        finally:
            os._exit(1)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for pid, job in self.running.items():
            if now >= job.deadline and not job.timed_out:
                job.timed_out = True
                _kill(pid)

    def _reap(self) -> None:
        for pid, job in list(self.running.items()):
            # The child stays a zombie while its group is killed, so that its number cannot mean another group.
            if sys.platform != "darwin":
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    continue
                _kill(pid)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if not ended:
                continue
            del self.running[pid]
            with suppress(KeyError, ValueError):
                self.selector.unregister(job.status)
            with suppress(OSError):
                send(
                    job.status,
                    {
                        "kind": "exit",
                        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                        "timed_out": job.timed_out,
                        "memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                    },
                )
            job.status.close()


def _kill(pid: int) -> None:
    """Kills the child and all that it started. The child is not reaped yet, so both numbers are still its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class Child:
    """One job, in a process that may do nothing else and ends with it."""

    def __init__(self, channel: socket.socket, allowed: frozenset[str]) -> None:
        self.channel = channel
        self.allowed = allowed
        self.last_progress = 0.0

    def run(self, job: Message) -> NoReturn:
        parent = os.getppid()
        os.setsid()
        die_with_parent(parent)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        readable = [*_python_folders(self.allowed), *([Path(job["path"])] if "path" in job else [])]
        os.chdir("/")
        report = confine(
            seconds=math.ceil(job["seconds"]) * _THREADS.get(job["do"], 1) + 1,
            memory=job["memory"] + _ROOM.get(job["do"], 0),
            readable=readable,
            threads=job["do"] in _THREADS,
        )
        reserve = bytearray(1024 * 1024)  # given back when memory runs out, to be able to say so
        try:
            self._do(job, report)
            send(self.channel, {"kind": "done"})
        except Permanent as error:
            kind = "protected" if isinstance(error, Protected) else "refused"
            send(self.channel, {"kind": kind, "message": error.message})
        except MemoryError:
            del reserve
            send(self.channel, {"kind": "memory"})
        except BaseException as error:
            # Where, not what: the text of an error may quote the document.
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
            send(self.channel, {"kind": "crashed", "error": type(error).__name__, "where": where})
        os._exit(0)

    def _do(self, job: Message, report: dict[str, str]) -> None:
        match job["do"]:
            case "parse":
                self._parse(job)
            case "recognise":
                self._recognise(job)
            case "render":
                self._render(job)
            case "report":
                send(self.channel, {"kind": "report", "limits": report})
            case "engines":
                from rag.backends.ocr import engines

                send(self.channel, {"kind": "report", "limits": engines()})
            case "call":
                module, _, function = job["function"].rpartition(".")
                if module not in self.allowed:
                    raise PermissionError
                getattr(importlib.import_module(module), function)(self.channel)

    def _parse(self, job: Message) -> None:
        path = Path(job["path"])
        with path.open("rb") as file:
            parser = parser_for(job["name"], file.read(HEAD))
        attach = self._attach if job["attachments"] else Work().attach
        document = parser().parse(path, Work(self._progress, attach, job["password"]))
        # Long texts without pages are cut here, so that no single message grows without need.
        pages = split_long(document.pages)
        head: Message = {"title": document.title, "parser": document.parser, "warnings": list(document.warnings)}
        head["properties"] = dict(document.properties)
        send(self.channel, {"kind": "document", "pages": len(pages), **head})
        for page in pages:
            send(self.channel, page_message(page))

    def _attach(self, path: str, content: IO[bytes]) -> None:
        send(self.channel, {"kind": "attachment", "path": path})
        while piece := content.read(_PIECE):
            send(self.channel, {"kind": "bytes", "data": base64.b64encode(piece).decode()})

    def _progress(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if done == total or now - self.last_progress >= _PROGRESS_EVERY:
            self.last_progress = now
            send(self.channel, {"kind": "progress", "done": done, "total": total})

    def _recognise(self, job: Message) -> None:
        from rag.backends.ocr.reading import Reader

        few_arenas()
        reader = Reader(job["languages"], threads=min(_THREADS["recognise"], os.cpu_count() or 1))
        with open_pictures(Path(job["path"]), job["password"]) as pictures:
            for number in job["numbers"]:
                send(self.channel, {"kind": "begun", "page": page_message(unread(pictures, number))})
                try:
                    page = reader.page(pictures, number)
                except Permanent as error:
                    page = replace(unread(pictures, number), gap=error.message)
                send(self.channel, {"kind": "recognised", "page": page_message(page)})

    def _render(self, job: Message) -> None:
        index = job["page_index"]
        with open_pictures(Path(job["path"]), job["password"]) as pictures:
            width, height = pictures.pixels(index, dpi=72)
            # As wide as asked, smaller where it would have more than eight million pixels.
            scale = job["width_px"] / width
            scale *= fitting(width * scale, height * scale, most_pixels=_MOST_PIXELS, most_side=20_000)
            buffer = io.BytesIO()
            pictures.draw(index, width=max(1, round(width * scale))).save(buffer, "PNG", compress_level=4)
        send(self.channel, {"kind": "picture", "data": base64.b64encode(buffer.getvalue()).decode()})


def _python_folders(allowed: frozenset[str]) -> list[Path]:
    """What Python and its libraries read while they run: not the folder that the application lies in, data may be there."""
    root = Path(__file__).resolve().parents[2]
    folders = [Path(place) for place in (*sys.path, sys.prefix, sys.base_prefix) if place]
    system = [
        Path(place)
        for place in (
            *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/fonts", "/dev/null", "/dev/urandom"),
            *("/proc/cpuinfo", "/sys/devices/system/cpu"),  # OpenVINO waits for ever where it finds no processor
        )
    ]
    own = [root / name for name in ("rag", *{module.partition(".")[0] for module in allowed})]
    return [*(folder for folder in folders if folder.resolve() != root), *system, *own]


def main(arguments: Sequence[str]) -> None:
    control = socket.socket(fileno=int(arguments[0]))
    # The allowed ones too: a child may not list the folder that they would be looked for in.
    for module in (*_PRELOADED, *arguments[1:]):
        importlib.import_module(module)
    all_parsers()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of memory it touches
    Server(control, arguments[1:]).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
