"""`manage.py evaluate retrieval` measures the search that people use, and leaves nothing of a public set behind."""

import base64
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from core.models import Team, User
from rag.config import rag_config
from rag.evaluation import constant, datasets, filling, retrieval
from rag.evaluation.temporary import temporary_installation
from rag.models import Chunk, Collection, Document, Evaluation
from rag.services import measurements, retrieve

PASSAGES = {
    "leave": "Staff have thirty days of annual leave, taken by the end of March.",
    "notice": "Either party may end the contract at ninety days' notice in writing.",
    "fees": "Fees are due on the first working day of each quarter.",
    "secrecy": "Each party keeps confidential what it learns of the other.",
}
QUESTIONS = {"q1": ("How many days of annual leave?", "leave"), "q2": ("When are fees due?", "fees")}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A set of four passages; a third question that nothing answers."""
    folder = tmp_path / "sets" / "small"
    (folder / "dev").mkdir(parents=True)
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as corpus:
        for own, text in PASSAGES.items():
            corpus.write(json.dumps({"_id": own, "title": "Handbook", "text": text}) + "\n")
    asked = [{"_id": own, "text": text} for own, (text, _) in QUESTIONS.items()] + [{"_id": "q3", "text": "Why?"}]
    (folder / "dev" / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    rows = ["query-id\tcorpus-id\tscore", *(f"{own}\t{answer}\t1" for own, (_, answer) in QUESTIONS.items())]
    (folder / "dev" / "qrels.tsv").write_text("\n".join(rows))
    return folder


def evaluate(folder: Path, **options: Any) -> None:
    call_command("evaluate", "retrieval", str(folder), **options)


@pytest.mark.usefixtures("db")
def test_each_stage_is_printed_kept_and_written_by_question(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(small.parent, cache=tmp_path / "cache", results=tmp_path / "results.jsonl")
    printed = capsys.readouterr().out
    for stage in ("meaning", "words", "fused", "named", "shown"):
        assert f"| small | 2 | 4 | {stage} |" in printed
    (kept,) = measurements.history(None, name="small")
    assert [row["stage"] for row in kept.stages] == ["meaning", "words", "fused", "named", "shown"]
    assert kept.questions == 2 and kept.passages == 4
    assert kept.embedder and kept.code and set(kept.indexes) == {"vectors", "keywords"}
    assert 0 < kept.stages[2]["means"]["nDCG@10"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["question"] for line in lines] == ["q1", "q2"]
    assert lines[1]["stages"]["words"]["found"][0] == "fees"
    assert lines[1]["stages"]["words"]["scores"]["MRR@10"] == 1.0


@pytest.mark.usefixtures("db")
def test_nothing_of_a_set_is_left_in_the_installation(small: Path, tmp_path: Path) -> None:
    name = connection.settings_dict["NAME"]
    before = set(rag_config().index_folder.glob("*"))
    evaluate(small, cache=tmp_path / "cache")
    assert connection.settings_dict["NAME"] == name
    assert not Collection.objects.exists() and not Document.objects.exists() and not User.objects.exists()
    assert set(rag_config().index_folder.glob("*")) == before


def test_an_installations_own_documents_are_not_found_in_a_set(
    small: Path, alice: User, policies: Collection, add_text: Callable[..., Document]
) -> None:
    add_text(alice, policies, "leave.txt", "Staff have fifty days of annual leave.")
    chunks = Chunk.objects.for_maintenance().count()
    with temporary_installation():
        assert not Collection.objects.exists() and not Team.objects.exists()
        filled = filling.fill(
            filling.as_given(datasets.load(small).corpus),
            name="small",
            vectors=filling.VectorCache(None),
            told=lambda _done, _of: None,
        )
        texts = {source.text for source in retrieve.search("How much annual leave?", filled.scope, limit=50).sources}
        assert texts and texts <= set(PASSAGES.values())
    assert Chunk.objects.for_maintenance().count() == chunks


@pytest.mark.usefixtures("db")
def test_the_installation_is_back_when_measuring_fails() -> None:
    before = rag_config().data
    with pytest.raises(RuntimeError, match="boom"), temporary_installation():
        inside = rag_config().data
        raise RuntimeError("boom")
    assert rag_config().data == before
    assert inside != before and not inside.exists()
    assert not Evaluation.objects.exists()


@pytest.mark.usefixtures("db")
def test_vectors_are_computed_once(small: Path, tmp_path: Path) -> None:
    counted: list[str] = []
    dataset = datasets.load(small)
    for _ in range(2):
        with temporary_installation():
            cache = filling.VectorCache(tmp_path / "cache")
            retrieval.measure_set(dataset, cache=cache, told=counted.append)
    assert len([line for line in counted if "embedded" in line]) == 1


@pytest.mark.usefixtures("db")
def test_a_damaged_file_of_vectors_is_computed_anew(small: Path, tmp_path: Path) -> None:
    evaluate(small, cache=tmp_path)
    (file,) = tmp_path.glob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    evaluate(small, cache=tmp_path)
    assert file.read_bytes() == whole


def test_a_reduced_set_keeps_every_judged_passage_and_says_what_it_left_out(small: Path) -> None:
    dataset = datasets.load(small)
    assert [text.id for text in retrieval.reduced(dataset, 3)] == ["leave", "notice", "fees"]
    assert [text.id for text in retrieval.reduced(dataset, 1)] == ["leave", "fees"]


@pytest.mark.usefixtures("db")
def test_a_reduced_set_is_said_to_be_easier(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(small, cache=tmp_path, most_passages=3)
    assert "| 3 of 4 |" in (printed := capsys.readouterr().out)
    assert "better than those of the whole sets" in printed
    assert measurements.history(None)[0].left_out == 1


def test_passages_of_one_document_become_one_document() -> None:
    corpus = [
        datasets.Text("b", "Lease", "Second.", document="d", start=9),
        datasets.Text("x", "Other", "Alone."),
        datasets.Text("a", "Lease", "First.", document="d", start=0),
    ]
    lease, other = filling.as_given(corpus)
    assert (lease.ids, lease.page) == (("a", "b"), "First.\n\nSecond.")
    assert [lease.page[passage.start : passage.end] for passage in lease.passages] == ["First.", "Second."]
    assert (other.ids, other.title) == (("x",), "Other")


@pytest.mark.usefixtures("db")
def test_a_folder_without_sets_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no question set"):
        evaluate(tmp_path)


@pytest.mark.usefixtures("db")
def test_the_report_holds_figures_and_neither_scripts_nor_texts(small: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    evaluate(small, cache=tmp_path, html=page)
    html = page.read_text()
    assert html.count("<svg") >= 2 and "<title>small, fused: " in html
    assert "prefers-color-scheme: dark" in html
    for forbidden in (
        "<script",
        "style=",
        "http:",
        "https:",
        "url(",
        *PASSAGES.values(),
        *(q for q, _ in QUESTIONS.values()),
    ):
        assert forbidden not in html, forbidden


@pytest.mark.usefixtures("db")
def test_the_reports_own_policy_permits_its_style_and_nothing_else(small: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    evaluate(small, cache=tmp_path, html=page)
    html = page.read_text()
    style = html.partition("<style>")[2].partition("</style>")[0]
    wanted = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{wanted}'" in html


@pytest.mark.usefixtures("db")
def test_each_set_is_scored_with_the_constant_that_the_others_choose(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(small, small.with_name("other"))
    shutil.copytree(small, small.with_name("xquad"))
    evaluate(small.parent, cache=tmp_path / "cache", leave_one_out=True, skip=["xquad"])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.count("|") == 6 and line.startswith(("| small", "| other"))]
    assert len(rows) == 2
    assert "xquad" not in printed


def test_a_constant_is_chosen_by_the_other_sets_alone() -> None:
    def made(name: str, best: int) -> retrieval.Measured:
        found = retrieval.Found(
            retrieval.Asked("q", "?", {"a": 1.0}, named=lambda ids: [str(own) for own in ids]),
            {stage: ["b", "a"] for stage in retrieval.LEGS},
            {},
        )
        curve = tuple(0.9 if place == best else 0.5 for place in range(len(constant.CONSTANTS)))
        return retrieval.Measured(name, 1, (found,), curve=curve)

    one, other = constant.left_out([made("one", 1), made("other", 7)])
    assert (one.constant, one.ndcg) == (constant.CONSTANTS[7], 0.5)
    assert (other.constant, other.ndcg) == (constant.CONSTANTS[1], 0.5)
    assert one.better_leg == pytest.approx(1 / np.log2(3))
