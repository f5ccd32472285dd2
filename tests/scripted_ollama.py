"""An Ollama that says what it is told: its real HTTP protocol, its real error bodies, its worst moods.

In tests: `with ScriptedOllama(mood="ok") as server: server.url`. By hand: `python -m tests.scripted_ollama --mood ok`.
Every mood is also a model (`scripted-hang:latest`), so that one server can show them all. The mood `ok` composes its answer
from the sources of the prompt: the first sentence of the first and of the second, each cited, in pieces that split markers.
"""

import argparse
import hashlib
import html
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar

from rag.domain.prompt_profiles import REFUSAL
from rag.domain.sentences import sentences

VERSION = "0.20.1"
_SOURCE = re.compile(r'<source number="(\d+)"[^\n]*>\n(.*?)\n</source>', re.DOTALL)
_XSS = (
    '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'"> '
    '<div hx-get="/sign-out/" hx-trigger="load" hx-on:click="alert(1)">press</div> '
    "[link](javascript:alert(1)) ![pixel](http://elsewhere.example/p.gif) </article><!-- [1]."
)

PULL_STEPS, PULL_STEP = 10, 100_000_000
GO_ON = threading.Event()  # what the mood `held` waits for
Step = str | float | dict[str, Any] | bytes  # text to say, seconds to wait, fields of a line, raw bytes


def cited_answer(messages: list[dict[str, str]]) -> str:
    """The first sentences of the first two sources in a prompt, each with its citation."""
    offered = _SOURCE.findall("\n".join(message["content"] for message in messages))
    found = []
    for number, text in offered[:2]:
        start, end = sentences(text)[0]
        sentence = html.unescape(" ".join(text[start:end].split())).rstrip(".")
        found.append(f"{sentence} [{number}].")
    return " ".join(found) or REFUSAL


def pieces(text: str) -> Iterator[str]:
    """The text in pieces of a few characters that cut words, and every citation marker behind its bracket."""
    return iter(re.findall(r"[^\[]{0,4}\[|[^\[]{1,5}", text))


