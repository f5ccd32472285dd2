"""The fastest way of embedding passages is measured, written down, and taken only where it is exact enough."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.backends.embedders import selftest
from rag.backends.embedders._runner import Mode, Runner, precisions
from rag.backends.embedders.openvino import export
from rag.backends.embedders.passages import PassageEmbedder
from rag.backends.embedders.samples import SAMPLES
from rag.backends.embedders.selftest import LEAST_AGREEMENT, MARGIN, Measured, _best, agreement_of, choose, chosen
from rag.backends.embedders.weights import Weights, find_weights
from rag.services.preparation import self_test_texts


@pytest.fixture(scope="module")
def weights() -> Weights:
    return find_weights()


@pytest.fixture(scope="module")
def exported(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "question"
    export(weights, folder)
    return folder


@pytest.fixture(scope="module")
def first_choice(exported: Path, weights: Weights) -> tuple[Measured, str]:
    """A choice made with a few short texts, which is quick, and its record."""
    best = choose(weights, exported, 1, passages=list(SAMPLES[:16]), questions=["What is the fee?", "Who signs?"])
    return best, (exported / selftest.RECORD).read_text()


@pytest.fixture
def measured(exported: Path, first_choice: tuple[Measured, str]) -> Measured:
    best, record = first_choice
    (exported / selftest.RECORD).write_text(record)
    return best


def way(precision: str, speed: float, agreement: float) -> Measured:
    return Measured("openvino", precision, 2, 1, speed, agreement)  # type: ignore[arg-type]


def test_what_finds_other_passages_is_never_chosen_however_fast_it_is() -> None:
    exact, wrong = way("f32", 20, 1), way("int8", 900, LEAST_AGREEMENT - 0.001)
    assert _best([exact, wrong]) == exact


def test_the_less_exact_way_must_be_faster_by_a_margin() -> None:
    exact, close = way("f32", 100, 1), way("bf16", 100 * MARGIN + 1, 0.995)
    assert _best([exact, close]) == close
    assert _best([exact, close, way("int8", close.speed * MARGIN - 1, 0.985)]) == close
    assert _best([exact, close, way("int8", close.speed * MARGIN + 1, 0.985)]).precision == "int8"
    assert _best([exact, way("bf16", 100 * MARGIN - 1, 0.995)]) == exact


def test_agreement_is_the_share_of_the_nearest_ten_that_are_the_same() -> None:
    questions = np.eye(1, 40, dtype=np.float32)
    wanted = np.zeros((40, 40), dtype=np.float32)
    wanted[:, 0] = np.linspace(1, 0, 40)  # the first ten are nearest
    other = wanted.copy()
    other[9, 0], other[10, 0] = other[10, 0], other[9, 0]
    assert agreement_of(questions, wanted, wanted) == 1
    assert agreement_of(questions, wanted, other) == 0.9


@pytest.mark.parametrize("precision", precisions())
def test_each_way_finds_the_passages_that_float32_finds(weights: Weights, exported: Path, precision: str) -> None:
    passages, questions = self_test_texts()
    exact = Runner(weights, exported, Mode("f32"))
    wanted, asked = exact.embed(passages[:80]), exact.embed(questions)
    runner = Runner(weights, exported, Mode(precision))  # type: ignore[arg-type]
    vectors = runner.embed(passages[:80])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # What the quantised one reaches depends on the processor, and it is measured before it is used.
    assert agreement_of(asked, wanted, vectors) >= (0.95 if precision == "int8" else LEAST_AGREEMENT)


def test_several_streams_give_the_vectors_of_one(weights: Weights, exported: Path) -> None:
    one = Runner(weights, exported, Mode("f32", threads=2)).embed(SAMPLES * 3)
    two = Runner(weights, exported, Mode("f32", threads=2, streams=2)).embed(SAMPLES * 3)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_the_choice_is_remembered_and_followed(weights: Weights, exported: Path, measured: Measured) -> None:
    assert chosen(weights, exported, 1) == measured
    assert measured.agreement >= LEAST_AGREEMENT
    assert PassageEmbedder(export_folder=str(exported), threads=1).way == measured
    record = json.loads((exported / selftest.RECORD).read_text())
    (entry,) = record["machines"].values()
    assert {found["precision"] for found in entry["measured"]} >= set(precisions())
    assert {found["backend"] for found in entry["measured"]} == {"openvino", "torch"}


def test_another_processor_and_other_versions_are_measured_anew(
    weights: Weights, exported: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(weights, exported, 3) is None  # other threads: another choice
    monkeypatch.setattr(selftest, "_versions", lambda: {"openvino": "0", "torch": "0"})
    assert chosen(weights, exported, 1) is None
    monkeypatch.undo()
    monkeypatch.setattr(selftest, "machine", lambda threads: f"another processor, {threads} threads")
    assert chosen(weights, exported, 1) is None
    embedder = PassageEmbedder(export_folder=str(exported), threads=1)
    assert embedder.way is None  # float32, which needs no measuring
    np.testing.assert_allclose(
        embedder.embed_passages(SAMPLES[:4]), Runner(weights, exported, Mode("f32")).embed(SAMPLES[:4]), atol=1e-4
    )


def test_an_earlier_choice_is_kept_as_provenance(weights: Weights, exported: Path, measured: Measured) -> None:
    again = choose(weights, exported, 1, passages=list(SAMPLES[:16]), questions=["What is the fee?"])
    record: dict[str, Any] = json.loads((exported / selftest.RECORD).read_text())
    (earlier,) = record["earlier"]
    assert Measured(**earlier["chosen"]) == measured
    assert chosen(weights, exported, 1) == again


def test_an_altered_record_counts_as_none(weights: Weights, exported: Path, measured: Measured) -> None:
    file = exported / selftest.RECORD
    file.write_text(file.read_text().replace(f'"agreement":{measured.agreement}', '"agreement":0.5', 1))
    assert chosen(weights, exported, 1) is None
