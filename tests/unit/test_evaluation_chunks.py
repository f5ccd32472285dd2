"""Characters are counted once, whatever the passages that carry them."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from rag.evaluation import chunks

LEASE = (
    "The rent is 900 a month. " * 20
    + "Either party may end this lease at ninety days' notice in writing. "
    + "It rains. " * 90
)


def test_precision_and_recall_count_characters() -> None:
    found = [("a", 0, 100), ("b", 0, 100)]
    assert chunks.of_characters(found, [("a", 50, 150)]) == (0.25, 0.5)
    assert chunks.of_characters(found, [("a", 0, 10), ("a", 5, 20)]) == (0.1, 1.0)
    assert chunks.of_characters([], [("a", 0, 10)]) == (0.0, 0.0)
    assert chunks.of_characters(found, [("c", 0, 10)]) == (0.0, 0.0)


def test_what_no_longer_fits_is_cut() -> None:
    assert chunks.within([("a", 0, 60), ("b", 10, 90), ("c", 0, 5)], 100) == [("a", 0, 60), ("b", 10, 50)]


def test_a_passage_carries_an_answer_with_enough_of_it() -> None:
    answer = ("a", 100, 300)
    assert chunks.carries(("a", 0, 140), answer) and not chunks.carries(("a", 0, 139), answer)
    assert chunks.carries(("a", 0, 200), ("a", 50, 60)) and not chunks.carries(("b", 0, 200), ("a", 50, 60))


def test_names_say_where_a_passage_stands() -> None:
    assert chunks.span_of("a:b:3:9") == ("a:b", 3, 9)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """One long document and a question; the passages of the set itself are not asked for."""
    start = LEASE.index("Either")
    (tmp_path / "documents.jsonl").write_text(json.dumps({"_id": "lease", "title": "Lease", "text": LEASE}))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "p", "text": "-"}))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "What notice ends the lease in writing?"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t1\n")
    (tmp_path / "spans.tsv").write_text(f"query-id\tdoc-id\tstart\tend\nq\tlease\t{start}\t{start + 67}\n")
    return tmp_path


@pytest.mark.usefixtures("db")
def test_each_way_of_cutting_is_a_row(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command(
        "evaluate", "chunking", str(whole), "--sizes", "60,80,20", "--sizes", "160,200,40", "--cache", str(whole)
    )
    printed = capsys.readouterr().out
    assert "| 60 | 80 | 20 | with |" in printed and "| 160 | 200 | 40 | with |" in printed
    assert "1 questions on 1 whole documents" in printed
    # All of so short a document is found, so every character of the answer is.
    assert " 1.000 |" in printed


@pytest.mark.usefixtures("db")
def test_each_header_is_a_row_and_what_is_read_around_a_passage_is_counted(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("evaluate", "chunking", str(whole), "--header", "without", "--header", "names", "--cache", str(whole))
    head, _line, without, names = capsys.readouterr().out.splitlines()[:4]
    assert "| 160 | 200 | 40 | without |" in without and "| 160 | 200 | 40 | names |" in names
    row = dict(zip(head.split(" | "), names.split(" | "), strict=True))
    assert row["with surroundings"] == "1.000"


def test_a_part_of_a_set_asks_what_its_documents_answer(whole: Path) -> None:
    loaded = chunks.load(whole)
    assert chunks.part_of(loaded, 1) == loaded
    assert chunks.part_of(loaded, 0) == chunks.Whole((), ())


@pytest.mark.usefixtures("db")
def test_a_set_without_whole_texts_is_refused_with_a_sentence(whole: Path) -> None:
    (whole / "documents.jsonl").unlink()
    with pytest.raises(CommandError, match="no documents"):
        call_command("evaluate", "chunking", str(whole))
    with pytest.raises(CommandError, match="three numbers"):
        call_command("evaluate", "chunking", str(whole), "--sizes", "big")
