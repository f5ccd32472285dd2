"""Measures how documents are cut: whole texts go through the real chunker, and what is found is compared with the very
characters that answer.

A set of whole texts holds `documents.jsonl[.gz]` {_id, title, text} and, beside its questions, `spans.tsv` (query-id, doc-id,
start, end): LegalBench-RAG's way of judging (Pipitone and Alami 2024), which is the same for passages of any size.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np

from rag.domain import naming
from rag.domain.chunking import Sizes, chunk, context_header
from rag.domain.surroundings import room
from rag.domain.types import Page
from rag.evaluation import datasets
from rag.evaluation.filling import Filled, Prepared, VectorCache, fill
from rag.evaluation.retrieval import MAIN, SHOWN, Asked, Found, measure
from rag.services.retrieve import SOURCES, search
from rag.services.surroundings import widened
from rag.slots import token_counter

Span = tuple[str, int, int]  # a document's id, and code points [start, end) of its text

CARRIES = 40  # characters of an answering stretch from which a passage counts as carrying it
ROOM = 6_000  # characters that a small model's context has for passages
CONTEXT, ANSWER = 4096, 512  # tokens: what is asked of a model where nothing else is set


class Header(StrEnum):
    """What is embedded in front of a passage."""

    WITHOUT = "without"  # nothing
    WITH = "with"  # the document's title and the path of headings
    NAMES = "names"  # the title, and the parties and dates at the document's head


@dataclass(frozen=True, slots=True)
class Whole:
    """Documents as they are, and questions with the stretches that answer them."""

    documents: tuple[datasets.Text, ...]
    questions: tuple[tuple[datasets.Question, tuple[Span, ...]], ...]


@dataclass(frozen=True)
class Cut:
    """One way of cutting, measured over all questions."""

    sizes: Sizes
    header: Header
    passages: int
    length: float  # of a passage, in characters, on average
    found: tuple[Found, ...]
    answers: Mapping[str, tuple[Span, ...]]  # by question
    read: Mapping[str, tuple[Span, ...]]  # by question: what a model is given, surroundings included

    @cached_property
    def figures(self) -> dict[str, float]:
        """Means by name: nDCG and recall of passages, then precision and recall of characters."""
        columns: defaultdict[str, list[float]] = defaultdict(list)
        for found in self.found:
            scores, gold = found.scores(SHOWN), self.answers[found.question.id]
            shown = [span_of(name) for name in found.orders[SHOWN]]
            columns[MAIN].append(scores[MAIN])
            columns["recall@10"].append(scores["recall@10"])
            precision, recall = of_characters(shown, gold)
            columns["characters: recall@10"].append(recall)
            columns["precision@10"].append(precision)
            columns[f"recall in {ROOM:,}"].append(of_characters(within(shown, ROOM), gold)[1])
            read = self.read[found.question.id]
            columns["given alone"].append(of_characters(shown[:SOURCES], gold)[1])
            columns["with surroundings"].append(of_characters(read, gold)[1])
            columns["characters given"].append(sum(end - start for _document, start, end in read))
        return {name: float(np.mean(values)) for name, values in columns.items()}


def load(folder: Path) -> Whole:
    """The whole texts of a set. Raises ValueError with a sentence when they are missing."""
    file = next(
        (folder / name for name in ("documents.jsonl", "documents.jsonl.gz") if (folder / name).is_file()), None
    )
    spans = next(
        (folder / split / "spans.tsv" for split in datasets.SPLITS if (folder / split / "spans.tsv").is_file()), None
    )
    if file is None or spans is None:
        raise ValueError(f"There are no documents.jsonl and spans.tsv in {folder}.")
    answers: defaultdict[str, list[Span]] = defaultdict(list)
    with spans.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t"):
            if row[0] != "query-id":
                answers[row[0]].append((row[1], int(row[2]), int(row[3])))
    questions = datasets.load(folder).questions
    asked = tuple((question, tuple(answers[question.id])) for question in questions if question.id in answers)
    return Whole(datasets.texts(file), asked)


def part_of(whole: Whole, most: int) -> Whole:
    """The first `most` documents, and the questions that these answer whole."""
    kept = {text.id for text in whole.documents[:most]}
    questions = tuple(
        (question, answers) for question, answers in whole.questions if all(span[0] in kept for span in answers)
    )
    return replace(whole, documents=whole.documents[:most], questions=questions)


def measure_cut(whole: Whole, sizes: Sizes, *, header: Header, cache: VectorCache, told: Callable[[str], None]) -> Cut:
    """One way of cutting these documents. Belongs into a temporary installation."""
    documents = [_cut(text, sizes) for text in whole.documents]
    filled = fill(
        documents,
        name="whole texts",
        vectors=cache,
        told=lambda done, of: told(f"{done} of {of} passages embedded"),
        embedded=_embedded(whole, header, sizes.header),
    )
    names = [name for document in documents for name in document.ids]
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        homes[span_of(name)[0]].append(name)
    questions = [
        Asked(
            question.id,
            question.text,
            {name: 1.0 for span in answers for name in homes[span[0]] if carries(span_of(name), span)},
            named=lambda ids: [filled.names[number] for number in ids],
        )
        for question, answers in whole.questions
    ]
    told("asking")
    read = {question.id: _read(question.text, filled) for question, _answers in whole.questions}
    lengths = [len(passage.text) for document in documents for passage in document.passages]
    return Cut(
        sizes,
        header,
        len(names),
        float(np.mean(lengths)),
        measure(questions, filled.scope),
        {question.id: answers for question, answers in whole.questions},
        read,
    )


def _read(question: str, filled: Filled) -> tuple[Span, ...]:
    """What stands in the prompt of a model with a context of the size that is asked of one by default."""
    found = search(question, filled.scope).sources
    read = widened(found, filled.scope, room=room(CONTEXT, ANSWER))
    return tuple((span_of(filled.names[source.chunk_id])[0], source.start, source.end) for source in read)


def _embedded(whole: Whole, header: Header, most: int) -> Callable[[str, tuple[str, ...], str], str]:
    """What is embedded of a passage, out of its title, headings and words."""
    called = {text.title: naming.names(text.title, text.text) for text in whole.documents}

    def embedded(title: str, headings: tuple[str, ...], text: str) -> str:
        if header is Header.WITHOUT:
            return text
        first = called.get(title, title) if header is Header.NAMES else title
        written = context_header(first, headings, token_counter().offsets, most=most)
        return f"{written}\n{text}" if written else text

    return embedded


def _cut(text: datasets.Text, sizes: Sizes) -> Prepared:
    passages = chunk([Page(number=None, text=text.text)], token_counter().offsets, sizes)
    ids = tuple(f"{text.id}:{passage.start}:{passage.end}" for passage in passages)
    return Prepared(text.title, text.text, tuple(passages), ids)


def span_of(name: str) -> Span:
    """What the name of a passage says of where it stands."""
    document, start, end = name.rsplit(":", 2)
    return document, int(start), int(end)


def carries(passage: Span, answer: Span) -> bool:
    """Whether a passage holds CARRIES characters of the answer, or all of a shorter one."""
    return _shared(passage, answer) >= min(CARRIES, answer[2] - answer[1])


def within(spans: Sequence[Span], room: int) -> list[Span]:
    """The first of the spans that have `room` together; the one that no longer fits is cut there."""
    kept: list[Span] = []
    for document, start, end in spans:
        end = min(end, start + room)
        if end > start:
            kept.append((document, start, end))
        room -= end - start
    return kept


def of_characters(found: Sequence[Span], answers: Sequence[Span]) -> tuple[float, float]:
    """Precision and recall over characters. Passages do not overlap one another; answers may, and count once."""
    gold = _merged(answers)
    shared = sum(_shared(span, answer) for span in found for answer in gold)
    shown, wanted = (sum(end - start for _document, start, end in spans) for spans in (found, gold))
    return (shared / shown if shown else 0.0), (shared / wanted if wanted else 0.0)


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for document, start, end in sorted(spans):
        if merged and merged[-1][0] == document and start <= merged[-1][2]:
            merged[-1] = (document, merged[-1][1], max(end, merged[-1][2]))
        else:
            merged.append((document, start, end))
    return merged


def _shared(one: Span, other: Span) -> int:
    return max(0, min(one[2], other[2]) - max(one[1], other[1])) if one[0] == other[0] else 0
