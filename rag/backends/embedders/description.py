"""What a sentence-transformers folder says of itself: which modules, how its vectors are made, and what stands against using it.

Only these files are ever read, and only as data: JSON, and safetensors, which is numbers behind a JSON header. A pickle or a
Python file in the folder is not opened, by nobody: what needs one is refused with a sentence.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.domain.errors import Permanent
from rag.domain.types import Vectors

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
LONGEST = 1024  # tokens: attention needs memory for their square, and no passage comes near
_SETTINGS = ("modules.json", "config.json")
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")  # count positions from behind the padding token
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_HEADER_MOST = 100_000_000  # bytes; the format's own limit

Pooling = Literal["mean", "cls"]
Activation = Literal["identity", "tanh"]


class Incomplete(Permanent):
    """The folder lacks a file, or one cannot be read."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A matrix behind the pooling, in a safetensors file of its own: `linear.weight`, and maybe `linear.bias`."""

    file: Path
    activation: Activation

    def load(self) -> tuple[Vectors, Vectors | None]:
        """float32: the matrix, (outputs, inputs), and the bias, (outputs,). Raises Incomplete when the file is none."""
        tensors = tensors_of(self.file)
        if "linear.weight" not in tensors:
            raise Incomplete(f"{self.file.parent.name}/{self.file.name} has no matrix in it.")
        return tensors["linear.weight"], tensors.get("linear.bias")


@dataclass(slots=True)
class Description:
    """`problems` are sentences, one for each thing that keeps Footnote from using the model; none: it can be used."""

    folder: Path
    dimension: int = 0
    max_tokens: int = 0  # special tokens included
    pooling: Pooling = "mean"
    normalised: bool = False  # by the model itself; Footnote does it in any case
    question_prompt: str = ""
    passage_prompt: str = ""
    padding: int = 0
    projections: tuple[Projection, ...] = ()
    architecture: str = ""  # config.json without what is only noted there, as JSON
    kind: str = ""  # such as "bert"
    problems: list[str] = field(default_factory=list)

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER


