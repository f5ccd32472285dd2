"""Question sets with known passages, in the BEIR layout: corpus, queries and judgements.

`corpus.jsonl[.gz]` {_id, title, text}, `queries.jsonl[.gz]` {_id, text} and `qrels.tsv` (query-id, corpus-id, score), the last two
in the folder itself, or in one below it that is named as the split ("dev", "test"), or judgements in `qrels/SPLIT.tsv`.
Beyond BEIR, a passage may say of which document it is (doc, start), and a question what was said before it (history), its right
answers in words (answers), and that nothing answers it (answerable, or a kind or answerability that says "unanswerable").
"""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("dev", "test", "")


@dataclass(frozen=True, slots=True)
class Text:
    """A passage of the corpus; `document` names the one that it was cut from, "" where it stands alone, `start` its place there."""

    id: str
    title: str
    text: str
    document: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its judged passages; `grades` may be empty, where nothing answers it. `history` holds
    the questions of the conversation before it with their answers, oldest first.

    `answerable` is None where the set does not tell; `answers` are the right ones in the set's own words, and `kind` is what it
    calls questions like this one.
    """

    id: str
    text: str
    grades: dict[str, float]
    history: tuple[tuple[str, str], ...] = ()
    answerable: bool | None = None
    answers: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus and the questions about it; `name` is its folder's."""

    name: str
    corpus: tuple[Text, ...]
    questions: tuple[Question, ...]

    @property
    def answerable(self) -> tuple[Question, ...]:
        """The questions that some passage answers: what ranking is measured on."""
        return tuple(question for question in self.questions if any(grade > 0 for grade in question.grades.values()))


def is_dataset(folder: Path) -> bool:
    """Whether the folder holds a corpus in this layout."""
    return _one_of(folder, "corpus") is not None


def find(folder: Path) -> list[Path]:
    """The data sets at or below `folder`, in the order of their paths."""
    if is_dataset(folder):
        return [folder]
    return sorted(
        {file.parent for file in folder.rglob("corpus.jsonl*") if file.name in {"corpus.jsonl", "corpus.jsonl.gz"}}
    )


def load(folder: Path, *, root: Path | None = None) -> Dataset:
    """The data set in `folder`; its name is the path below `root`. Raises ValueError with a sentence when a part is missing."""
    corpus = _one_of(folder, "corpus")
    if corpus is None:
        raise ValueError(f"There is no corpus.jsonl in {folder}.")
    for split in SPLITS:
        queries, judgements = _one_of(folder / split, "queries"), _judgements(folder, split)
        if queries is not None and judgements is not None:
            break
    else:
        queries = queries or _one_of(folder, "queries")
        judgements = next((found for split in SPLITS if (found := _judgements(folder, split))), None)
        if queries is None or judgements is None:
            raise ValueError(f"There are no queries.jsonl and qrels.tsv in {folder}.")
    grades = _grades(judgements)
    name = folder.relative_to(root).as_posix() if root and folder != root else folder.name
    return Dataset(
        name,
        texts(corpus),
        tuple(
            _question(row, grades.get(str(row["_id"]), {}))
            for row in _rows(queries)
            if str(row["_id"]) in grades or queries.parent != folder
        ),
    )


def texts(file: Path) -> tuple[Text, ...]:
    """The texts of a JSON-lines file, packed or not. Raises ValueError with a sentence at a line that holds none."""
    return tuple(map(_text, _rows(file)))


def _text(row: dict[str, Any]) -> Text:
    return Text(
        str(row["_id"]), str(row.get("title") or ""), str(row["text"]), str(row.get("doc") or ""), row.get("start") or 0
    )


def _question(row: dict[str, Any], grades: dict[str, float]) -> Question:
    return Question(
        str(row["_id"]),
        str(row["text"]),
        grades,
        _history(row),
        answerable=_answerable(row, grades),
        answers=tuple(str(answer) for answer in row.get("answers") or ()),
        kind=str(row.get("kind") or ""),
    )


def _answerable(row: dict[str, Any], grades: dict[str, float]) -> bool | None:
    """What the set says in so many words, or that it names an answering passage; None where it does neither."""
    said = row.get("answerable")
    if isinstance(said, bool):
        return said
    if any(str(row.get(name) or "").casefold().split("-")[-1] == "unanswerable" for name in ("kind", "answerability")):
        return False
    return True if any(grade > 0 for grade in grades.values()) else None


def _history(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Each question with what was answered next, "" where nothing was."""
    turns: list[tuple[str, str]] = []
    for turn in row.get("history") or ():
        text = str(turn["text"])
        if turn["speaker"] == "user":
            turns.append((text, ""))
        elif turns:
            question, answer = turns[-1]
            turns[-1] = (question, f"{answer}\n{text}".strip())
    return tuple(turns)


def _one_of(folder: Path, stem: str) -> Path | None:
    return next(
        (file for suffix in (".jsonl", ".jsonl.gz") if (file := folder / f"{stem}{suffix}").is_file()),
        None,
    )


def _judgements(folder: Path, split: str) -> Path | None:
    places = (folder / split / "qrels.tsv", folder / "qrels" / f"{split or 'test'}.tsv")
    return next((file for file in places if file.is_file()), None)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict) or "_id" not in row or "text" not in row:
                raise ValueError(f"Line {number} of {file.name} has no _id or no text.")
            yield row


def _grades(file: Path) -> dict[str, dict[str, float]]:
    grades: dict[str, dict[str, float]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t"):
            if len(row) >= 3 and row[0] != "query-id":
                grades.setdefault(row[0], {})[row[1]] = float(row[2])
    return grades
