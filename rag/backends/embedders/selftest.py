"""Which way of running the weights embeds passages fastest on this processor and is exact enough: measured, and written down.

Exact enough is what finds the same passages: for the texts of the self-test, at least LEAST_AGREEMENT of the ten nearest to
each question are the ten that float32 finds. Only then may the vectors carry the digest of the weights and be compared with
those of any other machine. What is less exact than another must also be faster by MARGIN.

Why processor time: at the moment of the installation a machine does many things, and all the ways share it. Whether several
streams finish sooner than one can only be seen on the clock.
Why not torch in bfloat16: on the processors that have it OpenVINO is faster in the same format (48 passages against 38).
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.backends import files
from rag.backends.embedders._runner import Mode, Precision, Runner, precisions, threads_of
from rag.backends.embedders.weights import Weights
from rag.backends.errors import Damaged
from rag.domain.types import Vectors

RECORD = "passages.json"  # in the folder of the export: another export is measured anew
KIND = "passages/1"
LEAST_AGREEMENT = 0.98
NEAREST = 10
MARGIN = 1.25
_KEPT = 20  # earlier choices that are remembered
_STREAM_THREADS = 4  # threads of one stream, where there are enough of them for several
_WARM = 8  # passages before the clock starts
_TORCH = 48  # passages that torch embeds: its vectors were compared when the weights were exported, and it is slow
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")

Backend = Literal["openvino", "torch"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of running the weights: `speed` in passages a second with all threads, `agreement` from 0 to 1."""

    backend: Backend
    precision: Precision
    threads: int
    streams: int
    speed: float
    agreement: float

    @property
    def mode(self) -> Mode:
        return Mode(self.precision, self.threads, self.streams)


def chosen(weights: Weights, export_folder: Path, threads: int) -> Measured | None:
    """What was measured to be best on this processor with these versions; None where that was not measured yet."""
    found = _record(weights, export_folder)["machines"].get(machine(threads))
    if found is None or found["versions"] != _versions():
        return None
    return Measured(**found["chosen"])


def choose(
    weights: Weights, export_folder: Path, threads: int, *, passages: Sequence[str], questions: Sequence[str]
) -> Measured:
    """Measures all ways with these texts, in some ten seconds, writes down the best and gives it. Imports torch."""
    passages = [weights.passage_prompt + text for text in passages]
    questions = [weights.question_prompt + text for text in questions]
    measured = _measure(weights, export_folder, threads_of(threads), passages, questions)
    best = _best(measured)
    record = _record(weights, export_folder)
    here = machine(threads)
    if (before := record["machines"].get(here)) is not None:
        record["earlier"] = [*record["earlier"], {"machine": here, **before}][-_KEPT:]
    record["machines"][here] = {
        "chosen": asdict(best),
        "measured": [asdict(way) for way in measured],
        "passages": len(passages),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
    }
    files.seal(export_folder, record, RECORD)
    return best


def machine(threads: int) -> str:
    """This processor as far as it decides the choice: its name, what it can do, and how many threads are used."""
    name, flags = platform.processor() or platform.machine(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags = value if key.strip().lower() in {"flags", "features"} else flags
    except OSError:  # not Linux: the name has to do
        flags = ""
    able = [flag for flag in _FLAGS if flag in flags.split()]
    return ", ".join([name, *able, f"{threads_of(threads)} threads"])


def _record(weights: Weights, export_folder: Path) -> dict[str, Any]:
    """What was written down for these weights; an empty record where there is none, or it cannot be read."""
    try:
        record = files.unseal(export_folder, RECORD)
        if record["kind"] == KIND and record["weights"] == weights.digest:
            return record
    except (Damaged, KeyError):
        pass  # measured anew: nothing but ten seconds is lost
    return {"kind": KIND, "weights": weights.digest, "machines": {}, "earlier": []}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("openvino", "torch")}


def _measure(
    weights: Weights, export_folder: Path, threads: int, passages: list[str], questions: list[str]
) -> list[Measured]:
    modes = [Mode(precision, threads) for precision in precisions()]
    wanted: list[Vectors] = []
    found: list[Measured] = []
    for mode in modes:
        runner = Runner(weights, export_folder, mode)
        vectors, speed = _timed(runner.embed, passages, threads)
        if not wanted:
            wanted = [runner.embed(questions), vectors]
        agreement = agreement_of(wanted[0], wanted[1], vectors)
        found.append(Measured("openvino", mode.precision, threads, 1, speed, agreement))
    if threads >= 2 * _STREAM_THREADS:
        found.append(_in_streams(weights, export_folder, _best(found), passages))
    from rag.backends.embedders.sentence_transformers import TorchRunner

    some = passages[:_TORCH]
    vectors, speed = _timed(TorchRunner(weights, threads).embed, some, threads)
    found.append(Measured("torch", "f32", threads, 1, speed, agreement_of(wanted[0], wanted[1][: len(some)], vectors)))
    return found


def _best(measured: list[Measured]) -> Measured:
    """The fastest of those that agree; one that is less exact than a slower one must be faster by MARGIN."""
    fit = sorted((way for way in measured if way.agreement >= LEAST_AGREEMENT), key=lambda way: -way.agreement)
    best = fit[0]  # float32 agrees with itself
    for way in fit[1:]:
        if way.speed > best.speed * MARGIN:
            best = way
    return best


def agreement_of(questions: Vectors, wanted: Vectors, passages: Vectors) -> float:
    """The share of each question's ten nearest among `wanted` that are among its ten nearest of `passages`, on average."""
    nearest = [
        np.argsort(-(questions @ vectors.T), axis=1, kind="stable")[:, :NEAREST] for vectors in (wanted, passages)
    ]
    shared = [len(set(first) & set(second)) for first, second in zip(*nearest, strict=True)]
    return round(sum(shared) / nearest[0].size, 4)


def _timed(embed: Callable[[list[str]], Vectors], passages: list[str], threads: int) -> tuple[Vectors, float]:
    """The vectors, and passages a second as if all threads had worked all the time."""
    embed(passages[:_WARM])
    began = time.process_time()
    vectors = embed(passages)
    return vectors, round(threads * len(passages) / (time.process_time() - began), 1)


def _in_streams(weights: Weights, export_folder: Path, best: Measured, passages: list[str]) -> Measured:
    """`best`, in several streams if they finish sooner than one. Each round gives both their turn."""
    streams = best.threads // _STREAM_THREADS
    seconds: dict[int, list[float]] = {1: [], streams: []}
    runners = {count: Runner(weights, export_folder, Mode(best.precision, best.threads, count)) for count in seconds}
    for _ in range(3):
        for count, runner in runners.items():
            began = time.perf_counter()
            runner.embed(passages)
            seconds[count].append(time.perf_counter() - began)
    gain = min(seconds[1]) / min(seconds[streams])
    return Measured("openvino", best.precision, best.threads, streams, round(best.speed * gain, 1), best.agreement)
