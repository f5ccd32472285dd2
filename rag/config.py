"""settings.RAG as one frozen value, built once; nobody else reads those settings."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings


@dataclass(frozen=True, slots=True)
class RagConfig:
    """How this installation answers. Sizes in bytes, times in seconds."""

    data: Path
    ollama_url: str
    ollama_more_urls: tuple[str, ...]
    openai_urls: tuple[str, ...]
    openai_key: str
    openai_models: tuple[str, ...]
    replicate_url: str
    replicate_key: str
    replicate_models: tuple[str, ...]
    outside_hosts: tuple[str, ...]
    prompt: str  # "auto": by the size of the model
    context_tokens: int
    answer_tokens: int
    parallel_answers: int  # 0: what the provider is known to do
    first_token_seconds: int
    gguf: str
    llama_url: str
    llama_key: str
    embedder_folder: str
    embed_threads: int
    parse_seconds: int
    parse_memory: int
    collection_bytes: int  # the most; 0: no limit
    collection_documents: int
    user_bytes: int
    document_pages: int
    private_file_hours: int  # after which a file dropped into a conversation is erased
    reading_pages: int  # the most that are read whole for one question
    watch_root: str
    mail_hosts: tuple[str, ...]
    mail_ca: str
    lease_seconds: int
    vector_indexes: tuple[tuple[int, str], ...]  # from how many vectors on, ascending from 0
    keyword_index: str
    passage_embedder: str
    question_embedder: str
    reranker: str
    reranker_folder: str  # "": none
    entailment: str
    entailment_folder: str  # "": none

    @property
    def ollama_urls(self) -> tuple[str, ...]:
        """Every Ollama that may be asked; where it matters which, the first."""
        return (self.ollama_url, *self.ollama_more_urls)

    @property
    def index_folder(self) -> Path:
        return self.data / "index"

    @property
    def page_folder(self) -> Path:
        """Where the pictures of pages are cached, a folder for each document."""
        return self.data / "cache" / "pages"

    @property
    def imported_folder(self) -> Path:
        """Where the embedding models lie that an administrator imported, a folder each."""
        return self.data / "models" / "imported"

    @property
    def exports_folder(self) -> Path:
        """Where the exported weights of imported models lie, in folders of the same names."""
        return self.data / "models" / "exported"

    @property
    def export_folder(self) -> Path:
        """Where the exported weights lie, for questions and passages, with what the self-test found of them."""
        return self.data / "models" / "question"


@lru_cache(maxsize=1)
def rag_config() -> RagConfig:
    """The configuration; tests that change settings call `rag_config.cache_clear()`."""
    values: dict[str, Any] = {key.lower(): value for key, value in settings.RAG.items()}
    return RagConfig(data=Path(settings.DATA_DIR), **values)
