"""`manage.py evaluate answers` asks as a reader would, and says what was refused and what was said."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from core.models import User
from rag.models import Chunk, Collection, EvidenceThreshold, KeptQuestion
from rag.models.ranking import QuestionOrigin

PASSAGES = {
    "leave": "Staff have thirty days of annual leave, taken by the end of March. Anna Weber plans it.",
    "fees": "Fees are due on the first working day of each quarter.",
}
QUESTIONS = [
    {"_id": "q1", "text": "How many days of annual leave do staff have?", "kind": "fact", "answers": ["Thirty days"]},
    {"_id": "q2", "text": "When are fees due?", "kind": "fact", "answers": ["the last day"]},
    {"_id": "q3", "text": "Who painted the ceiling?", "kind": "unanswerable"},
    {"_id": "q4", "text": "Why?"},
]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A set of two passages and four questions: nothing answers the third, and of the last that is not known."""
    folder = tmp_path / "small"
    (folder / "dev").mkdir(parents=True)
    corpus = [json.dumps({"_id": own, "title": "Handbook", "text": text}) for own, text in PASSAGES.items()]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    (folder / "dev" / "queries.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    (folder / "dev" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tleave\t1\nq2\tfees\t1")
    return folder


@pytest.mark.usefixtures("db")
def test_the_figures_are_printed_and_each_question_is_written(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("evaluate", "answers", str(small), cache=tmp_path / "cache", results=tmp_path / "lines.jsonl")
    printed = capsys.readouterr().out
    assert "small: 3 questions, 2 passages, by quotes" in printed
    assert "| refusing, area under ROC | 1.000 | 1.000–1.000 | 2 and 1 |" in printed
    assert "| refused, unanswerable | 1.000 |" in printed
    assert "| refused, answerable | 0.000 |" in printed
    assert "| fact: right answer in three quotes | 0.500 |" in printed
    assert "| citation precision | 1.000 |" in printed
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(line["question"], line["refused"]) for line in lines] == [("q1", False), ("q2", False), ("q3", True)]
    assert lines[0]["held"] == {
        "first quote": True,
        "three quotes": True,
        "first five sources": True,
        "all sources": True,
    }
    assert not Chunk.objects.exists()


def test_a_collection_with_too_few_questions_keeps_no_threshold(alice: User, policies: Collection) -> None:
    KeptQuestion.objects.create(
        collection=policies, text="Who painted it?", answerable=False, origin=QuestionOrigin.UPLOADED, keeper=alice
    )
    with pytest.raises(CommandError, match="at least 20 with an answer"):
        call_command("evaluate", "answers", str(policies.pk), keep=True)
    assert not EvidenceThreshold.objects.exists()


@pytest.mark.usefixtures("db")
def test_a_model_that_is_not_on_offer_is_refused(small: Path) -> None:
    with pytest.raises(CommandError, match="No model on offer is called 'gpt'"):
        call_command("evaluate", "answers", str(small), model="gpt")
