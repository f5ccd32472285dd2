"""What is known of a folder of files, and how a reading is held against it.

A manifest (`manifest.jsonl`) has one object a line: `file` (its path), and where known `must_contain` (texts that a right
reading gives), `password`, `special` (what the file is for). `NAME.reference.txt` beside `NAME.pdf` is its whole text.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

MANIFEST = "manifest.jsonl"
_WORD = re.compile(r"\w+")
# Folders by what their files are for; all others must be read.
PROTECTED, DAMAGED = ("encrypted",), ("malformed", "malformed_handbuilt")


@dataclass(frozen=True, slots=True)
class Expected:
    """One file and what is known of it. `folder` is the first part of its path, or "" at the top."""

    file: Path
    folder: str
    must_contain: tuple[str, ...] = ()
    password: str = ""
    special: str = ""
    reference: Path | None = None


def expected(folder: Path) -> list[Expected]:
    """The files below `folder` in the order of their paths: those of its manifest, or all where it has none.

    Raises ValueError when the manifest has a line that is not an object with a `file`.
    """
    return sorted(_listed(folder), key=lambda item: item.file)


def _listed(folder: Path) -> Iterator[Expected]:
    manifest = folder / MANIFEST
    if not manifest.is_file():
        for file in folder.rglob("*"):
            if file.is_file() and not file.name.startswith("."):
                yield _known(folder, file.relative_to(folder).as_posix(), {})
        return
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), 1):
        entry = json.loads(line) if line.strip() else None
        if entry is None:
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise ValueError(f"line {number} of {manifest.name} names no file")
        yield _known(folder, entry["file"], entry)


def _known(folder: Path, name: str, entry: dict[str, object]) -> Expected:
    file = folder / name
    texts = entry.get("must_contain")
    reference = file.with_suffix(".reference.txt")
    return Expected(
        file,
        name.partition("/")[0] if "/" in name else "",
        tuple(str(text) for text in texts) if isinstance(texts, list) else (),
        str(entry.get("password") or ""),
        str(entry.get("special") or ""),
        reference if reference.is_file() else None,
    )


def letters(text: str) -> str:
    """Letters and digits alone, in lower case and compatibility form: readers differ in blanks, quotes and ligatures."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", text).lower() if letter.isalnum())


def words(text: str) -> list[str]:
    """The words in lower case and compatibility form, in order."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much of a reference was read: the share of its words, and of its pairs of neighbouring words (order), 0 to 1."""

    words: float
    order: float


def likeness(reference: str, text: str) -> Likeness:
    """`text` held against the whole right text; words that come several times must come as often."""
    right, read = words(reference), words(text)
    return Likeness(_share(Counter(right), Counter(read)), _share(Counter(pairwise(right)), Counter(pairwise(read))))


def _share(right: "Counter[Any]", read: "Counter[Any]") -> float:
    total = right.total()
    return (right & read).total() / total if total else 1.0
