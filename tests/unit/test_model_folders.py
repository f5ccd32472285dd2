"""A model folder is looked into before anything of it is used; a sentence says each thing that stands against it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rag.backends.embedders import folders, openvino
from rag.backends.embedders.description import Incomplete, tensors_of
from rag.backends.embedders.folders import look_into
from rag.backends.embedders.openvino import OpenVinoEmbedder
from rag.backends.embedders.sentence_transformers import SentenceTransformersEmbedder
from rag.backends.embedders.weights import find_weights
from rag.domain.errors import Permanent
from tests import tiny_models
from tests.tiny_models import PROMPTS, change


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("models") / "tiny", prompts=PROMPTS)


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def problems(folder: Path) -> str:
    found = look_into(folder)
    assert found.weights is None
    assert all(sentence.endswith((".", ")")) for sentence in found.problems)
    return "\n".join(found.problems)


def test_what_a_folder_says_of_itself_is_read(tiny: Path) -> None:
    found = look_into(tiny)
    assert found.problems == []
    weights = found.weights
    assert weights is not None
    assert (weights.dimension, weights.max_tokens, weights.pooling) == (32, 300, "mean")
    assert (weights.question_prompt, weights.passage_prompt) == ("query: ", "passage: ")
    assert found.licence == "apache-2.0, file LICENSE"
    assert {"model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json", "LICENSE"} <= set(
        found.names
    )


def test_nothing_of_a_folder_is_imported_or_loaded_to_look_into_it(tiny: Path) -> None:
    (tiny / "modeling_own.py").write_text("raise SystemExit('this ran')")
    program = (
        "import sys; from pathlib import Path; from rag.backends.embedders.folders import look_into;"
        f"print(look_into(Path({str(tiny)!r})).problems);"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'pickle5'} & set(sys.modules)))"
    )
    repository = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["[]", "[]"]


def test_only_what_is_needed_is_copied(tiny: Path, tmp_path: Path) -> None:
    (tiny / "modeling_own.py").write_text("raise SystemExit('this ran')")
    (tiny / "pytorch_model.bin").write_bytes(b"a pickle")
    (tiny / "onnx").mkdir()
    (tiny / "onnx" / "model.onnx").write_bytes(b"a graph")
    found = look_into(tiny)
    assert set(found.left_behind) == {"modeling_own.py", "pytorch_model.bin", "onnx/model.onnx"}
    folders.copy(found, tmp_path / "copied")
    copied = {str(path.relative_to(tmp_path / "copied")) for path in (tmp_path / "copied").rglob("*") if path.is_file()}
    assert copied == set(found.names)
    assert found.weights is not None
    assert find_weights(str(tmp_path / "copied")).digest == found.weights.digest


def test_weights_that_are_only_there_as_a_pickle_are_refused(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    assert "pytorch_model.bin, a pickle, which runs code when it is opened" in problems(tiny)


def test_weights_in_several_files_are_refused(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "model-00001-of-00002.safetensors")
    (tiny / "model.safetensors.index.json").write_text("{}")
    assert "in several files" in problems(tiny)


@pytest.mark.parametrize("name", ["modules.json", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    assert f"{name} is missing" in problems(tiny)


def test_a_folder_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    assert "is not a folder" in problems(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
def test_a_file_that_cannot_be_read_is_named(tiny: Path, name: str) -> None:
    (tiny / name).write_text("{")
    assert Path(name).name in problems(tiny)


def test_a_module_of_its_own_is_refused(tiny: Path) -> None:
    modules = json.loads((tiny / "modules.json").read_text())
    modules[0]["type"] = "modeling_own.OwnTransformer"
    (tiny / "modules.json").write_text(json.dumps(modules))
    assert "brings code of its own (modeling_own.OwnTransformer)" in problems(tiny)


def test_a_module_that_names_a_folder_elsewhere_is_refused(tiny: Path) -> None:
    modules = json.loads((tiny / "modules.json").read_text())
    modules[1]["path"] = "../1_Pooling"
    (tiny / "modules.json").write_text(json.dumps(modules))
    assert "outside of the model" in problems(tiny)


def test_an_architecture_that_needs_its_own_code_is_refused(tiny: Path) -> None:
    change(tiny, "config.json", model_type="own", auto_map={"AutoModel": "modeling_own.OwnModel"})
    assert "needs Python code of its own (own)" in problems(tiny)
    change(tiny, "config.json", model_type="../evil", auto_map=None)
    assert "of a kind that is not known here" in problems(tiny)


def test_code_beside_an_architecture_that_the_library_has_is_not_used(tiny: Path) -> None:
    (tiny / "modeling_own.py").write_text("raise SystemExit('this ran')")
    change(tiny, "config.json", auto_map={"AutoModel": "modeling_own.OwnModel"})
    found = look_into(tiny)
    assert found.problems == []
    embedder = SentenceTransformersEmbedder(str(tiny))
    assert embedder.embed_question("rent").shape == (32,)


def test_a_tokenizer_that_needs_its_own_code_is_refused(tiny: Path) -> None:
    change(tiny, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]})
    assert "tokenizer of tiny needs Python code" in problems(tiny)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("1_Pooling/config.json", {"embedding_dimension": 48}, "its pooling expects 48"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "not supported (lasttoken)"),
        ("1_Pooling/config.json", {"include_prompt": False}, "prompts out of the pooling"),
        ("config.json", {"quantization_config": {"bits": 4}}, "quantised"),
        ("config.json", {"hidden_size": None}, "how long its vectors are"),
        ("adapter_config.json", {"base_model_name_or_path": "another"}, "an adapter"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "euclidean"}, "euclidean"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "not a model for embedding"),
    ],
)
def test_what_would_give_other_vectors_is_refused(tiny: Path, name: str, values: dict[str, object], words: str) -> None:
    change(tiny, name, **values)
    assert words in problems(tiny)


def test_each_thing_is_said(tiny: Path) -> None:
    change(tiny, "1_Pooling/config.json", pooling_mode="max", embedding_dimension=16)
    change(tiny, "config.json", quantization_config={})
    assert len(look_into(tiny).problems) == 3


def test_older_files_say_the_same_in_other_words(tiny: Path) -> None:
    (tiny / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    (tiny / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128, "do_lower_case": False}))
    change(tiny, "config_sentence_transformers.json", prompts={"query": "q: ", "passage": "p: "})
    weights = find_weights(str(tiny))
    assert (weights.pooling, weights.max_tokens, weights.question_prompt, weights.passage_prompt) == (
        *("cls", 128),
        *("q: ", "p: "),
    )


def test_vectors_that_are_compared_by_length_too_are_refused_and_normalised_ones_are_not(tiny: Path) -> None:
    change(tiny, "config_sentence_transformers.json", similarity_fn_name="dot")
    assert look_into(tiny).problems == []
    modules = json.loads((tiny / "modules.json").read_text())
    (tiny / "modules.json").write_text(json.dumps(modules[:2]))
    assert "by their length too" in problems(tiny)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "1_Pooling/config.json",
        "config_sentence_transformers.json",
    ],
)
def test_whatever_changes_the_vectors_changes_the_digest(tiny: Path, name: str) -> None:
    before = find_weights(str(tiny)).digest
    if name == "model.safetensors":
        data = bytearray((tiny / name).read_bytes())
        data[-1] ^= 1
        (tiny / name).write_bytes(data)
    elif name == "tokenizer.json":
        change(tiny, name, padding=None)
        (tiny / name).write_text((tiny / name).read_text() + "\n")
    elif name == "config.json":
        change(tiny, name, layer_norm_eps=1e-6)
    elif name == "1_Pooling/config.json":
        change(tiny, name, pooling_mode="cls")
    else:
        change(tiny, name, prompts={"query": "question: ", "document": "passage: "})
    assert find_weights(str(tiny)).digest != before


def test_where_a_model_was_made_does_not_change_its_digest(tiny: Path) -> None:
    before = find_weights(str(tiny)).digest
    change(tiny, "config.json", _name_or_path="/somewhere/else", transformers_version="1.0", dtype="bfloat16")
    assert find_weights(str(tiny)).digest == before


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    numbers = torch.tensor([[1.0, -2.5], [0.0078125, 3e38]])
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        save_file({"linear.weight": numbers.to(kind)}, tmp_path / "model.safetensors")
        read = tensors_of(tmp_path / "model.safetensors")["linear.weight"]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, numbers.to(kind).float().numpy())
    (tmp_path / "model.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(Incomplete, match="not a whole safetensors file"):
        tensors_of(tmp_path / "model.safetensors")


TEXTS = ["", "rent", "the notice period is 3 months", "tenant: the fee, the rent - the rule. " * 60]


@pytest.mark.parametrize(
    ("pooling", "normalise", "prompts", "project_to"),
    [("mean", True, PROMPTS, 0), ("cls", False, None, 0), ("mean", True, PROMPTS, 48), ("cls", False, None, 16)],
)
def test_both_ways_of_running_a_model_do_what_its_library_does(
    tmp_path: Path, pooling: str, normalise: bool, prompts: dict[str, str] | None, project_to: int
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tiny_models.make(
        tmp_path / "tiny", pooling=pooling, normalise=normalise, prompts=prompts, project_to=project_to
    )
    openvino.export(find_weights(str(folder)), tmp_path / "export")
    library = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    wanted = library.encode_document(TEXTS, normalize_embeddings=True)
    question = library.encode_query("the notice period", normalize_embeddings=True)
    assert wanted.shape == (len(TEXTS), project_to or 32)
    assert np.std(wanted, axis=0).max() > 0.01  # random weights that tell texts apart
    for embedder in (
        OpenVinoEmbedder(str(folder), str(tmp_path / "export")),
        SentenceTransformersEmbedder(str(folder)),
    ):
        np.testing.assert_allclose(embedder.embed_passages(TEXTS), wanted, atol=1e-4)
        np.testing.assert_allclose(embedder.embed_question("the notice period"), question, atol=1e-4)


def test_weights_that_do_not_fit_their_description_are_refused(tiny: Path, tmp_path: Path) -> None:
    change(tiny, "config.json", num_hidden_layers=3)
    with pytest.raises(Permanent, match=r"do not fit its config\.json: 16 of them are missing"):
        openvino.export(find_weights(str(tiny)), tmp_path / "export")
