"""The other servers of language models against the same contract, and their worst moods: OpenAI's kind, Replicate, several hosts."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from rag.backends.llms import openai_compatible, replicate
from rag.backends.llms.base import LLM, billions_of
from rag.backends.llms.ollama import OllamaLLM
from rag.backends.llms.openai_compatible import OpenAICompatibleLLM
from rag.backends.llms.replicate import ReplicateLLM
from rag.backends.llms.spread import Board, SpreadLLM
from rag.backends.llms.thinking import ThinkingFilter
from rag.domain.errors import Busy, Permanent, RagError, Retryable
from rag.domain.types import Delta, Message, Role, StopReason
from tests import scripted_openai, scripted_replicate
from tests.contracts.llms import Contract, collect, nobody, prompt, text_of
from tests.scripted_ollama import ScriptedOllama
from tests.scripted_openai import ScriptedOpenAI
from tests.scripted_replicate import ScriptedReplicate

LIMIT = 0.4  # seconds: what a test waits for a server that says nothing


def openai(server: ScriptedOpenAI, *, key: str = scripted_openai.KEY, seconds: float = LIMIT) -> OpenAICompatibleLLM:
    return OpenAICompatibleLLM(
        f"{server.url}/v1",
        key,
        name=scripted_openai.MODEL,
        digest="",
        context_tokens=4096,
        first_token_seconds=seconds,
        idle_seconds=seconds,
    )


def predictions(
    server: ScriptedReplicate, *, key: str = scripted_replicate.KEY, digest: str = "", seconds: float = LIMIT
) -> ReplicateLLM:
    return ReplicateLLM(
        server.url,
        key,
        name=scripted_replicate.MODEL,
        digest=digest,
        context_tokens=4096,
        first_token_seconds=seconds,
        idle_seconds=seconds,
    )


class TestOpenAICompatible(Contract):
    has_digests = False
    script: ScriptedOpenAI

    @pytest.fixture
    def llm(self) -> Iterator[LLM]:
        with ScriptedOpenAI("slowly") as self.script:
            yield openai(self.script, seconds=5)

    async def generating(self, llm: LLM) -> bool:
        return self.script.aborted == 0


class TestReplicate(Contract):
    script: ScriptedReplicate

    @pytest.fixture
    def llm(self) -> Iterator[LLM]:
        with ScriptedReplicate("slowly") as self.script:
            yield predictions(self.script, digest=scripted_replicate.VERSION, seconds=5)

    async def generating(self, llm: LLM) -> bool:
        return not self.script.cancelled


class TestSeveralHosts(Contract):
    scripts: list[ScriptedOllama]

    @pytest.fixture
    def llm(self) -> Iterator[LLM]:
        with ScriptedOllama("slowly") as first, ScriptedOllama("slowly") as second:
            self.scripts = [first, second]
            yield spread([first, second])

    async def generating(self, llm: LLM) -> bool:
        return not any(script.aborted for script in self.scripts)

    async def test_a_server_that_is_not_there_is_said_so(self, llm: LLM) -> None:
        dead = [OllamaLLM(nobody(), "m", "d", 4096), OllamaLLM(nobody(), "m", "d", 4096)]
        with pytest.raises(Retryable, match="cannot be reached"):
            await collect(SpreadLLM(dead, thread="t", board=Board()))


def spread(hosts: list[ScriptedOllama], *, thread: str = "t", board: Board | None = None) -> SpreadLLM:
    made = [OllamaLLM(h.url, h.model, h.digest, 4096, first_token_seconds=5, idle_seconds=5) for h in hosts]
    return SpreadLLM(made, thread=thread, board=board or Board())


# --- What goes wrong, said of each in its own sentence

OPENAI: dict[str, tuple[type[RagError], str]] = {
    "slow_first_token": (Retryable, "did not begin to answer|fell silent"),
    "hang": (Retryable, "fell silent"),
    "no_done": (Retryable, "broke off"),
    "thinking_only": (Permanent, "spent its whole answer on thinking"),
    "empty": (Retryable, "answered with nothing"),
    "queue_full": (Busy, "queue is full"),
    "throttled": (Busy, "queue is full"),
    "missing": (Permanent, "does not have the model"),
    "too_long": (Permanent, "longer than the model's context"),
    "too_long_llamacpp": (Permanent, "longer than the model's context"),
    "too_long_tgi": (Permanent, "longer than the model's context"),
    "wrong_key": (Permanent, "does not let Footnote in"),
    "broken": (Retryable, r"server failed \(HTTP 500\)"),
    "not_json": (Retryable, "interrupted"),
    "error_mid_stream": (Retryable, "failed in the middle"),
    "error_tgi": (Retryable, "failed in the middle"),
    "error_llamacpp": (Retryable, "failed in the middle"),
    "error_lmstudio": (Retryable, "failed in the middle"),
    "truncated_json": (Retryable, "arrived damaged"),
}
REPLICATE: dict[str, tuple[type[RagError], str]] = {
    "slow_first_token": (Retryable, "did not begin to answer"),
    "hang": (Retryable, "fell silent"),
    "no_done": (Retryable, "broke off"),
    "empty": (Retryable, "answered with nothing"),
    "queue_full": (Busy, "queue is full"),
    "no_credit": (Permanent, "no credit left"),
    "missing": (Permanent, "does not have the model"),
    "wrong_key": (Permanent, "does not let Footnote in"),
    "bad_input": (Permanent, r"refused the request \(HTTP 422\)"),
    "broken": (Retryable, r"server failed \(HTTP 500\)"),
    "error_mid_stream": (Permanent, "too little free memory"),
    "failed": (Retryable, "model at Replicate failed"),
    "truncated_json": (Retryable, "arrived damaged"),
}


@pytest.mark.parametrize("mood", OPENAI)
async def test_each_mood_of_an_openai_server_ends_in_its_own_sentence(mood: str) -> None:
    kind, sentence = OPENAI[mood]
    with ScriptedOpenAI(mood) as server, pytest.raises(RagError, match=sentence) as raised:
        await collect(openai(server))
    assert type(raised.value) is kind


@pytest.mark.parametrize("mood", REPLICATE)
async def test_each_mood_of_replicate_ends_in_its_own_sentence(mood: str) -> None:
    kind, sentence = REPLICATE[mood]
    with ScriptedReplicate(mood) as server, pytest.raises(RagError, match=sentence) as raised:
        await collect(predictions(server))
    assert type(raised.value) is kind


@pytest.mark.parametrize("mood", ["thinking", "thinking_in_text"])
async def test_thinking_is_kept_apart_however_a_server_sends_it(mood: str) -> None:
    with ScriptedOpenAI(mood) as server:
        deltas = await collect(openai(server))
    assert "".join(delta.thinking for delta in deltas) == "Let me think about this."
    assert text_of(deltas).startswith("Staff have 28 days")


async def test_ollama_and_replicate_leave_no_thinking_in_the_text_either() -> None:
    with ScriptedReplicate("thinking_in_text") as service:
        deltas = await collect(predictions(service))
    assert "".join(delta.thinking for delta in deltas) == "Let me think about this."
    assert text_of(deltas).startswith("Staff have 28 days")


@pytest.mark.parametrize("cut", range(1, 12))
def test_only_thinking_that_an_answer_begins_with_is_taken_out(cut: int) -> None:
    def split(text: str) -> tuple[str, str]:
        apart = ThinkingFilter()
        parts = [apart.feed(text[at : at + cut]) for at in range(0, len(text), cut)] + [apart.finish()]
        return "".join(part[0] for part in parts), "".join(part[1] for part in parts)

    assert split("\n<think>One < two </thin king.</think>Yes [1].") == ("One < two </thin king.", "Yes [1].")
    assert split("Yes <think>no</think> [1].") == ("", "Yes <think>no</think> [1].")
    assert split("<thing> is a tag.") == ("", "<thing> is a tag.")
    assert split("<think>never ends") == ("never ends", "")
    assert split("<th") == ("", "<th")


async def test_a_model_that_is_still_being_loaded_is_waited_for() -> None:
    with ScriptedOpenAI("loading") as server:
        llm = openai(server, seconds=5)
        assert not await llm.loaded()
        assert text_of(await collect(llm)).startswith("Staff have")
        assert await llm.loaded()
        assert server.paths.count("/v1/chat/completions") == 2
        server.loading_answers = 1000
        with pytest.raises(Retryable, match="still loading"):
            await collect(openai(server, seconds=1.2))


async def test_ollama_says_whether_the_model_is_in_memory() -> None:
    with ScriptedOllama() as server:
        llm = OllamaLLM(server.url, server.model, server.digest, 4096)
        assert not await llm.loaded()
        server.running.add(server.model)
        assert await llm.loaded()
        assert await OllamaLLM(nobody(), "m", "d", 4096).loaded()  # unknown: no reason to say anything


async def test_the_models_of_an_openai_server_are_listed_with_what_it_says_of_them() -> None:
    with ScriptedOpenAI() as server:
        large, tiny = await openai_compatible.list_models(f"{server.url}/v1/", scripted_openai.KEY)
        with pytest.raises(Permanent, match="does not let Footnote in"):
            await openai_compatible.list_models(server.url, "")
    assert (large.name, large.context, large.billions, large.digest) == (scripted_openai.MODEL, 8192, 7.0, "")
    assert (tiny.name, tiny.context, tiny.billions) == ("tiny.gguf", 2048, 0.13)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama3.2:3b", 3), ("Qwen2.5-0.5B-Instruct", 0.5), ("mixtral-8x7b", 56), ("SmolLM2-135M.Q4", 0.135),
        ("gpt-oss:20b-cloud", 20), ("1.2B", 1.2), ("phi4", 0), ("mistral-small", 0), ("model-b2", 0),
    ],
)  # fmt: skip
def test_the_size_of_a_model_is_read_from_what_it_is_called(name: str, billions: float) -> None:
    assert billions_of(name) == pytest.approx(billions)


# --- Replicate


async def test_a_version_is_pinned_and_looked_up() -> None:
    with ScriptedReplicate() as server:
        info = await replicate.describe(server.url, scripted_replicate.KEY, scripted_replicate.MODEL, allowed=())
        assert info.digest == scripted_replicate.VERSION
        await collect(predictions(server, digest=info.digest))
        await collect(predictions(server))
        assert [sent.get("version") for sent in server.requests] == [info.digest, None]
        assert server.paths.count(f"/v1/models/{scripted_replicate.MODEL}/predictions") == 1
        with pytest.raises(Permanent, match="names like owner/name"):
            await replicate.describe(server.url, scripted_replicate.KEY, "../v1/account", allowed=())


async def test_an_answer_at_the_limit_is_cut_off_and_lines_survive_the_stream() -> None:
    with ScriptedReplicate("length") as server:
        assert (await collect(predictions(server)))[-1].stop is StopReason.LENGTH
    with ScriptedReplicate() as server:
        ask = prompt('<source number="1" title="x">\nOne line.\n</source>\n\nQuestion: What?')
        assert text_of(await collect(predictions(server), ask=ask)) == "One line [1]."


async def test_a_stream_on_a_host_that_nobody_allowed_is_read_from_the_prediction_instead() -> None:
    with ScriptedReplicate() as server:
        server.stream_host = "http://stream.example.com"
        deltas = await collect(predictions(server, seconds=5))
        assert text_of(deltas).startswith("Staff have 28 days")
        assert len([delta for delta in deltas if delta.text]) > 1, "it came all at once"
        assert not any(path.startswith("/stream") for path in server.paths)


@pytest.mark.parametrize(("mood", "sentence"), [("failed", "too little free memory"), ("hang", "interrupted")])
async def test_a_prediction_that_fails_while_it_is_read_is_said_so(mood: str, sentence: str) -> None:
    with ScriptedReplicate(mood) as server:
        server.stream_host = "http://stream.example.com"
        with pytest.raises(RagError, match=sentence):
            await collect(predictions(server))


async def test_stop_reaches_the_service_though_the_task_is_cancelled_again_and_again() -> None:
    with ScriptedReplicate("slowly") as server:
        begun = asyncio.Event()

        async def answer() -> None:
            stream = predictions(server, seconds=5).stream(prompt(), max_tokens=1000)
            try:
                async for _ in stream:
                    begun.set()
            finally:
                await stream.aclose()

        task = asyncio.create_task(answer())
        await asyncio.wait_for(begun.wait(), 10)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.001)
        end = time.monotonic() + 2
        while not server.cancelled:
            assert time.monotonic() < end, "the prediction goes on"
            await asyncio.sleep(0.01)


def test_a_conversation_becomes_one_text_with_the_rules_apart() -> None:
    rules, asked = Message(Role.SYSTEM, "Rules."), Message(Role.USER, "Who?")
    assert replicate.as_input((rules, asked), 9)["prompt"] == "Who?"
    made = replicate.as_input((rules, asked, Message(Role.ASSISTANT, "Anna."), Message(Role.USER, "When?")), 9)
    assert made["system_prompt"] == "Rules."
    assert made["prompt"] == "User: Who?\n\nAssistant: Anna.\n\nUser: When?\n\nAssistant:"
    assert made["max_tokens"] == 9


# --- Several hosts


async def test_a_question_goes_to_the_host_with_the_least_work_and_back_to_where_its_conversation_was() -> None:
    board = Board()
    with ScriptedOllama() as first, ScriptedOllama() as second:
        await collect(spread([first, second], thread="a", board=board))
        there, other = (first, second) if first.requests else (second, first)
        for _ in range(3):
            await collect(spread([first, second], thread="a", board=board))
        assert (len(there.requests), len(other.requests)) == (4, 0)
        with board.working(there.url):
            await collect(spread([first, second], thread="a", board=board))
        assert len(other.requests) == 1


async def test_new_conversations_are_spread_over_idle_hosts() -> None:
    urls = ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"]
    board = Board()
    firsts = [board.order(urls, f"conversation {n}")[0] for n in range(300)]
    assert all(firsts.count(url) > 60 for url in urls)


async def test_a_host_that_is_dead_or_full_is_passed_over_before_the_first_word() -> None:
    board = Board()
    dead = OllamaLLM(nobody(), "scripted:latest", "0" * 64, 4096)
    with ScriptedOllama("queue_full") as full, ScriptedOllama() as well:
        llms = [dead, *(OllamaLLM(h.url, h.model, h.digest, 4096) for h in (full, well))]
        for thread in ("a", "b", "c", "d"):
            assert text_of(await collect(SpreadLLM(llms, thread=thread, board=board))).startswith("Staff have")
        assert board.is_aside(dead.url)
        assert not board.is_aside(full.url)  # it answers, only not now
    with pytest.raises(Retryable, match="cannot be reached"):
        await collect(SpreadLLM([dead, OllamaLLM(nobody(), "m", "d", 4096)], thread="a", board=board))


async def test_half_an_answer_is_not_continued_by_another_host() -> None:
    with ScriptedOllama("error_mid_stream") as first, ScriptedOllama("error_mid_stream") as second:
        said: list[Delta] = []
        with pytest.raises(Retryable, match="failed in the middle"):
            async for delta in spread([first, second]).stream(prompt(), max_tokens=64):
                said.append(delta)
        assert text_of(said) == "The answer begins "
        assert len(first.requests) + len(second.requests) == 1
