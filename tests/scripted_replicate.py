"""Replicate's predictions API, word for word: created, streamed or read again and again, cancelled; and its worst moods."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from tests.scripted_server import Handler, ScriptedServer, Step, moods

KEY = "r8_scripted"
MODEL = "meta/scripted-8b-instruct"
VERSION = hashlib.sha256(MODEL.encode()).hexdigest()
REFUSALS: dict[str, tuple[int, Any]] = {
    "queue_full": (429, {"detail": "Request was throttled. Expected available in 1 second.", "status": 429}),
    "no_credit": (402, {"title": "Insufficient credit", "detail": "Go to billing to buy more.", "status": 402}),
    "missing": (404, {"detail": "The requested resource could not be found.", "status": 404}),
    "wrong_key": (401, {"title": "Unauthenticated", "detail": "You did not pass a valid token", "status": 401}),
    "bad_input": (422, {"title": "Input validation failed", "detail": "- input: prompt is required", "status": 422}),
    "broken": (500, {"detail": "Internal server error", "status": 500}),
}
MOODS = (
    "ok", "slowly", "slow_first_token", "hang", "no_done", "endless", "thinking_in_text", "empty", "length",
    "error_mid_stream", "failed", "truncated_json", *REFUSALS,
)  # fmt: skip


class _Handler(Handler):
    def got(self) -> None:
        script = self.server.script
        assert isinstance(script, ScriptedReplicate)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.json(*REFUSALS["wrong_key"])
        if self.path == f"/v1/models/{MODEL}":
            return self.json(200, {"owner": "meta", "name": "scripted", "latest_version": {"id": VERSION}})
        if found := re.fullmatch(r"/stream/(\w+)", self.path):
            return self.stream(_stream(script, found[1]))
        if found := re.fullmatch(r"/v1/predictions/(\w+)", self.path):
            return self.json(200, script.prediction(found[1]))
        return self.json(*REFUSALS["missing"])

    def posted(self, body: dict[str, Any]) -> None:
        script = self.server.script
        assert isinstance(script, ScriptedReplicate)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.json(*REFUSALS["wrong_key"])
        if found := re.fullmatch(r"/v1/predictions/(\w+)/cancel", self.path):
            script.cancelled.append(found[1])
            return self.json(200, script.prediction(found[1]))
        if script.mood in REFUSALS:
            return self.json(*REFUSALS[script.mood])
        script.requests.append(body)
        return self.json(201, script.prediction(f"p{len(script.requests)}"))


def _messages(body: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": body["input"]["prompt"]}]


def _stream(script: "ScriptedReplicate", name: str) -> Iterator[Step]:
    mood = script.mood
    if mood == "slow_first_token":
        yield 3600.0
    yield b": hi\n\n"
    if mood in {"error_mid_stream", "truncated_json"}:
        yield _event("output", "The answer begins ")
        yield (
            _event("error", '{"detail":"E1001: out of memory"}') if mood == "error_mid_stream" else _event("done", "{x")
        )
        return
    if mood == "failed":
        yield _event("done", '{"reason":"error"}')
        return
    for said, step in enumerate(moods(mood, _messages(script.requests[int(name[1:]) - 1])), start=1):
        script.written[name] = said
        if isinstance(step, str):
            yield _event("output", step)
        else:
            yield step
    yield _event("done", "{}")


def _event(name: str, data: str) -> bytes:
    lines = "\n".join(f"data: {line}" for line in data.split("\n"))
    return f"event: {name}\nid: 1:0\n{lines}\n\n".encode()


class ScriptedReplicate(ScriptedServer):
    """The service; `stream_host` is where it says that streams lie, `cancelled` holds the predictions that were stopped."""

    handler = _Handler

    def __init__(self, mood: str = "ok", *, port: int = 0) -> None:
        if mood not in MOODS:
            raise ValueError(f"no such mood: {mood}")
        super().__init__(mood, port=port)
        self.cancelled: list[str] = []
        self.written: dict[str, int] = {}
        self.stream_host = ""
        self._reads: dict[str, int] = {}

    def prediction(self, name: str) -> dict[str, Any]:
        """The prediction as the service tells of it: with every reading more of its output is there."""
        body = self.requests[int(name[1:]) - 1]
        wanted = body["input"]["max_tokens"]
        self._reads[name] = self._reads.get(name, -1) + 1
        output: list[str] = []
        status = "starting"
        if self._reads[name] and self.mood not in {"slow_first_token", "endless"}:
            output = [step for step in moods(self.mood, _messages(body)) if isinstance(step, str)]
            status = "failed" if self.mood in {"failed", "error_mid_stream"} else "succeeded"
            if self._reads[name] == 1 and name not in self.written:
                output, status = output[:2], "processing"
            if self.mood == "hang":
                status = "processing"
        written = wanted if self.mood == "length" else self.written.get(name, len(output))
        return {
            "id": name,
            "version": body.get("version", VERSION),
            "status": status,
            "error": "CUDA out of memory" if status == "failed" else None,
            "output": output,
            "metrics": {"input_token_count": len(str(body["input"]).split()), "output_token_count": written},
            "urls": {
                "get": f"{self.url}/v1/predictions/{name}",
                "cancel": f"{self.url}/v1/predictions/{name}/cancel",
                "stream": f"{self.stream_host or self.url}/stream/{name}",
            },
        }
