"""What scripted model servers have in common: a thread that listens, pieces sent as they come, readers that go away."""

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.scripted_ollama import cited_answer, pieces

END = object()  # a step: the process dies, without a last line and without the end of the chunked body
Step = str | float | bytes | object  # text to say, seconds to wait, raw bytes, END


def moods(mood: str, messages: list[dict[str, str]]) -> Iterator[Step]:
    """What a model says in moods that every protocol knows; the protocol's own are left to its server."""
    begins = "The answer begins "
    match mood:
        case "slowly":
            for piece in pieces(cited_answer(messages)):
                yield 0.04
                yield piece
        case "slow_first_token":
            yield 3600.0
        case "hang":
            yield begins
            yield 3600.0
        case "no_done":
            yield begins
            yield END
        case "endless":
            while True:
                yield "and so on "
        case "thinking_in_text":
            yield from ("<thi", "nk>Let me think", " about this.</th", "ink>\n\n")
            yield from pieces(cited_answer(messages))
        case "empty":
            yield from ()
        case _:
            yield from pieces(cited_answer(messages))


class ScriptedServer:
    """A running server in a mood; `requests` holds what was posted, `aborted` counts streams whose reader went away."""

    handler: type["Handler"]

    def __init__(self, mood: str = "ok", *, port: int = 0) -> None:
        self.mood = mood
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.aborted = 0
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_until_aborted(self, seconds: float = 2.0) -> bool:
        """Whether a reader went away within `seconds`."""
        end = time.monotonic() + seconds
        while not self.aborted and time.monotonic() < end:
            time.sleep(0.01)
        return self.aborted > 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], script: ScriptedServer) -> None:
        self.script = script
        super().__init__(address, script.handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away is part of the play."""


class Handler(BaseHTTPRequestHandler):
    """Requests of one connection; a protocol's own handler answers in `got` and `posted`."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def got(self) -> None:
        raise NotImplementedError

    def posted(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.server.script.paths.append(self.path)
        self._answer(self.got)

    def do_POST(self) -> None:
        self.server.script.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self._answer(lambda: self.posted(body))

    def _answer(self, act: Any) -> None:
        try:
            act()
        except OSError:
            self.server.script.aborted += 1
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def json(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, parts: Iterator[bytes | float | object]) -> None:
        """Bytes as they come; waits where a part is a number, and dies where it is END."""
        begun = False
        for part in parts:
            if isinstance(part, float):
                if self.pause(part):
                    self.close_connection = True
                    return
                continue
            if not begun:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                begun = True
            if part is END:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_WR)
                return
            assert isinstance(part, bytes)
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def pause(self, seconds: float) -> bool:
        """Waits; whether the server is closing. Raises OSError when the reader goes away meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("the reader went away")
            if self.server.script.closing.wait(min(left, 0.02)):
                return True
        return False
