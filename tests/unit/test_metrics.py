"""Retrieval measures agree with ir-measures on random rankings, and their intervals behave."""

import gzip
import json
import random
from pathlib import Path

import ir_measures
import pytest

from rag.domain.metrics import MEASURES, difference, interval
from rag.evaluation import datasets

THEIRS = {
    "nDCG@10": ir_measures.parse_measure("nDCG@10"),
    "recall@5": ir_measures.parse_measure("R@5"),
    "recall@10": ir_measures.parse_measure("R@10"),
    "recall@100": ir_measures.parse_measure("R@100"),
    "MRR@10": ir_measures.parse_measure("RR@10"),
}


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_each_measure_is_what_ir_measures_computes(name: str) -> None:
    chance = random.Random(7)
    ids = [f"d{number}" for number in range(150)]
    rankings = {f"q{number}": chance.sample(ids, chance.randint(1, 150)) for number in range(40)}
    grades = {query: {item: chance.choice([0, 1, 1, 2, 3]) for item in chance.sample(ids, 12)} for query in rankings}
    run = {query: {item: 1000.0 - place for place, item in enumerate(found)} for query, found in rankings.items()}
    for result in ir_measures.iter_calc([THEIRS[name]], grades, run):
        mine = MEASURES[name](
            rankings[result.query_id], {item: float(g) for item, g in grades[result.query_id].items()}
        )
        assert mine == pytest.approx(result.value, abs=1e-9), result.query_id


def test_an_interval_holds_the_mean_and_shrinks_with_more_questions() -> None:
    chance = random.Random(1)
    few = [chance.random() for _ in range(20)]
    many = [chance.random() for _ in range(2000)]
    low, high = interval(few)
    assert low < sum(few) / len(few) < high
    narrow = interval(many)
    assert narrow[1] - narrow[0] < (high - low) / 4
    assert interval([]) == (0.0, 0.0)


def test_a_difference_that_is_the_same_everywhere_is_certain() -> None:
    theirs = [0.1, 0.5, 0.9]
    mean, low, high = difference([value + 0.05 for value in theirs], theirs)
    assert (mean, low, high) == pytest.approx((0.05, 0.05, 0.05))
    with pytest.raises(ValueError, match="paired"):
        difference([1.0], theirs)


def test_a_set_in_the_beir_layout_is_read_packed_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    (folder / "dev").mkdir(parents=True)
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as file:
        file.write(json.dumps({"_id": "p1", "title": "Leave", "text": "Thirty days."}) + "\n")
    questions = [{"_id": "q1", "text": "How many days?"}, {"_id": "q2", "text": "Who answers nothing?"}]
    (folder / "dev" / "queries.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (folder / "dev" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp1\t2\n")
    assert datasets.find(tmp_path) == [folder]
    found = datasets.load(folder, root=tmp_path)
    assert (found.name, [text.id for text in found.corpus]) == ("small", ["p1"])
    assert [(question.id, question.grades) for question in found.questions] == [("q1", {"p1": 2.0}), ("q2", {})]
    assert [question.id for question in found.answerable] == ["q1"]


def test_a_set_without_judgements_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": "x"}\n')
    with pytest.raises(ValueError, match="qrels"):
        datasets.load(tmp_path)


def test_what_was_said_before_a_question_is_read_in_pairs(tmp_path: Path) -> None:
    said = [("user", "Jupiter"), ("agent", "A planet."), ("agent", "A large one."), ("user", "And Mars?")]
    history = [{"speaker": speaker, "text": text} for speaker, text in said]
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": "x", "doc": "d", "start": 7}\n')
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "Why?", "history": history}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t1\n")
    found = datasets.load(tmp_path)
    assert found.questions[0].history == (("Jupiter", "A planet.\nA large one."), ("And Mars?", ""))
    assert (found.corpus[0].document, found.corpus[0].start) == ("d", 7)
