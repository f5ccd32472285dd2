"""Reads documents and draws pages in processes of their own, which have limits and no network.

Why a server of our own: `multiprocessing` may not fork inside Celery's children, and importing the parsers for every
document takes longer than reading most. So one small process without torch is started, loads the libraries once, and
forks for each job; the job's sockets are handed to it, and the answer comes straight from the child.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from rag.backends.parsers.base import Progress
from rag.backends.sandbox_answers import (
    ATTACHMENTS_LIMIT,
    Answer,
    Document,
    Garbled,
    Picture,
    Recognition,
    Report,
    Told,
    unread_page,
)
from rag.backends.sandbox_messages import Message, TooMuch, receive
from rag.domain.errors import Permanent, Retryable
from rag.domain.types import Page, ParsedDocument

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_OUTPUT_LIMIT = 512 * 1024 * 1024  # bytes that one document may give
_ATTEMPTS = 2  # for a job whose server was lost
_MOST_BROKEN = 10  # pages that may be too slow or crash the engine before the rest is left alone
_PICTURE_LIMIT = 64 * 1024 * 1024
_TICK = 2.0  # seconds after which `progress` is called without news, so that leases stay alive and a cancel is seen
_GRACE = 20.0  # seconds that the server has to report the end of a job
# What the libraries need and no more: no secret of the application's is inherited.
_ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",  # threads and forks do not mix
    "OMP_NUM_THREADS": "1",
}
_Kind = TypeVar("_Kind", bound=Answer)


class Sandbox:
    """A door to the reading processes: safe in threads and after forks, several jobs at once. `close` it, or use `with`.

    The process behind it starts with the first job, is started again when it has died, and ends with this object or
    process.
    """

    def __init__(self, *, allowed_modules: Sequence[str] = ()) -> None:
        """`allowed_modules` are test modules whose functions `call` may run; leave it empty."""
        self._allowed = tuple(allowed_modules)
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parse(
        self,
        path: Path | str,
        *,
        name: str,
        seconds: float,
        memory: int,
        progress: Progress | None = None,
        password: str = "",
        attachments: Path | None = None,
    ) -> ParsedDocument:
        """The document in the file at `path`, which was uploaded as `name`.

        The files inside it are written into the folder `attachments`, which is the caller's to empty; without one they
        are left out. `password` opens a protected file; a missing or wrong one raises `Protected`.
        `progress(pages done, pages in all or None)` is called as pages are read and every two seconds; what it raises
        stops the reading and comes out here. Raises `Permanent` with a sentence when the file cannot be read within
        `seconds` and `memory` (bytes), and `Retryable` when the reading process was lost through no fault of the file.
        """
        job = {"do": "parse", "path": _existing(path), "name": name, "seconds": seconds, "memory": memory}
        job |= {"password": password, "attachments": attachments is not None}
        limit = _OUTPUT_LIMIT + (2 * ATTACHMENTS_LIMIT if attachments is not None else 0)
        return self._run(job, lambda: Document(progress or _no_progress, attachments), limit=limit).result()

    def recognise(
        self,
        path: Path | str,
        *,
        name: str,
        numbers: Sequence[int],
        seconds: float,
        memory: int,
        on_page: Callable[[Page], None],
        progress: Progress | None = None,
        password: str = "",
        languages: Sequence[str] = (),
    ) -> None:
        """Recognises the text on pages of a PDF or picture, uploaded as `name`: each page goes to `on_page` once, in order.

        `numbers` are pages' places in the file, from 1. A page comes as OCR, BLANK, or UNREAD with a `gap` that says why;
        one that takes longer than `seconds` or that the engine crashes on is UNREAD too, and the others go on.
        `languages` (ISO 639-1) are those the text may be in; what is installed for them is used.
        `progress(pages done, pages in all)` is called every two seconds; what it or `on_page` raises stops it all and
        comes out here. Raises `Permanent` when the file cannot be opened as a PDF or picture or the engine cannot
        start, `Protected` for a wrong password, and `Retryable` when the process was lost through no fault of the file.
        """
        job: Message = {"do": "recognise", "path": _existing(path), "name": name, "password": password}
        job |= {"languages": list(languages), "memory": memory}
        waiting = list(numbers)
        told = Told(on_page, progress or _no_progress, len(waiting))
        broken = lost = 0
        while waiting:
            if broken == _MOST_BROKEN:
                told.page(
                    unread_page(
                        waiting.pop(0), "Too many pages before it could not be recognised, so it was not tried."
                    )
                )
                continue
            answer = Recognition(waiting, seconds, told)
            try:
                whole = {**job, "numbers": waiting, "seconds": seconds * (len(waiting) + 1)}
                lost += not self._attempt(whole, answer, limit=_OUTPUT_LIMIT)
            except Permanent as error:
                if told.refused or not answer.started:
                    raise
                broken += 1
                told.page(replace(answer.current or unread_page(waiting[0]), gap=error.message))
                del waiting[0]
            if lost == _ATTEMPTS:
                raise Retryable("The document reader stopped unexpectedly.")

    def render_page(
        self, path: Path | str, *, page_index: int, width_px: int, seconds: float, memory: int, password: str = ""
    ) -> bytes:
        """A PNG of a page of a PDF or picture (the first has index 0), at most `width_px` wide and of at most 8 megapixels.

        Raises as `parse` does.
        """
        size = {"page_index": page_index, "width_px": min(max(width_px, 16), 4096), "password": password}
        job = {"do": "render", "path": _existing(path), **size, "seconds": seconds, "memory": memory}
        return self._run(job, Picture, limit=_PICTURE_LIMIT).result()

    def limits_report(self) -> dict[str, str]:
        """What is taken away from a reading process here, by kind: "network", "processes", "files", "memory"."""
        job = {"do": "report", "seconds": 20, "memory": 256 * 1024 * 1024}
        return self._run(job, Report, limit=_PICTURE_LIMIT).limits

    def engines_report(self) -> dict[str, str]:
        """What recognises text here: "rapidocr" and "tesseract" with their versions, "" where one is missing, and
        "languages", those of Tesseract with blanks between.
        """
        job = {"do": "engines", "seconds": 20, "memory": 256 * 1024 * 1024}
        return self._run(job, Report, limit=_PICTURE_LIMIT).limits

    def call(self, function: str, *, seconds: float, memory: int) -> None:
        """Runs a function of an allowed module, by its dotted name, as if it were a parser: for tests of the limits."""
        job = {"do": "call", "function": function, "seconds": seconds, "memory": memory}
        self._run(job, Answer, limit=_PICTURE_LIMIT)

    def close(self) -> None:
        """Ends the process and whatever it runs. A later job starts a new one."""
        with self._lock:
            self._stop()

    # --- The process

    def _forget(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._control = self._finalizer = None

    def _start(self) -> socket.socket:
        """The socket to a living server."""
        if self._process is not None and self._process.poll() is not None:
            _log.warning("the document reader had ended with code %s and is started again", self._process.returncode)
            self._stop()
        if self._control is None:
            control, theirs = socket.socketpair()
            with theirs:
                try:
                    self._process = self._spawn(theirs.fileno())
                except OSError:
                    control.close()
                    raise
            self._control = control
            self._finalizer = weakref.finalize(self, _end, self._process, control)
        return self._control

    def _spawn(self, socket_number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  (our own module, in our own Python)
            [sys.executable, "-m", "rag.backends.sandbox_server", str(socket_number), *self._allowed],
            cwd=_ROOT,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(socket_number,),
            start_new_session=True,  # Ctrl-C is for us; closing the socket is for it
        )

    def _submit(self, job: Message) -> tuple[socket.socket, socket.socket]:
        """Hands the job over: the sockets on which its answer and its end will come."""
        if self._owner != os.getpid():
            # A fork: the process behind belongs to our parent, and its lock may be held by a thread that is not here.
            if self._finalizer is not None:
                self._finalizer.detach()
            if self._process is not None:
                self._process.returncode = 0
            if self._control is not None:
                self._control.close()
            self._forget()
        body = json.dumps(job).encode()
        channel, their_channel = socket.socketpair()
        status, their_status = socket.socketpair()
        try:
            with their_channel, their_status, self._lock:
                self._hand_over(body, [their_channel.fileno(), their_status.fileno()])
        except OSError:
            channel.close()
            status.close()
            raise
        return channel, status

    def _hand_over(self, body: bytes, fds: Sequence[int]) -> None:
        """Sends a job to the server; a dead one is started again, once."""
        for last in (False, True):
            control = self._start()
            try:
                socket.send_fds(control, [len(body).to_bytes(4, "big")], fds)
                control.sendall(body)
            except OSError:
                self._stop()
                if last:
                    raise
            else:
                return

    # --- One job

    def _run(self, job: Message, make: "Callable[[], _Kind]", *, limit: int) -> "_Kind":
        for _ in range(_ATTEMPTS):
            answer = make()
            if self._attempt(job, answer, limit=limit):
                return answer
        raise Retryable("The document reader stopped unexpectedly.")

    def _attempt(self, job: Message, answer: Answer, *, limit: int) -> bool:
        """Whether the job came to its end, not the server to its own. Raises the sentence for a job that failed."""
        try:
            channel, status = self._submit(job)
        except OSError as error:
            _log.error("the document reader could not be started: %s", error)
            raise Retryable("The document reader could not be started.") from None
        # Closing `status` is what stops the job, whatever happens here.
        with closing(channel), closing(status):
            ended = _follow(job, answer, channel, status, limit=limit)
        if ended is None:
            _log.warning("the document reader was lost during a job")
            return False
        _judge(job, answer, ended)
        return True


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _existing(path: Path | str) -> str:
    full = Path(path).resolve()
    if not full.is_file():
        raise Permanent("The original file is missing.")
    return str(full)


def _no_progress(done: int, total: int | None) -> None:
    """Nobody wants to know."""


def _follow(
    job: Message, answer: Answer, channel: socket.socket, status: socket.socket, *, limit: int
) -> Message | None:
    """Feeds the job's messages to `answer`; how the job ended, or None when the server was lost."""
    last = time.monotonic() + job["seconds"] + _GRACE
    try:
        for message in _readable(receive(channel, limit=limit, tick=_TICK)):
            if time.monotonic() > last:
                raise answer.took_too_long(job["seconds"])
            if message is not None:
                answer.take(message)
            if message is None or message.get("kind") in ("progress", "recognised"):
                answer.tell()
        return next((message for message in _until(status, last) if message is not None), None)
    except TooMuch:
        raise Permanent("Reading this file gave far more than a document holds and was stopped.") from None
    except Garbled:
        raise answer.unreadable() from None


