"""Looks into a model folder on a disk, says everything that stands against using it, and copies what is needed of it.

Copied are the files that are read, by their names, and nothing else: no pickle, no Python file, no link to somewhere else.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.backends import files
from rag.backends.embedders.description import TOKENIZER, WEIGHTS, Description, Incomplete, describe
from rag.backends.embedders.weights import Weights, find_weights
from rag.domain.errors import Permanent

_SETTINGS = (
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "README.md",
)
_LICENCES = re.compile(r"(?:LICEN[CS]E|COPYING|NOTICE)(?:\.(?:md|txt))?", re.IGNORECASE)
_CARD_LICENCE = re.compile(r"^license(?:_name)?:\s*(.+?)\s*$", re.MULTILINE)
_CARD_MOST = 1 << 20  # characters of a model card that are looked at
NO_LICENCE = "no licence is stated"


@dataclass(slots=True)
class Found:
    """What is in a folder. `weights` are None exactly when there are `problems`."""

    folder: Path
    weights: Weights | None = None
    description: Description | None = None
    problems: list[str] = field(default_factory=list)
    licence: str = NO_LICENCE  # as the model card says it, and the files that hold its words
    names: tuple[str, ...] = ()  # the files that are needed, relative to the folder
    left_behind: tuple[str, ...] = ()  # the others
    size: int = 0  # bytes that are needed

    def facts(self) -> dict[str, Any]:
        """How vectors are made, for whoever wants to know; JSON."""
        if self.description is None or self.weights is None:
            return {}
        return {
            "kind": self.description.kind,
            "pooling": self.weights.pooling,
            "normalised": self.description.normalised,
            "projections": len(self.weights.projections),
            "question_prompt": self.weights.question_prompt,
            "passage_prompt": self.weights.passage_prompt,
        }


def look_into(folder: Path) -> Found:
    """What the folder holds; a sentence in `problems` for each thing that stands against it. Opens nothing that could run."""
    folder = folder.expanduser().absolute()
    found = Found(folder)
    try:
        found.description = describe(folder)
        found.problems = found.description.problems
        if not found.problems:
            found.weights = find_weights(str(folder))
    except Incomplete as error:
        found.problems = [error.message]
        return found
    except Permanent as error:
        found.problems = [*found.problems, error.message]
    found.licence = _licence(folder)
    projections = [str(each.file.relative_to(folder)) for each in found.weights.projections] if found.weights else []
    found.names = tuple(
        name
        for name in (*_SETTINGS, WEIGHTS, *_of_modules(folder), *projections, *_licence_files(folder))
        if (folder / name).is_file()
    )
    found.size = sum((folder / name).stat().st_size for name in found.names)
    every = (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    found.left_behind = tuple(name for name in every if name not in found.names)
    return found


def copy(found: Found, target: Path) -> None:
    """Makes the new folder `target` of what is needed: whole or not at all. Raises Retryable on a full disk."""
    with files.new_folder(target) as sibling:
        for name in found.names:
            place = sibling / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found.folder / name, place)
            files.sync_file(place)
            if place.parent != sibling:
                files.sync_folder(place.parent)


def _of_modules(folder: Path) -> list[str]:
    """The settings of the modules behind the first, each in a folder such as 1_Pooling."""
    return [str(path.relative_to(folder)) for path in sorted(folder.glob("[0-9]*_*/config.json"))]


def _licence_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if _LICENCES.fullmatch(path.name))


def _licence(folder: Path) -> str:
    """What the model card states in its head, and which files hold a licence's words."""
    parts: list[str] = []
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            head, marks, _rest = file.read(_CARD_MOST).removeprefix("---").partition("\n---")
        parts = list(dict.fromkeys(_CARD_LICENCE.findall(head))) if marks else []
    parts += [f"file {name}" for name in _licence_files(folder)]
    return ", ".join(parts)[:200] or NO_LICENCE
