"""Embeds passages in the way that the self-test found fastest on this processor; see selftest.py.

Why float32 where nothing was measured: a container may start on another processor than its models were prepared on. The
exact way is slower and never wrong, and doctor says that `prepare` would make it faster.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rag.backends.embedders._runner import Mode, Runner
from rag.backends.embedders.base import Embedder, Identity
from rag.backends.embedders.openvino import require_export
from rag.backends.embedders.selftest import Measured, chosen
from rag.backends.embedders.weights import find_weights
from rag.domain.types import Vectors


class PassageEmbedder(Embedder):
    """`folder` is a model folder, by default the bundled weights; `export_folder` is what `export` made of it, with the
    self-test's record. `threads` 0 means one per core. `way` is how it works, None where that was not measured here.

    Safe to call from several threads. Raises `Permanent` naming the command that helps when the weights or their export
    are missing, altered or of another model.
    """

    def __init__(self, folder: str = "", export_folder: str = "", threads: int = 0) -> None:
        weights = find_weights(folder)
        self.name, self.digest = weights.name, weights.digest
        self.dimension, self.max_tokens = weights.dimension, weights.max_tokens
        self._prompts = weights.question_prompt, weights.passage_prompt
        require_export(weights, Path(export_folder))
        self.way: Measured | None = chosen(weights, Path(export_folder), threads)
        if self.way is not None and self.way.backend == "torch":
            from rag.backends.embedders.sentence_transformers import TorchRunner

            self._runner: _Runs = TorchRunner(weights, threads)
        else:
            self._runner = Runner(weights, Path(export_folder), self.way.mode if self.way else Mode(threads=threads))

    @classmethod
    def identity(cls, folder: str) -> Identity:
        return find_weights(folder).identity

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._runner.embed([self._prompts[1] + text for text in texts])

    def embed_question(self, text: str) -> Vectors:
        vector: Vectors = self._runner.embed([self._prompts[0] + text])[0]
        return vector


class _Runs(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors: ...
