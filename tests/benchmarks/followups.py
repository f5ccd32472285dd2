"""How well follow-ups are found: `python -m tests.benchmarks.followups [--set FOLDER] [--written-out FILE] [--cache FOLDER]`.

The last turn of each conversation is searched through the real pipeline: as typed, followed in words by the question that it
goes on from, together with its conversation as the product does it, and written out so that it can be read alone. The last two
rows put the written out questions behind another conversation: what was said there must not spoil them.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import django

import tests.environment  # noqa: F401  (a folder, a key and a Redis of our own)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
django.setup()

from django.core.management import call_command

from rag.domain.followups import Turn, standalone
from rag.domain.metrics import difference, ndcg, recall
from rag.domain.types import Scope
from rag.evaluation import datasets
from rag.evaluation.filling import VectorCache, as_given, fill
from rag.services.retrieve import search

SET = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "mtragun"
WRITTEN_OUT = Path(__file__).with_name("written_out.tsv")
ANOTHER = 37  # conversations further on is the one that a question is put behind
SHOWN = 10

Way = Callable[[datasets.Question], tuple[str, Sequence[Turn]]]


def written_out(file: Path) -> dict[str, str]:
    """The questions of a table with lines of id, tab, question."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("\t", 1) for line in lines)


def _turns(question: datasets.Question) -> list[Turn]:
    return [Turn(*turn) for turn in question.history]


def ways(questions: Sequence[datasets.Question], full: dict[str, str]) -> dict[str, Way]:
    """What is searched for each question, by the name of the way."""
    others = {one.id: _turns(questions[(place + ANOTHER) % len(questions)]) for place, one in enumerate(questions)}
    return {
        "as typed": lambda one: (one.text, ()),
        "completed in words": lambda one: (standalone(one.text, _turns(one)), ()),
        "with its conversation": lambda one: (one.text, _turns(one)),
        "written out": lambda one: (full[one.id], ()),
        "as typed, after another conversation": lambda one: (one.text, others[one.id]),
        "written out, after another conversation": lambda one: (full[one.id], others[one.id]),
    }


def measured(
    way: Way, questions: Sequence[datasets.Question], names: dict[int, str], scope: Scope
) -> list[tuple[float, float]]:
    """Recall and nDCG of what is shown, for each question."""
    found = []
    for question in questions:
        text, turns = way(question)
        sources = search(text, scope, turns=turns, limit=SHOWN).sources
        ranking = [names[source.chunk_id] for source in sources]
        found.append((recall(ranking, question.grades, k=SHOWN), ndcg(ranking, question.grades, k=SHOWN)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, default=SET, help="a set whose queries have a history")
    parser.add_argument("--written-out", type=Path, default=WRITTEN_OUT, help="a table of the questions written out")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the passages in this folder")
    arguments = parser.parse_args()
    if not datasets.is_dataset(arguments.set):
        parser.error(f"there is no data set in {arguments.set}")
    dataset, full = datasets.load(arguments.set), written_out(arguments.written_out)
    questions = [one for one in dataset.answerable if one.id in full and one.history]
    call_command("migrate", verbosity=0)
    call_command("prepare", verbosity=0)
    filled = fill(
        as_given(dataset.corpus), name="followups", vectors=VectorCache(arguments.cache), told=lambda done, of: None
    )
    rows = {name: measured(way, questions, filled.names, filled.scope) for name, way in ways(questions, full).items()}
    best = [value for value, _ in rows["written out"]]
    print(
        f"{dataset.name}: {len(questions)} questions with a conversation before them, {len(dataset.corpus)} passages\n"
    )
    print(f"| | recall@{SHOWN} | against written out (95 %) | nDCG@{SHOWN} |\n|---|---|---|---|")
    for name, row in rows.items():
        recalls, ndcgs = zip(*row, strict=True)
        mean, low, high = difference(recalls, best)
        against = "" if name == "written out" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        print(f"| {name} | {sum(recalls) / len(row):.4f} | {against} | {sum(ndcgs) / len(row):.4f} |")


if __name__ == "__main__":
    main()
