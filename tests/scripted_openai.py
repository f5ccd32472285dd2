"""Servers of the OpenAI kind, word for word as llama.cpp, vLLM, LM Studio, TGI and Together answer, in their worst moods."""

import json
from collections.abc import Iterator
from typing import Any

from tests.scripted_server import Handler, ScriptedServer, Step, moods

KEY = "sk-scripted"
MODEL = "scripted-7b-instruct"
# Answers that are no stream: status and body.
REFUSALS: dict[str, tuple[int, Any]] = {
    "queue_full": (429, {"error": "Model is overloaded", "error_type": "overloaded"}),  # TGI
    "throttled": (429, {"error": {"message": "You have reached the rate limit", "type": "rate_limit"}}),  # Together
    "missing": (404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}),  # vLLM
    "too_long": (
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},  # vLLM
    ),
    "too_long_llamacpp": (
        400,
        {"error": {"code": 400, "message": "request exceeds the available context size", "n_ctx": 2048}},
    ),
    "too_long_tgi": (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens", "x": 1}),
    "wrong_key": (401, {"error": {"message": "Invalid API key", "type": "authentication_error", "code": 401}}),
    "broken": (500, {"error": {"message": "the process crashed", "type": "server_error"}}),
    "not_json": (200, "<html>hello</html>"),
}
# What follows a beginning, as each server says that it failed after the first word.
ERRORS: dict[str, bytes] = {
    "error_mid_stream": b'data: {"error":{"message":"CUDA error","type":"BadRequestError","code":500}}\n\ndata: [DONE]\n\n',
    "error_tgi": b'data:{"error":"Request failed during generation","error_type":"generation"}\n\n',
    "error_llamacpp": b'error: {"code":500,"message":"slot unavailable","type":"server_error"}\n\n',
    "error_lmstudio": b'event: error\ndata: {"error":{"message":"The model has crashed"}}\n\n',
    "truncated_json": b'data: {"choices":[{"del\n\n',
}
MOODS = (
    "ok", "slowly", "slow_first_token", "hang", "no_done", "endless", "thinking", "thinking_in_text", "thinking_only",
    "empty", "length", "loading", *REFUSALS, *ERRORS,
)  # fmt: skip


class _Handler(Handler):
    def got(self) -> None:
        script = self.server.script
        assert isinstance(script, ScriptedOpenAI)
        if self.path == "/health":
            return self.json(*((503, _LOADING) if script.loading_answers > 0 else (200, {"status": "ok"})))
        if self.path == "/v1/models":
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                return self.json(*REFUSALS["wrong_key"])
            return self.json(200, {"object": "list", "data": script.models})
        return self.json(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

    def posted(self, body: dict[str, Any]) -> None:
        script = self.server.script
        assert isinstance(script, ScriptedOpenAI)
        script.requests.append(body)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.json(*REFUSALS["wrong_key"])
        if script.loading_answers > 0:
            script.loading_answers -= 1
            return self.json(503, _LOADING)
        if script.mood in REFUSALS:
            return self.json(*REFUSALS[script.mood])
        return self.stream(_stream(script.mood, body["messages"]))


_LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}


def _stream(mood: str, messages: list[dict[str, str]]) -> Iterator[Step]:
    yield b": ping\n\n" + _choice({"role": "assistant", "content": None})
    finish, said = "stop", 0
    if mood in ERRORS:
        yield _choice({"content": "The answer begins "})
        yield ERRORS[mood]
        return
    if mood == "slow_first_token":
        yield 3600.0
    if mood in {"thinking", "thinking_only"}:
        yield _choice({"reasoning_content": "Let me think about this."})
    if mood == "thinking_only":
        finish = "length"
    elif mood == "length":
        finish = "length"
        yield _choice({"content": "Staff have"})
    else:
        for step in moods(mood, messages):
            said += 1
            yield _choice({"content": step}) if isinstance(step, str) else step
    yield _choice({}, finish)
    prompt = sum(len(message["content"].split()) for message in messages)
    usage = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
    yield _event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def _choice(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _event(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    )


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class ScriptedOpenAI(ScriptedServer):
    """A server of the OpenAI kind; it answers as one that still loads its model `loading_answers` times."""

    handler = _Handler

    def __init__(self, mood: str = "ok", *, port: int = 0) -> None:
        if mood not in MOODS:
            raise ValueError(f"no such mood: {mood}")
        super().__init__(mood, port=port)
        self.loading_answers = 1 if mood == "loading" else 0
        self.models: list[dict[str, Any]] = [
            {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 8192},
            {"id": "tiny.gguf", "object": "model", "meta": {"n_ctx_train": 2048, "n_params": 134515008, "size": 98}},
        ]
