"""How fast this machine embeds, torch and OpenVINO side by side: `python -m tests.benchmarks.embedding [threads]`.

"Undisturbed": passages a second if no other program had used the processor, from processor time.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rag.backends.embedders._runner import Mode, Runner, precisions
from rag.backends.embedders.openvino import export
from rag.backends.embedders.samples import SAMPLES
from rag.backends.embedders.sentence_transformers import TorchRunner
from rag.backends.embedders.tokens import TokenCounter
from rag.backends.embedders.weights import find_weights
from rag.domain.types import Vectors

PASSAGES = 64
TOKENS = 245
QUESTION = "What is the fee after the amendment of 1 March, and from when does it apply?"


def passages() -> list[str]:
    """Prose of about `TOKENS` tokens each, no two alike."""
    counter = TokenCounter()
    prose = " ".join(text for text in SAMPLES if text.isascii() and len(text) > 40)
    end = counter.offsets(prose)[TOKENS - 6][1]
    return [f"Number {number}. {prose[:end]}" for number in range(PASSAGES)]


def seconds(work: Callable[[], object], times: int) -> float:
    """The median of `times` runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


class Embeds(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors: ...


def measure(way: Embeds, texts: list[str]) -> tuple[float, float, float]:
    """Passages a second, processor seconds a passage, and milliseconds a question."""
    way.embed(texts[:16])
    way.embed([QUESTION])
    spent = time.process_time()
    passages_a_second = len(texts) / seconds(lambda: way.embed(texts), 3)
    spent = (time.process_time() - spent) / (3 * len(texts))
    return passages_a_second, spent, 1000 * seconds(lambda: way.embed([QUESTION]), 50)


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
    texts = passages()
    counted = statistics.mean(TokenCounter().count(text) for text in texts)
    print(
        f"{len(texts)} passages of {counted:.0f} tokens, {threads} threads, load {os.getloadavg()[0]:.1f} at the start"
    )
    print(f"{'':24}{'passages/s':>12}{'undisturbed':>16}{'ms a question':>16}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "question"
        export(find_weights(), place)
        weights = find_weights()
        ways: list[tuple[str, Embeds]] = [
            (f"OpenVINO, {precision}", Runner(weights, place, Mode(precision, threads))) for precision in precisions()
        ]
        for name, way in [*ways, ("torch, f32", TorchRunner(weights, threads))]:
            speed, processor, wait = measure(way, texts)
            print(f"{name:24}{speed:12.1f}{threads / processor:16.1f}{wait:16.1f}")


if __name__ == "__main__":
    main()
