"""Tiny sentence-transformers models with random weights, saved as their library saves them."""

import json
import warnings
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *".,:-›",
    *("the", "rule", "rent", "notice", "period", "fee", "tenant", "query", "passage"),
)
PROMPTS = {"query": "query: ", "document": "passage: "}


def make(
    folder: Path,
    *,
    pooling: str = "mean",
    normalise: bool = True,
    prompts: dict[str, str] | None = None,
    project_to: int = 0,
    reads: int = 300,
    seed: int = 0,
) -> Path:
    """A BERT of two layers and 32 dimensions (`project_to` of them behind a projection) in the new folder `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertModel, BertTokenizerFast

    raw = folder.with_name(f"{folder.name}-raw")
    raw.mkdir(parents=True)
    (raw / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(seed)
    config = _config(reads)
    BertModel(config).save_pretrained(raw)
    BertTokenizerFast(str(raw / "vocab.txt")).save_pretrained(raw)
    modules: list[Any] = [Transformer(str(raw), max_seq_length=reads), Pooling(32, pooling_mode=pooling)]
    if project_to:
        modules.append(Dense(32, project_to, activation_function=torch.nn.Identity()))
    if normalise:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=prompts or {}, device="cpu").save_pretrained(str(folder))
    (folder / "LICENSE").write_text("Everybody may do everything.\n")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("---\n", "---\nlicense: apache-2.0\n", 1))
    return folder


def _config(reads: int, **more: Any) -> Any:
    """Of a BERT of two layers and 32 dimensions."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=reads,
        initializer_range=0.5,  # so that texts differ
        **more,
    )


def change(folder: Path, name: str, **values: Any) -> None:
    """Writes `values` into a JSON file of the folder; None takes a key out."""
    file = folder / name
    settings = json.loads(file.read_text()) if file.is_file() else {}
    settings |= values
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def entailment(folder: Path, *, reads: int = 128, seed: int = 0) -> Path:
    """A classifier of pairs with three labels, two layers and random weights, as ONNX in the new folder `folder`."""
    import torch
    from transformers import BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(seed)
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    config = _config(reads, id2label=labels, label2id={name: place for place, name in labels.items()})
    model = BertForSequenceClassification(config).eval()
    config.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=reads).save_pretrained(folder)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, of what depends on the example's shape
        torch.onnx.export(
            model,
            tuple(torch.ones((1, 8), dtype=torch.long) for _ in names),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    return folder


def cross_encoder(folder: Path, *, reads: int = 128, seed: int = 0) -> Path:
    """A cross-encoder of two layers and 32 dimensions with random weights, one score for a pair, in the new folder `folder`."""
    import torch
    from transformers import BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(seed)
    config = _config(reads, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=reads).save_pretrained(folder)
    return folder
