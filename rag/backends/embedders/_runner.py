"""Runs the exported weights with OpenVINO: token ids in, unit vectors out.

Why the two names in `sys.modules`: `import openvino` imports its model converter, which reports the import to its maker
over the network and writes a user id into the home folder. The converter is not needed, and no host is to be asked.
"""

import os
import queue
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.backends.embedders.weights import Weights
from rag.domain.types import Vectors

MODEL = "model.xml"
DATA = "model.bin"

_BATCH_TOKENS = 2048  # more would be padded more, and need more memory; fewer would not occupy the processor
_GROUP = 64  # numbers that share a scale in a quantised matrix, and in what it is multiplied by

Precision = Literal["f32", "bf16", "f16", "int8"]


@dataclass(frozen=True, slots=True)
class Mode:
    """How exactly the weights are run, by how many threads, in how many streams that work side by side.

    int8 quantises the two large matrices of each layer, four fifths of the work; the rest runs as the processor likes best.
    """

    precision: Precision = "f32"
    threads: int = 0  # 0: one per core
    streams: int = 1


class Runner:
    """The exported model, ready to run, with its tokenizer. Safe to call from several threads."""

    def __init__(self, weights: Weights, export_folder: Path, mode: Mode) -> None:
        from tokenizers import Tokenizer

        self._weights = weights
        self.tokenizer = Tokenizer.from_file(str(weights.folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length=weights.max_tokens)
        self.tokenizer.no_padding()
        core = openvino_runtime().Core()
        # The weights stay in the file, mapped into memory, as far as the processor can use them in place.
        model = core.read_model(str(export_folder / MODEL))
        if mode.precision == "int8":
            _quantise(model)
        compiled = core.compile_model(model, "CPU", _settings(mode))
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(mode.streams):
            self._requests.put(compiled.create_infer_request())
        self._projections = [(*each.load(), each.activation) for each in weights.projections]
        self._streams = mode.streams

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimension), unit length, in the order of `texts`; longer texts are cut."""
        vectors = np.empty((len(texts), self._weights.dimension), dtype=np.float32)
        # One by one: a batch would start threads of the tokenizer's own beside everybody else's.
        tokens = [self.tokenizer.encode(text).ids for text in texts]

        def run(places: list[int]) -> None:
            vectors[places] = self._run([tokens[place] for place in places])

        batches = list(_batches([len(ids) for ids in tokens], self._streams))
        if self._streams == 1 or len(batches) == 1:
            for places in batches:
                run(places)
        else:
            with ThreadPoolExecutor(self._streams) as pool:
                list(pool.map(run, batches))
        return vectors

    def _run(self, tokens: list[list[int]]) -> Vectors:
        # Never beyond what the model has positions for.
        length = min(_padded(max(map(len, tokens))), self._weights.max_tokens)
        ids = np.full((len(tokens), length), self._weights.padding, dtype=np.int64)
        mask = np.zeros((len(tokens), length), dtype=np.int64)
        for row, numbers in enumerate(tokens):
            ids[row, : len(numbers)] = numbers
            mask[row, : len(numbers)] = 1
        request = self._requests.get()
        try:
            request.infer({"input_ids": ids, "attention_mask": mask})
            # A view into the request's own memory: done with before the request is given up.
            states = request.get_output_tensor(0).data
            if self._weights.pooling == "cls":
                pooled = states[:, 0].copy()
            else:
                kept = mask.astype(np.float32)
                pooled = np.einsum("bsd,bs->bd", states, kept) / kept.sum(axis=1, keepdims=True)
        finally:
            self._requests.put(request)
        for matrix, bias, activation in self._projections:
            pooled = pooled @ matrix.T
            if bias is not None:
                pooled += bias
            if activation == "tanh":
                np.tanh(pooled, out=pooled)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        return np.asarray(pooled, dtype=np.float32)


def precisions() -> tuple[Precision, ...]:
    """The precisions that may be worth trying on this processor, the exact one first."""
    core = openvino_runtime().Core()
    names: dict[str, Precision] = {"bf16": "bf16", "f16": "f16"}
    preferred = names.get(core.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name())
    found: list[Precision] = ["f32", preferred] if preferred else ["f32"]
    if "INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found.append("int8")
    return tuple(found)


def threads_of(threads: int) -> int:
    """How many threads a setting of `threads` means here."""
    return threads or os.cpu_count() or 1


def openvino_runtime() -> Any:
    """The OpenVINO runtime, imported without its converter and without telemetry."""
    for name in ("openvino_telemetry", "openvino.tools.ovc"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes an import of it fail
    import openvino

    return openvino


def _settings(mode: Mode) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if mode.streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": str(mode.streams),
        "INFERENCE_NUM_THREADS": threads_of(mode.threads),
        # Pinned threads of several processes would meet on the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    if mode.precision == "int8":
        return settings | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP)}
    return settings | {"INFERENCE_PRECISION_HINT": mode.precision}


def _quantise(model: Any) -> None:
    """Replaces the matrices that widen and narrow the states by whole numbers of eight bits and a scale for each group.

    OpenVINO then quantises what they are multiplied by while it runs. The matrices of the attention stay: they are a
    fifth of the work and most of the error.
    """
    openvino_runtime()
    from openvino import opset13 as op

    for node in model.get_ordered_ops():
        weights = node.input_value(1).get_node() if node.get_type_name() == "MatMul" else None
        if weights is None or weights.get_type_name() != "Constant" or node.get_attributes()["transpose_b"]:
            continue
        matrix = weights.get_data().T
        outputs, inputs = matrix.shape
        if outputs == inputs or inputs % _GROUP:
            continue
        groups = matrix.reshape(outputs, inputs // _GROUP, _GROUP)
        scales = np.maximum(np.abs(groups).max(axis=2, keepdims=True) / 127, np.finfo(np.float32).tiny)
        numbers = op.convert(op.constant(np.round(groups / scales).astype(np.int8)), "f32")
        product = op.multiply(numbers, op.constant(scales.astype(np.float32)))
        whole = op.reshape(product, op.constant(np.array([outputs, inputs])), special_zero=False)
        node.output(0).replace(op.matmul(node.input_value(0), whole, transpose_a=False, transpose_b=True).output(0))


def _batches(lengths: list[int], streams: int) -> Iterator[list[int]]:
    """Places in batches of similar length, so that little is spent on padding; each at most `_BATCH_TOKENS`, padded, and a share
    of the whole for each stream where that is less."""
    most = min(_BATCH_TOKENS, -(-sum(map(_padded, lengths)) // streams))
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and _padded(lengths[batch[0]]) * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _padded(length: int) -> int:
    # OpenVINO prepares itself for each new shape and remembers it: few shapes, little memory.
    step = 8 if length <= 64 else 16
    return -(-length // step) * step
