"""Embeds with OpenVINO from the same weights, exported once: no torch, a quarter of the memory, 3 ms a question.

`export` runs once, in a process that has torch, and keeps its result only when it agrees with sentence-transformers.
`OpenVinoEmbedder` then gives vectors that may be compared with theirs, so both carry the same digest.

Why float32: where the processor has bfloat16 OpenVINO would use it, twice as fast, but a question is one text.
Passages may be run faster where that is exact enough: see passages.py.
Why as many streams as threads: a question is too short to be shared out. One thread takes it 6 ms, two take 8; two questions side by
side on two threads make 180 a second where one after another makes 110. A stream more costs 8 MB.
"""

import shutil
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rag.backends import files
from rag.backends.embedders._runner import DATA, MODEL, Mode, Runner, openvino_runtime, threads_of
from rag.backends.embedders.base import Embedder, Identity
from rag.backends.embedders.samples import SAMPLES
from rag.backends.embedders.tokens import fluency
from rag.backends.embedders.weights import Weights, find_weights
from rag.backends.errors import Damaged
from rag.domain.errors import Permanent
from rag.domain.types import Vectors

KIND = "openvino/1"
MOST_STREAMS = 4  # 700 questions a second: more than the rest of a search allows
LEAST_AGREEMENT = 0.999  # cosine with sentence-transformers, for the worst of the samples

_MISSING = "The embedding model is not prepared for answering. Run `python3 manage.py prepare`."


class NotExportable(Permanent):
    """The weights cannot be exported, or would give other vectors; torch can still run them."""


class OpenVinoEmbedder(Embedder):
    """`folder` is a model folder, by default the bundled weights; `export_folder` is what `export` made of it.

    `threads` 0 means one per core, at most MOST_STREAMS; so many texts are embedded side by side, each by one thread. Safe to
    call from several threads. Raises `Permanent` naming the command that helps when the weights or their export are missing,
    altered or of another model.
    """

    def __init__(self, folder: str = "", export_folder: str = "", threads: int = 0) -> None:
        weights = find_weights(folder)
        self.name, self.digest = weights.name, weights.digest
        self.dimension, self.max_tokens = weights.dimension, weights.max_tokens
        self._prompts = weights.question_prompt, weights.passage_prompt
        require_export(weights, Path(export_folder))
        streams = min(threads_of(threads), MOST_STREAMS)
        self._runner = Runner(weights, Path(export_folder), Mode(threads=streams, streams=streams))

    @classmethod
    def identity(cls, folder: str) -> Identity:
        return find_weights(folder).identity

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._runner.embed([self._prompts[1] + text for text in texts])

    def embed_question(self, text: str) -> Vectors:
        vector: Vectors = self._runner.embed([self._prompts[0] + text])[0]
        return vector

    def fluency(self, text: str) -> float:
        return fluency(self._runner.tokenizer, text)


def is_exported(weights: Weights, export_folder: Path) -> bool:
    """Whether `export_folder` holds a whole export of just these weights."""
    try:
        require_export(weights, export_folder)
    except Permanent:
        return False
    return True


def export(weights: Weights, export_folder: Path) -> None:
    """Makes `export_folder` from `weights`, unless it is there already. Takes some ten seconds and imports torch.

    Raises `NotExportable` when that fails or the exported model does not agree with sentence-transformers, `Permanent` when
    the weights do not fit their own description, `Retryable` on a full disk.
    """
    if is_exported(weights, export_folder):
        return
    discarded = export_folder.with_name(f".{export_folder.name}.old{files.PARTIAL}")
    shutil.rmtree(discarded, ignore_errors=True)
    if export_folder.exists():
        export_folder.rename(discarded)
    with files.new_folder(export_folder) as sibling:
        _convert(weights, sibling)
        agreement = _agreement(weights, sibling)
        if agreement < LEAST_AGREEMENT:
            raise NotExportable(
                f"The embedding model {weights.name} gives other vectors after its export (cosine {agreement:.4f})."
            )
        meta = {
            "kind": KIND,
            "weights": weights.digest,
            "agreement": round(agreement, 6),
            "sums": {name: files.sha256(sibling / name) for name in (MODEL, DATA)},
            "versions": {
                name: version(name) for name in ("torch", "transformers", "sentence-transformers", "openvino")
            },
        }
        files.seal(sibling, meta)
    shutil.rmtree(discarded, ignore_errors=True)


def require_export(weights: Weights, export_folder: Path) -> None:
    """Raises `Permanent` naming the command that helps unless the export is there, whole, and of these weights."""
    try:
        meta = files.unseal(export_folder)
        current = meta.get("kind") == KIND and meta.get("weights") == weights.digest
        if not current or meta.get("sums") != {name: files.sha256(export_folder / name) for name in (MODEL, DATA)}:
            raise Damaged("the export is of other weights or has been altered")
    except (Damaged, OSError) as error:
        raise Permanent(_MISSING) from error


def _convert(weights: Weights, folder: Path) -> None:
    """Writes model.xml and model.bin; takes token ids and attention mask, gives the last hidden states."""
    from rag.backends.embedders.sentence_transformers import go_offline

    go_offline()
    import torch
    from transformers import AutoModel

    model, loaded = AutoModel.from_pretrained(
        str(weights.folder),
        attn_implementation="eager",
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    # What is missing would be made up at random. The pooler, which many models leave out, is not used.
    made_up = [name for name in (*loaded["missing_keys"], *loaded["mismatched_keys"]) if "pooler" not in str(name)]
    if made_up:
        raise Permanent(
            f"The weights of {weights.name} do not fit its config.json: {len(made_up)} of them are missing."
        )
    model.eval()

    class LastStates(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    names = ["input_ids", "attention_mask"]
    example = torch.ones((2, 16), dtype=torch.long)
    onnx = folder / "model.onnx"
    with warnings.catch_warnings():
        # The tracer warns of what depends on the example's shape; the comparison that follows would show it.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                LastStates(),
                (example, example),
                str(onnx),
                input_names=names,
                output_names=["states"],
                dynamic_axes={name: {0: "batch", 1: "tokens"} for name in (*names, "states")},
                opset_version=17,
                dynamo=False,
            )
        except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
            raise NotExportable(
                f"The embedding model {weights.name} cannot be exported ({type(error).__name__})."
            ) from error
    openvino = openvino_runtime()
    # OpenVINO's own format can be mapped from the file; an ONNX file is copied into every process that opens it.
    openvino.save_model(openvino.Core().read_model(str(onnx)), str(folder / MODEL), compress_to_fp16=False)
    onnx.unlink()


def _agreement(weights: Weights, folder: Path) -> float:
    """The smallest cosine between the two ways of embedding the samples, alone and in batches."""
    from rag.backends.embedders.sentence_transformers import load_model

    model, runner = load_model(weights), Runner(weights, folder, Mode())
    wanted = model.encode(list(SAMPLES), prompt="", normalize_embeddings=True, show_progress_bar=False)
    alone = np.vstack([runner.embed([text]) for text in SAMPLES])
    together = runner.embed(SAMPLES)
    return float(min((wanted * alone).sum(axis=1).min(), (wanted * together).sum(axis=1).min()))