def describe(folder: Path) -> Description:
    """What the folder holds. Raises Incomplete when it is no whole sentence-transformers folder: then nothing can be said of it."""
    missing = [name for name in (*_SETTINGS, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise Incomplete(_missing(folder, missing))
    found = Description(folder)
    config = _json(folder / "config.json")
    extra = _json(folder / "config_sentence_transformers.json", optional=True)
    _modules(found, config)
    _code(found, config)
    _limits(found, config)
    _prompts(found, extra)
    # The first is where the model was made, the others by what: none of them changes a vector.
    noted = {"_name_or_path", "transformers_version", "auto_map", "torch_dtype", "dtype"}
    kept = {key: value for key, value in config.items() if key not in noted and value is not None}
    found.architecture = json.dumps(kept, sort_keys=True)
    return found


def tensors_of(file: Path) -> dict[str, Vectors]:
    """The numbers of a safetensors file as float32. Raises Incomplete when it is none."""
    try:
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + min(size, _HEADER_MOST)])
        body = memoryview(data)[8 + size :]
        return {name: _tensor(entry, body) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Incomplete(f"{file.parent.name}/{file.name} is not a whole safetensors file.") from error


def _tensor(entry: Mapping[str, Any], body: memoryview) -> Vectors:
    first, last = entry["data_offsets"]
    numbers = np.frombuffer(body[first:last], dtype=_TYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32).reshape(entry["shape"])


def _missing(folder: Path, missing: list[str]) -> str:
    name = folder.name
    if not folder.is_dir():
        return f"{folder} is not a folder."
    if missing == [WEIGHTS]:
        if (folder / "model.safetensors.index.json").is_file():
            return f"The weights of {name} are in several files; a single {WEIGHTS} is needed."
        pickles = sorted(
            path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in folder.glob(pattern)
        )
        if pickles:
            return (
                f"The weights of {name} are only there as {pickles[0]}, a pickle, which runs code when it is opened; "
                f"{WEIGHTS} is needed."
            )
    return f"{name} is not a complete sentence-transformers model folder: {', '.join(missing)} is missing."


# --- Each thing that may stand against it


def _modules(found: Description, config: Mapping[str, Any]) -> None:
    """Which modules there are, and what the vectors go through behind the last layer."""
    name = found.folder.name
    modules = _json_list(found.folder / "modules.json")
    kinds: list[str] = []
    for module in modules:
        package, _dot, kind = str(module.get("type", "")).rpartition(".")
        if package.partition(".")[0] != "sentence_transformers":
            found.problems.append(
                f"{name} brings code of its own ({module.get('type')}); only models that need none are taken."
            )
            return
        kinds.append(kind)
    unknown = sorted(set(kinds) - set(_MODULES))
    if unknown or kinds[:2] != ["Transformer", "Pooling"] or kinds.count("Transformer") + kinds.count("Pooling") != 2:
        found.problems.append(f"{name} is built in a way that is not supported: {', '.join(kinds) or 'no modules'}.")
        return
    if modules[0].get("path"):
        found.problems.append(
            f"The weights of {name} lie in the subfolder {modules[0]['path']}, which is not supported."
        )
    found.normalised = "Normalize" in kinds
    hidden = config.get("hidden_size", config.get("dim"))
    if not isinstance(hidden, int) or hidden <= 0:
        found.problems.append(f"config.json of {name} does not say how long its vectors are.")
        return
    _pooling(found, _json(_inside(found.folder, modules[1]) / "config.json"), hidden)
    found.dimension = hidden
    _projections(found, [module for module, kind in zip(modules, kinds, strict=True) if kind == "Dense"])
    if "Normalize" in kinds[:-1]:
        found.problems.append(f"{name} normalises its vectors before its last step, which is not supported.")


def _pooling(found: Description, config: Mapping[str, Any], hidden: int) -> None:
    name = found.folder.name
    chosen = config.get("pooling_mode")
    if chosen is None:
        modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
        chosen = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}.get(
            modes[0] if len(modes) == 1 else "", modes
        )
    if isinstance(chosen, list) and len(chosen) == 1:
        chosen = chosen[0]
    if chosen in {"mean", "cls"}:
        found.pooling = "mean" if chosen == "mean" else "cls"
    else:
        found.problems.append(f"{name} pools in a way that is not supported ({chosen}); mean and cls are.")
    if config.get("include_prompt") is False:
        found.problems.append(f"{name} leaves its prompts out of the pooling, which is not supported.")
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden))
    if width != hidden:
        found.problems.append(
            f"{name} contradicts itself: its vectors have {hidden} numbers, its pooling expects {width}."
        )


def _projections(found: Description, modules: list[Mapping[str, Any]]) -> None:
    name = found.folder.name
    made: list[Projection] = []
    for module in modules:
        folder = _inside(found.folder, module)
        config = _json(folder / "config.json")
        activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
        if activation not in {"Identity", "Tanh"} or config.get("use_residual"):
            found.problems.append(f"The projection {folder.name} of {name} is built in a way that is not supported.")
            return
        if not (folder / WEIGHTS).is_file():
            found.problems.append(f"The projection {folder.name} of {name} has no {WEIGHTS}; a pickle is not opened.")
            return
        projection = Projection(folder / WEIGHTS, "tanh" if activation == "Tanh" else "identity")
        matrix, bias = projection.load()
        outputs = matrix.shape[0]
        if matrix.ndim != 2 or matrix.shape[1] != found.dimension or (bias is not None and bias.shape != (outputs,)):
            found.problems.append(
                f"{name} contradicts itself: its vectors have {found.dimension} numbers, its projection {folder.name} "
                f"expects {matrix.shape[-1]}."
            )
            return
        made.append(projection)
        found.dimension = outputs
    found.projections = tuple(made)


