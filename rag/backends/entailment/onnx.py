"""Judges with a sequence classifier in ONNX, from a folder on this machine: no torch, no network, no code of the model's own.

Why ONNX: the process that writes answers must never load torch, and OpenVINO, which embeds the questions there, reads ONNX as it is.
"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from rag.backends.entailment.base import Entailment
from rag.backends.files import sha256
from rag.backends.openvino import openvino
from rag.domain.errors import Permanent

_PLACES = ("model.onnx", "onnx/model.onnx")  # as models are published
_TOKENS_MOST = 512


class OnnxEntailment(Entailment):
    """`folder` holds config.json with labels for entailment and contradiction, tokenizer.json and model.onnx.

    Making one reads the folder's settings; the first `judge` loads the weights. Safe to call from several threads, which wait for
    each other. `threads` 0 means one per core. Raises `Permanent` when the folder holds no such model.
    """

    def __init__(self, folder: str, threads: int = 0) -> None:
        self._folder = Path(folder).expanduser().resolve()
        self.name = self._folder.name
        config = _config(self._folder)
        self._entails, self._contradicts = _labels(config, self._folder)
        self._weights = next((self._folder / place for place in _PLACES if (self._folder / place).is_file()), None)
        if self._weights is None or not (self._folder / "tokenizer.json").is_file():
            raise Permanent(f"{self._folder} holds no entailment model: model.onnx and tokenizer.json are needed.")
        parts = [(path.name, sha256(path)) for path in (self._weights, self._folder / "tokenizer.json")]
        self.digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        places = config.get("max_position_embeddings")
        # RoBERTa and its kin count places from behind the padding's.
        unused = 2 if "roberta" in str(config.get("model_type")) else 0
        self._tokens = min(_TOKENS_MOST, places - unused) if isinstance(places, int) and places > 2 else _TOKENS_MOST
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def judge(self, premise: str, hypothesis: str) -> tuple[float, float]:
        with self._lock:
            tokenizer, request = self._load()
            encoded = tokenizer.encode(premise, hypothesis)
            values = {
                "input_ids": encoded.ids,
                "attention_mask": encoded.attention_mask,
                "token_type_ids": encoded.type_ids,
            }
            named = [name for each in request.model_inputs for name in each.names if name in values]
            request.infer({name: np.array([values[name]], dtype=np.int64) for name in named})
            logits = np.array(request.get_output_tensor(0).data[0], dtype=np.float64)
        if not np.isfinite(logits).all():
            raise Permanent(f"The entailment model {self.name} gives scores that are no numbers.")
        likely = np.exp(logits - logits.max())
        likely /= likely.sum()
        return float(likely[self._entails]), float(likely[self._contradicts])

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            tokenizer.no_padding()
            # Of a long passage the end is cut, never the sentence.
            tokenizer.enable_truncation(max_length=self._tokens, strategy="only_first")
            settings = {"PERFORMANCE_HINT": "LATENCY"} | (
                {"INFERENCE_NUM_THREADS": str(self._threads)} if self._threads else {}
            )
            core = openvino().Core()
            compiled = core.compile_model(core.read_model(str(self._weights)), "CPU", settings)
            self._loaded = tokenizer, compiled.create_infer_request()
        return self._loaded


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Permanent(f"{folder} holds no entailment model ({type(error).__name__}).") from error
    if not isinstance(config, dict):
        raise Permanent(f"{folder} holds no entailment model: its config.json is no object.")
    return config


def _labels(config: dict[str, Any], folder: Path) -> tuple[int, int]:
    """The places of "entailment" and "contradiction" among the model's outputs."""
    labels = config.get("id2label")
    named = {str(name).casefold(): int(place) for place, name in labels.items()} if isinstance(labels, dict) else {}
    found = [
        next((at for name, at in named.items() if name.startswith(kind)), None) for kind in ("entail", "contradict")
    ]
    if found[0] is None or found[1] is None:
        raise Permanent(f"The model in {folder} is no entailment model: its labels are {sorted(named) or 'not named'}.")
    return found[0], found[1]