def _readable(messages: Iterator[Message | None]) -> Iterator[Message | None]:
    try:
        yield from messages
    except ValueError:
        raise Garbled from None


def _until(status: socket.socket, last: float) -> Iterator[Message | None]:
    for message in receive(status, limit=64 * 1024, tick=1.0):
        yield message
        if time.monotonic() > last:
            return


def _judge(job: Message, answer: Answer, ended: Message) -> None:
    """Raises the sentence for a job that did not come to its end."""
    if answer.error is not None:
        raise answer.error
    if ended.get("timed_out") or ended.get("signal") == 24:  # SIGXCPU
        raise answer.took_too_long(job["seconds"])
    if answer.done:
        return
    # Killed by the kernel, or at the limit when it fell: memory, as far as one can know.
    if answer.out_of_memory or ended.get("signal") == 9 or ended.get("memory", 0) > 0.9 * job["memory"]:
        raise Permanent(f"{answer.doing} needed more than {_bytes(job['memory'])} of memory and was stopped.")
    raise Permanent(answer.crashed) if ended.get("signal") else answer.unreadable()


def _bytes(count: int) -> str:
    gigabyte = 1024**3
    return (
        f"{count / gigabyte:g} GB" if count >= gigabyte and count % (gigabyte // 4) == 0 else f"{count // 1024**2} MB"
    )
