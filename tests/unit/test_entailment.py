"""The model that judges what rules leave open: a tiny one with random weights, and what its word may change."""

from pathlib import Path

import pytest

from rag.backends.entailment.onnx import OnnxEntailment
from rag.domain.errors import Permanent
from rag.domain.repair import Offered, cited
from rag.domain.support import Verdict
from tests import tiny_models

PASSAGE = "The tenant pays the rent by the third day of the month. Repairs are a matter for the landlord."
FREE = "Whoever lives there pays what is owed for the flat early in the month."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.entailment(tmp_path_factory.mktemp("models") / "tiny")


def test_it_gives_two_probabilities_that_depend_on_both_texts(folder: Path) -> None:
    model = OnnxEntailment(str(folder))
    one = model.judge(PASSAGE, "the rent")
    assert all(0 <= each <= 1 for each in one)
    assert sum(one) <= 1
    assert model.judge(PASSAGE, "the rent") == one
    assert model.judge("the fee", "the rent") != one
    assert model.judge(PASSAGE * 50, "the rent")  # cut, and no failure
    assert len(model.digest) == 64


def test_a_folder_without_such_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="holds no entailment model"):
        OnnxEntailment(str(tmp_path))
    (tmp_path / "config.json").write_text('{"id2label": {"0": "good", "1": "bad"}}')
    with pytest.raises(Permanent, match="its labels are"):
        OnnxEntailment(str(tmp_path))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(Permanent, match=r"model\.onnx"):
        OnnxEntailment(str(tmp_path))


def judge(carried: float, contradicted: float) -> list[Verdict]:
    """What becomes of a free paraphrase, of one without any common word and of a wrong value, when the judge says so."""
    offered = {1: Offered(PASSAGE)}
    sentences = (FREE, "Somebody settles it early.", "The tenant pays the rent by the ninth day of the month.")
    return [cited(each, (1,), offered, judge=lambda *_: (carried, contradicted)).check.verdict for each in sentences]


def test_a_judge_decides_both_ways_but_never_lifts_a_wrong_value() -> None:
    undecided = judge(0.5, 0.2)
    assert undecided[0] is Verdict.PARTLY
    assert judge(0.95, 0.02)[:2] == [Verdict.SUPPORTED, Verdict.SUPPORTED]
    assert judge(0.01, 0.97)[0] is Verdict.CONTRADICTED
    assert judge(0.95, 0.02)[2] is undecided[2] is not Verdict.SUPPORTED
