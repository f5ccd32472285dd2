"""Asks the 30 sample questions of a fresh installation in this process and prints what came of each.

    .venv/bin/python -m tests.benchmarks.samples [--verbose]

Real parsers, real embedding weights, real indexes; the answerer is the extractive one.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import django

import tests.environment  # noqa: F401  (a folder, a key and a Redis of our own)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
django.setup()

from django.core.files import File
from django.core.management import call_command

from core.models import Team, User
from rag import samples
from rag.access import scope_for_all
from rag.domain.extracts import Quote
from rag.domain.types import Source
from rag.models import Collection, Grant
from rag.services import embedding, ingest, library, quoting, retrieve, thresholds


@dataclass(frozen=True, slots=True)
class Asked:
    """What one question came to. `rank`: the expected passage's place among the sources, 0 when it is not there."""

    question: samples.Question
    rank: int
    refused: bool
    answered: bool
    score: float
    sources: Sequence[Source]
    quotes: Sequence[Quote]


def load(actor: User) -> Collection:
    """All sample documents in a new collection, read and embedded."""
    team = Team.objects.create(name="Benchmark")
    team.memberships.create(user=actor, role=30)
    collection = Collection.objects.create(name="Samples")
    Grant.objects.create(collection=collection, team=team)
    for path in samples.documents():
        with path.open("rb") as file:
            document = library.add_document(actor, collection, File(file, name=path.name), path=path.name).document
        document.refresh_from_db()
        assert document.latest is not None
        ingest.read(document.latest.pk)
        embedding.embed(document.latest.pk)
    return collection


def ask_all(actor: User) -> list[Asked]:
    """Every question, as a person would ask it in a conversation of its own."""
    return [_ask(actor, question) for question in samples.questions()]


def _ask(actor: User, question: samples.Question) -> Asked:
    found = retrieve.search(question.question, scope_for_all(actor))
    ranks = [source.number for source in found.sources if question.found_in(source.text)]
    quoted = quoting.quoted(question.question, found.sources)
    quotes = quoted.quotes
    refused = quoted.likelihood < thresholds.threshold_for(found.sources)
    text = "\n".join(quote.text for quote in quotes)
    answered = not refused and question.answered_by(text)
    return Asked(question, ranks[0] if ranks else 0, refused, answered, quoted.likelihood, found.sources, quotes)


def summary(asked: Sequence[Asked]) -> dict[str, int]:
    """The four figures."""
    answerable = [one for one in asked if one.question.answerable]
    rest = [one for one in asked if not one.question.answerable]
    return {
        "expected passage among the first five sources, of 22": sum(1 for one in answerable if 1 <= one.rank <= 5),
        "extractive answer has the fact, of 22": sum(one.answered for one in answerable),
        "wrongly refused, of 22": sum(one.refused for one in answerable),
        "rightly refused, of 8": sum(one.refused for one in rest),
    }


def main() -> None:
    call_command("migrate", verbosity=0)
    call_command("prepare", verbosity=0)
    actor = User.objects.create_user("benchmark")
    load(actor)
    asked = ask_all(actor)
    for one in asked:
        mark = "refused" if one.refused else "answered" if one.answered else "shown"
        print(f"{one.question.id:24} rank {one.rank}  evidence {one.score:.3f}  {mark:8} {one.question.question}")
        if "--verbose" in sys.argv:
            for quote in one.quotes:
                print(f"    [{quote.number}] {quote.text!r}")
    print()
    for name, count in summary(asked).items():
        print(f"{count:3}  {name}")


if __name__ == "__main__":
    main()
