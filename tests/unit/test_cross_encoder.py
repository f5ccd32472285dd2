"""The reranker slot, with a cross-encoder of random weights that is made here: what it gives, and what it refuses."""

import json
from pathlib import Path

import pytest
from django.conf import LazySettings

from rag.backends.rerankers.cross_encoder import CrossEncoderReranker
from rag.checks import reranking_model
from rag.domain.errors import Permanent
from tests.conftest import forget_everything
from tests.tiny_models import cross_encoder

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("reranker") / "tiny")


def test_each_passage_gets_a_score_that_does_not_depend_on_its_company(folder: Path) -> None:
    reranker = CrossEncoderReranker(str(folder))
    passages = ["the rent", "the fee of the tenant " * 30, "notice period"]
    together = reranker.score("the notice period", passages)
    alone = [reranker.score("the notice period", [passage])[0] for passage in passages]
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(set(together)) == 3
    assert reranker.score("the notice period", passages[::-1]) == pytest.approx(together[::-1], abs=1e-4)
    assert reranker.score("the notice period", []) == []


def test_a_passage_longer_than_the_model_reads_is_cut(folder: Path) -> None:
    assert len(CrossEncoderReranker(str(folder)).score("rent", ["the rent " * 5000])) == 1


def test_other_weights_have_another_digest(folder: Path, tmp_path: Path) -> None:
    other = cross_encoder(tmp_path / "other", seed=1)
    assert CrossEncoderReranker(str(folder)).digest == CrossEncoderReranker(str(folder)).digest
    assert CrossEncoderReranker(str(folder)).digest != CrossEncoderReranker(str(other)).digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auto_map": {"AutoModel": "own.Code"}}, "code of its own"),
        ({"id2label": {"0": "no", "1": "yes"}}, "2 scores"),
        (None, "holds no reranking model"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, change: dict[str, object] | None, said: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    if change is not None:
        for name in ("model.safetensors", "tokenizer.json"):
            (copy / name).write_bytes((folder / name).read_bytes())
        settings = json.loads((folder / "config.json").read_text()) | change
        (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(Permanent, match=said):
        CrossEncoderReranker(str(copy))


def test_weights_in_a_pickle_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(Permanent, match=r"model\.safetensors is missing"):
        CrossEncoderReranker(str(tmp_path))


def test_a_folder_that_holds_no_model_refuses_to_start(settings: LazySettings, tmp_path: Path) -> None:
    settings.RAG = settings.RAG | {"RERANKER_FOLDER": str(tmp_path)}
    forget_everything()
    (error,) = reranking_model(None)
    assert "FOOTNOTE_RERANKER" in error.msg
    settings.RAG = settings.RAG | {"RERANKER_FOLDER": ""}
    forget_everything()
    assert reranking_model(None) == []
