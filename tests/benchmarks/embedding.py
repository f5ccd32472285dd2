"""How fast this machine embeds, torch and OpenVINO side by side: `python -m tests.benchmarks.embedding [threads]`."""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rag.backends.embedders.base import Embedder
from rag.backends.embedders.openvino import OpenVinoEmbedder, export
from rag.backends.embedders.samples import SAMPLES
from rag.backends.embedders.sentence_transformers import SentenceTransformersEmbedder
from rag.backends.embedders.tokens import TokenCounter
from rag.backends.embedders.weights import find_weights

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


def measure(embedder: Embedder, texts: list[str]) -> tuple[float, float]:
    """Passages a second, and milliseconds a question."""
    embedder.embed_passages(texts[:16])
    embedder.embed_question(QUESTION)
    passages_a_second = len(texts) / seconds(lambda: embedder.embed_passages(texts), 3)
    return passages_a_second, 1000 * seconds(lambda: embedder.embed_question(QUESTION), 50)


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
    texts = passages()
    counted = statistics.mean(TokenCounter().count(text) for text in texts)
    print(
        f"{len(texts)} passages of {counted:.0f} tokens, {threads} threads, load {os.getloadavg()[0]:.1f} at the start"
    )
    print(f"{'':24}{'passages/s':>12}{'ms a question':>16}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "question"
        export(find_weights(), place)
        openvino = OpenVinoEmbedder(export_folder=str(place), threads=threads)
        for name, embedder in (
            ("OpenVINO, float32", openvino),
            ("torch, float32", SentenceTransformersEmbedder(threads=threads)),
        ):
            speed, wait = measure(embedder, texts)
            print(f"{name:24}{speed:12.1f}{wait:16.1f}")


if __name__ == "__main__":
    main()