def _code(found: Description, config: Mapping[str, Any]) -> None:
    """Refuses what would have to bring Python code: an architecture, or a tokenizer, that the library does not have itself."""
    name = found.folder.name
    found.kind = str(config.get("model_type", ""))
    if not _known(found.kind.replace("-", "_")):
        own = "needs Python code of its own" if "auto_map" in config else "is of a kind that is not known here"
        found.problems.append(f"{name} {own} ({found.kind or 'no model_type'}); only models that need none are taken.")
    tokenizer = _json(found.folder / "tokenizer_config.json", optional=True)
    if "auto_map" in tokenizer:
        found.problems.append(f"The tokenizer of {name} needs Python code of its own, which is not run.")
    if "quantization_config" in config:
        found.problems.append(f"The weights of {name} are quantised; the full ones are needed.")
    if (found.folder / "adapter_config.json").is_file():
        found.problems.append(f"{name} is an adapter for another model; merge the two first.")


def _known(kind: str) -> bool:
    """Whether the library has this architecture. Looked up on the disk: importing it would take seconds."""
    library = find_spec("transformers")
    if library is None or library.origin is None or not kind.isidentifier():
        return False
    return (Path(library.origin).parent / "models" / kind / f"modeling_{kind}.py").is_file()


def _limits(found: Description, config: Mapping[str, Any]) -> None:
    """How many tokens it reads: the least of what its files say."""
    name = found.folder.name
    transformer = _json(found.folder / "sentence_bert_config.json", optional=True)
    tokenizer = _json(found.folder / "tokenizer_config.json", optional=True)
    padding = config.get("pad_token_id")
    found.padding = padding if isinstance(padding, int) and padding >= 0 else 0
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and found.kind in _OFFSET_POSITIONS:
        positions -= found.padding + 1
    said = transformer.get("max_seq_length") or tokenizer.get("model_max_length")
    limits = [int(limit) for limit in (said, positions) if isinstance(limit, int | float) and limit > 0]
    if not limits:
        found.problems.append(f"{name} does not say how many tokens it reads.")
    found.max_tokens = min([*limits, LONGEST])
    if transformer.get("do_lower_case") and not _lower_cases(found.tokenizer):
        found.problems.append(f"{name} wants its text in lower case, which its {TOKENIZER} does not do.")
    if transformer.get("transformer_task", "feature-extraction") != "feature-extraction":
        found.problems.append(f"{name} is not a model for embedding text ({transformer['transformer_task']}).")


def _prompts(found: Description, extra: Mapping[str, Any]) -> None:
    """As encode_query and encode_document of sentence-transformers choose them, and how vectors are meant to be compared."""
    prompts = extra.get("prompts") or {}
    found.question_prompt = str(prompts.get("query") or "")
    document = next((name for name in ("document", "passage", "corpus") if name in prompts), "")
    found.passage_prompt = str(prompts.get(document) or "")
    similarity = extra.get("similarity_fn_name") or "cosine"
    if similarity not in {"cosine", "dot"} or (similarity == "dot" and not found.normalised):
        found.problems.append(
            f"{found.folder.name} compares vectors by their {'length too' if similarity == 'dot' else similarity}; "
            "Footnote compares their directions."
        )


def _lower_cases(tokenizer: Path) -> bool:
    normalizer = _json(tokenizer).get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    return any(step.get("lowercase") or step.get("type") == "Lowercase" for step in steps)


# --- Files


def _inside(folder: Path, module: Mapping[str, Any]) -> Path:
    """The module's folder. Raises Incomplete when it would lie outside the model's."""
    path = folder / str(module.get("path", ""))
    if folder.resolve() not in path.resolve().parents:
        raise Incomplete(f"modules.json of {folder.name} names a folder outside of the model.")
    return path


def _json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise Incomplete(_unreadable(path)) from error


def _json_list(path: Path) -> list[dict[str, Any]]:
    try:
        return [dict(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise Incomplete(_unreadable(path)) from error


def _unreadable(path: Path) -> str:
    return f"{path.parent.name} is not a complete sentence-transformers model folder: {path.name} is missing or cannot be read."
