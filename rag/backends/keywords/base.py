"""What a keyword index is: BM25 over one collection, on disk, incremental. It returns ids only and can be rebuilt at any time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.domain.types import Allowed, Hit


@dataclass(frozen=True, slots=True)
class Entry:
    """What is indexed of a chunk: its words, and the context (title, headings) in which it stands."""

    chunk_id: int
    text: str
    context: str = ""


class KeywordIndex(ABC):
    """A folder that one writer changes and many readers follow. A reader sees a change after `refresh()`."""

    @classmethod
    @abstractmethod
    def create(cls, folder: Path) -> "KeywordIndex":
        """An empty index in the new folder `folder`."""

    @classmethod
    @abstractmethod
    def open(cls, folder: Path) -> "KeywordIndex":
        """The index in `folder`; raises `Damaged` when it is missing or cannot be read."""

    @abstractmethod
    def change(self, *, add: Sequence[Entry], remove: Sequence[int]) -> None:
        """Removes, then adds, in one durable commit. Adding an id that is there replaces it. One writer at a time:
        a second raises `Retryable`."""

    @abstractmethod
    def search(self, question: str, *, limit: int, allowed: Allowed) -> list[Hit]:
        """The `limit` best allowed ids by BM25, best first; any text is a valid question, none of it is query syntax."""

    @abstractmethod
    def refresh(self) -> None:
        """Sees what the writer has committed since."""

    @abstractmethod
    def ids(self) -> frozenset[int]:
        """Every id in the index."""

    @abstractmethod
    def __len__(self) -> int: ...
