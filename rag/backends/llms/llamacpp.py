"""A model file of the user's own, served by llama.cpp in a process beside this one (`llamacpp_server.py`)."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from rag.backends.llms.base import ModelInfo
from rag.backends.llms.openai_compatible import IDLE_SECONDS, OpenAICompatibleLLM
from rag.backends.llms.wire import CONNECT_SECONDS, as_object, token_bound
from rag.domain.errors import Permanent
from rag.domain.types import Prompt

MISSING = "The part that runs model files is not installed. With FOOTNOTE_GGUF set, run: python3 manage.py up"
_MAGIC = b"GGUF"
_COUNT_SECONDS = 5.0


class LlamaCppLLM(OpenAICompatibleLLM):
    """The model file `model_path`, as the server at `url` runs it."""

    provider = "llamacpp"
    counts_exactly = True
    parallel = 1  # as llamacpp_server starts it

    def __init__(
        self,
        url: str,
        key: str,
        *,
        model_path: str,
        context_tokens: int,
        first_token_seconds: float = 120.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        info = model_info(Path(model_path))
        super().__init__(
            url,
            key,
            name=info.name,
            digest=info.digest,
            context_tokens=context_tokens,
            # Most files hold four to five bits a parameter.
            billions=info.billions or info.size / 0.6e9,
            first_token_seconds=first_token_seconds,
            idle_seconds=idle_seconds,
        )

    def count_tokens(self, text: str) -> int:
        """Exact, by asking the server, which takes a millisecond or two; a bound where it does not answer."""
        return _count(self.url, self._headers.get("Authorization", ""), text)

    def _body(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        # The prompt's beginning is the same from question to question: what was computed for it is used again.
        return {**super()._body(prompt, max_tokens), "cache_prompt": True}


@lru_cache(maxsize=512)  # the rules and the passages of a conversation are counted again with every question
def _count(url: str, authorization: str, text: str) -> int:
    try:
        response = httpx.post(
            f"{url}/tokenize",
            json={"content": text, "add_special": False},
            headers={"Authorization": authorization},
            timeout=httpx.Timeout(_COUNT_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )
        tokens = as_object(response.raise_for_status().json()).get("tokens")
    except (httpx.HTTPError, ValueError):
        tokens = None
    return len(tokens) if isinstance(tokens, list) else token_bound(text)


def model_info(path: Path) -> ModelInfo:
    """Name, size and sha256 of a model file; raises `Permanent` when it is missing or no GGUF file.

    The digest of a file is computed once per process: reading four gigabytes takes some seconds.
    """
    path = path.expanduser()
    try:
        stat = path.stat()
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError:
        raise Permanent("The model file that FOOTNOTE_GGUF names cannot be read. Correct the path.") from None
    if magic != _MAGIC:
        raise Permanent("The file that FOOTNOTE_GGUF names is not a GGUF model. Name a file that ends in .gguf.")
    return ModelInfo(name=path.stem, digest=_digest(path, stat.st_size, stat.st_mtime_ns), size=stat.st_size)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int) -> str:
    del size, changed  # part of the key: another file under the same path is read again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def available() -> bool:
    """Whether model files can be run here."""
    return importlib.util.find_spec("xllamacpp") is not None
