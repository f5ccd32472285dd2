"""Reranks with a cross-encoder of sentence-transformers, from a folder on this machine, offline.

Why torch in the process that searches: such a model judges pairs, which no index can hold; only whoever names a folder pays for it.
"""

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.backends.files import sha256
from rag.backends.rerankers.base import Reranker
from rag.domain.errors import Permanent

WEIGHTS = "model.safetensors"  # and no pickle, which could run code
_DECIDING = ("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)
_BATCH = 16
_TOKENS_MOST = 512


class CrossEncoderReranker(Reranker):
    """`folder` holds a model with one score for a pair, its tokenizer and model.safetensors; `threads` 0 means one per core.

    Making one reads the folder's settings; the first `score` loads the weights, which takes seconds. Safe to call from several
    threads. Raises `Permanent` when the folder holds no such model or wants code of its own to be run.
    """

    def __init__(self, folder: str, threads: int = 0) -> None:
        self._folder = Path(folder).expanduser().resolve()
        self.name = self._folder.name
        config = _config(self._folder)
        self.digest = _digest(self._folder)
        self._tokens = _tokens(config)
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        if not passages:
            return []
        with self._lock:  # torch's threads would only get into each other's way
            scores = self._loaded().predict(
                [(question, passage) for passage in passages],
                batch_size=_BATCH,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        found = np.asarray(scores, dtype=np.float64).reshape(len(passages))
        if not np.isfinite(found).all():
            raise Permanent(f"The reranking model {self.name} gives scores that are no numbers.")
        return [float(score) for score in found]

    def _loaded(self) -> Any:
        if self._model is None:
            _go_offline()
            import torch
            from sentence_transformers import CrossEncoder

            torch.set_num_threads(self._threads or os.cpu_count() or 1)
            self._model = CrossEncoder(
                str(self._folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                max_length=self._tokens,
            )
        return self._model


def _go_offline() -> None:
    """From here on no library of this process asks the model hub for anything, whatever the environment says."""
    import huggingface_hub.constants as hub
    from transformers.utils.logging import disable_progress_bar

    hub.HF_HUB_OFFLINE = hub.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bar()


def _config(folder: Path) -> dict[str, Any]:
    """The model's own settings; raises `Permanent` for a model that cannot be used."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Permanent(f"{folder} holds no reranking model ({type(error).__name__}).") from error
    if not isinstance(config, dict) or not (folder / WEIGHTS).is_file():
        raise Permanent(f"{folder} holds no reranking model: {WEIGHTS} is missing.")
    if "auto_map" in config:
        raise Permanent(f"The reranking model in {folder} wants to run code of its own, which is never done.")
    labels = config.get("id2label")
    outputs = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    if outputs != 1:
        raise Permanent(f"The model in {folder} is no reranker: it gives {outputs} scores for a pair instead of one.")
    return config


def _digest(folder: Path) -> str:
    """What names everything that decides the scores."""
    parts = [(name, sha256(folder / name)) for name in _DECIDING if (folder / name).is_file()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _tokens(config: dict[str, Any]) -> int:
    """The most tokens of a pair that the model reads: it would fail on one that is not cut."""
    places = config.get("max_position_embeddings")
    if not isinstance(places, int) or places <= 0:
        return _TOKENS_MOST
    # RoBERTa and its kin count places from behind the padding's.
    unused = int(config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
    return min(_TOKENS_MOST, places - unused)