def _ok(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from pieces(cited_answer(messages))


def _slowly(messages: list[dict[str, str]]) -> Iterator[Step]:
    for piece in pieces(cited_answer(messages)):
        yield 0.04
        yield piece


def _held(messages: list[dict[str, str]]) -> Iterator[Step]:
    """The first half, and the rest when `GO_ON` is set: what happens meanwhile needs no luck with time."""
    parts = list(pieces(cited_answer(messages)))
    yield from parts[: len(parts) // 2]
    while not GO_ON.is_set():
        yield 0.02
    yield from parts[len(parts) // 2 :]


def _slow_first_token(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield 3600.0
    yield from _ok(messages)


def _hang(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield "The answer begins "
    yield 3600.0


def _error_mid_stream(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield "The answer begins "
    yield b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'
    yield {"end": "silently"}


def _truncated_json(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield "The answer begins "
    yield b'{"model":"scripted","message":{"role":"assis\n'
    yield {"end": "silently"}


def _no_done(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield "The answer begins "
    yield {"end": "silently"}


def _length(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from pieces(cited_answer(messages)[:40])
    yield {"done_reason": "length"}


def _thinking_only(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield {"message": {"role": "assistant", "content": "", "thinking": "Let me think about this. "}}
    yield {"message": {"role": "assistant", "content": "", "thinking": "I think on."}}
    yield {"done_reason": "length"}


def _thinking(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield {"message": {"role": "assistant", "content": "", "thinking": "Let me think about this."}}
    yield from _ok(messages)


def _wrong_citations(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from pieces("The first claim [47]. The second claim [Source 98][0]. In [2024] a third [1].")


def _xss(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from pieces(_XSS)


def _endless(messages: list[dict[str, str]]) -> Iterator[Step]:
    while True:
        yield "and so on "


def _long_line(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield b'{"message":{"content":"'
    for _ in range(64):
        yield b"x" * 65536
    yield {"end": "silently"}


def _refuses(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from pieces(REFUSAL)


def _empty(messages: list[dict[str, str]]) -> Iterator[Step]:
    yield from ()


STREAMS: dict[str, Callable[[list[dict[str, str]]], Iterator[Step]]] = {
    "ok": _ok,
    "slowly": _slowly,
    "held": _held,
    "slow_first_token": _slow_first_token,
    "hang": _hang,
    "error_mid_stream": _error_mid_stream,
    "truncated_json": _truncated_json,
    "no_done": _no_done,
    "length": _length,
    "thinking": _thinking,
    "thinking_only": _thinking_only,
    "wrong_citations": _wrong_citations,
    "xss": _xss,
    "endless": _endless,
    "long_line": _long_line,
    "refuses": _refuses,
    "empty": _empty,
}
# Answers that are no stream: status and the body that Ollama sends with it.
REFUSALS: dict[str, tuple[int, str]] = {
    "queue_full": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "missing": (404, "model '{model}' not found"),
    "too_long": (400, "the input length exceeds the context length"),
    "no_memory": (500, "model requires more system memory (5.6 GiB) than is available (3.1 GiB)"),
    "broken": (500, "llama runner process has terminated: exit status 2"),
}
MOODS = (*STREAMS, *REFUSALS)


class ScriptedOllama:
    """A running server; `requests` holds the body of every chat, `aborted` counts streams whose reader went away."""

    def __init__(self, mood: str = "ok", *, port: int = 0, version: str = VERSION) -> None:
        if mood not in MOODS:
            raise ValueError(f"no such mood: {mood}")
        self.mood = mood
        self.version = version
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.aborted = 0
        self.digests = {name: _digest(name) for name in self.names()}
        self.remote: set[str] = set()
        self.running: set[str] = set()  # models that are in memory
        self.reads: int | None = None  # tokens of a prompt that it reads, as a server that cuts in silence would
        self.blobs: dict[str, bytes] = {}
        self.registry: dict[str, str] | None = None  # name and digest of what can be fetched; None: not reachable
        self.fetched: dict[str, int] = {}  # steps of PULL_STEP bytes, kept when a fetch breaks off
        self.hold_at = 0  # after so many steps a fetch waits for `go_on` to be set again
        self.go_on = threading.Event()
        self.go_on.set()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def model(self) -> str:
        """A model that answers in this server's mood."""
        return "scripted:latest"

    @property
    def digest(self) -> str:
        return self.digests[self.model]

    @staticmethod
    def names() -> list[str]:
        return ["scripted:latest", *(f"scripted-{mood}:latest" for mood in MOODS)]

    def mood_of(self, model: str) -> str:
        """The mood that a model's name asks for, otherwise the server's."""
        named = model.removesuffix(":latest").removeprefix("scripted-")
        return named if named in MOODS else self.mood

    def wait(self, seconds: float) -> bool:
        """Sleeps; whether the server is being closed meanwhile."""
        return self._closing.wait(seconds)

    def wait_until_aborted(self, seconds: float = 2.0) -> bool:
        """Whether a reader went away within `seconds`."""
        end = time.monotonic() + seconds
        while not self.aborted and time.monotonic() < end:
            time.sleep(0.01)
        return self.aborted > 0

    def __enter__(self) -> "ScriptedOllama":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], script: ScriptedOllama) -> None:
        self.script = script
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _get: ClassVar[dict[str, str]] = {"/api/version": "_version", "/api/tags": "_tags", "/api/ps": "_running"}
    _post: ClassVar[dict[str, str]] = {
        "/api/chat": "_chat",
        "/api/show": "_show",
        "/api/pull": "_pull",
        "/api/create": "_create",
    }

    def do_GET(self) -> None:
        self.server.script.paths.append(self.path)
        getattr(self, self._get.get(self.path, "_unknown"))()

    def do_HEAD(self) -> None:
        self.server.script.paths.append(self.path)
        there = self.path.removeprefix("/api/blobs/") in self.server.script.blobs
        self.send_response(200 if there else 404)
        self.end_headers()

    def do_DELETE(self) -> None:
        script = self.server.script
        script.paths.append(self.path)
        model = str(json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))["model"])
        if script.digests.pop(model, None) is None:
            return self._json(404, {"error": f"model '{model}' not found"})
        return self._json(200, {})

    def do_POST(self) -> None:
        self.server.script.paths.append(self.path)
        if self.path.startswith("/api/blobs/"):
            return self._blob(self.path.removeprefix("/api/blobs/"))
        self._body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        getattr(self, self._post.get(self.path, "_unknown"))()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _json(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _unknown(self) -> None:
        self._json(404, {"error": "404 page not found"})

    def _version(self) -> None:
        self._json(200, {"version": self.server.script.version})

    def _running(self) -> None:
        self._json(200, {"models": [{"name": name, "model": name} for name in sorted(self.server.script.running)]})

    def _tags(self) -> None:
        script = self.server.script
        entries = []
        for name, digest in script.digests.items():
            entry: dict[str, Any] = {
                "name": name,
                "model": name,
                "modified_at": _now(),
                "size": 1_321_098_329,
                "digest": digest,
                "details": _DETAILS,
            }
            if name in script.remote:
                entry |= {"remote_model": name, "remote_host": "https://ollama.com:443", "size": 384}
            entries.append(entry)
        self._json(200, {"models": entries})

    def _show(self) -> None:
        model = str(self._body.get("model", ""))
        if model not in self.server.script.digests:
            return self._json(404, {"error": f"model '{model}' not found"})
        info = {"general.architecture": "llama", "llama.context_length": 131072}
        shown = {"license": "", "modelfile": f"FROM {model}", "parameters": "", "template": "{{ .Prompt }}"}
        return self._json(200, {**shown, "details": _DETAILS, "model_info": info, "capabilities": ["completion"]})

    def _blob(self, digest: str) -> None:
        """Takes in a file, as Ollama does: 201 without a body, or 400 when its digest is another."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            return self._json(400, {"error": f'digest mismatch, expected "{digest}"'})
        self.server.script.blobs[digest] = body
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _create(self) -> None:
        script, name = self.server.script, str(self._body["model"])
        ((_file, digest),) = self._body["files"].items()
        if digest not in script.blobs:
            return self._json(400, {"error": f"blob {digest} not found"})
        self._begin()
        self._line({"status": "parsing GGUF"})
        if not script.blobs[digest].startswith(b"GGUF\x03"):
            self._line({"error": "invalid file magic"})
        else:
            script.digests[name] = _digest(digest)
            self._line({"status": f"using existing layer {digest}"})
            self._line({"status": "writing manifest"})
            self._line({"status": "success"})
        return self._chunk(b"")

    def _pull(self) -> None:
        """Fetches in `PULL_STEPS` steps what the registry has, waiting for `script.go_on` before each; resumes where it stopped."""
        script, name = self.server.script, str(self._body["model"])
        self._begin()
        try:
            self._line({"status": "pulling manifest"})
            if script.registry is None:
                said = 'Get "https://registry.ollama.ai/v2/": dial tcp: lookup registry.ollama.ai: no such host'
                self._line({"error": f"pull model manifest: {said}"})
            elif name not in script.registry:
                self._line({"error": "pull model manifest: file does not exist"})
            else:
                self._fetch(name, script.registry[name])
            self._chunk(b"")
        except OSError:
            script.aborted += 1
            self.close_connection = True

    def _fetch(self, name: str, digest: str) -> None:
        script, layer = self.server.script, f"sha256:{_digest(name + ' layer')}"
        while script.fetched.get(name, 0) < PULL_STEPS:
            while not script.go_on.is_set():
                if self._pause(0.02):
                    return
            script.fetched[name] = script.fetched.get(name, 0) + 1
            done = script.fetched[name] * PULL_STEP
            said = {"status": f"pulling {layer[7:19]}", "digest": layer, "total": PULL_STEPS * PULL_STEP}
            self._line({**said, "completed": done})
            if script.fetched[name] == script.hold_at:
                script.go_on.clear()
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            if status == "success":
                script.digests[name] = digest
            self._line({"status": status})

    def _chat(self) -> None:
        script = self.server.script
        script.requests.append(self._body)
        model = str(self._body.get("model", ""))
        mood = script.mood_of(model)
        if model not in script.digests:
            mood = "missing"
        if mood in REFUSALS:
            status, sentence = REFUSALS[mood]
            return self._json(status, {"error": sentence.format(model=model)})
        try:
            self._stream(model, STREAMS[mood](self._body["messages"]))
        except OSError:
            script.aborted += 1
            self.close_connection = True
        return None

    def _stream(self, model: str, steps: Iterator[Step]) -> None:
        done: dict[str, Any] = {"done_reason": "stop"}
        begun = False
        pieces_said = 0
        for step in steps:
            if isinstance(step, float):
                if self._pause(step):
                    self.close_connection = True
                    return
                continue
            if isinstance(step, dict) and "end" in step:
                # As a crashed process leaves it: no last line, no end of the chunked body.
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_WR)
                return
            if isinstance(step, dict) and "done_reason" in step:
                done = step
                continue
            if not begun:
                self._begin()
                begun = True
            if isinstance(step, bytes):
                self._chunk(step)
                continue
            said = step if isinstance(step, dict) else {"message": {"role": "assistant", "content": step}}
            pieces_said += 1
            self._line({"model": model, "created_at": _now(), **said, "done": False})
        if not begun:
            self._begin()
        prompt = sum(len(message["content"].split()) for message in self._body["messages"])
        last = {"model": model, "created_at": _now(), "message": {"role": "assistant", "content": ""}, "done": True}
        prompt = prompt if self.server.script.reads is None else self.server.script.reads
        counts = {"prompt_eval_count": prompt, "prompt_eval_duration": 5_000_000, "eval_count": pieces_said}
        self._line({**last, **done, "total_duration": 9_000_000, "load_duration": 1_000_000, **counts})
        self._chunk(b"")

    def _pause(self, seconds: float) -> bool:
        """Waits; whether the server is closing. Raises OSError when the reader goes away meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("the reader went away")
            if self.server.script.wait(min(left, 0.02)):
                return True
        return False

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _line(self, value: dict[str, Any]) -> None:
        self._chunk(json.dumps(value).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1.2B",
    "quantization_level": "Q8_0",
}


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves Ollama's protocol with scripted answers.")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--mood", choices=MOODS, default="ok")
    given = parser.parse_args()
    with ScriptedOllama(given.mood, port=given.port) as server:
        print(f"Ollama, scripted ({given.mood}), on {server.url}. Stop with Ctrl-C.")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
