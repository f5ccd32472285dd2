"""What a keyword index is: BM25 over one collection, on disk, incremental. It returns ids only and can be rebuilt at any time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.domain.pooling import Statistics
from rag.domain.types import Allowed, Hit


@dataclass(frozen=True, slots=True)
class Entry:
    """What is indexed of a chunk: its words, the context (title, headings) in which it stands, and the language of both as
    ISO 639-1, or "" where it is not known."""

    chunk_id: int
    text: str
    context: str = ""
    language: str = ""


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
    def search(self, question: str, *, limit: int, allowed: Allowed, pool: Statistics | None = None) -> list[Hit]:
        """The `limit` best allowed ids by BM25, best first; any text is a valid question, none of it is query syntax.

        With `pool`, the statistics for this question of several indexes, words count as rare as they are there, and passages
        as long as they are beside the others of this index: near enough to choose candidates, which `scores` then makes
        comparable.
        """

    @abstractmethod
    def scores(self, question: str, *, ids: frozenset[int], pool: Statistics) -> list[Hit]:
        """Those of `ids` that hold a word of the question, best first, by BM25 as one index would give it that holds all
        that `pool` was summed over. For some hundred ids."""

    @abstractmethod
    def statistics(self, question: str, *, languages: frozenset[str]) -> Statistics:
        """What to sum over indexes (`rag.domain.pooling.pooled`) before they are asked the same question; `languages` are
        those of all of them. What was removed may count until it is merged away."""

    @abstractmethod
    def languages(self) -> frozenset[str]:
        """The languages by whose rules its passages are read."""

    @abstractmethod
    def quoting(self, question: str, *, allowed: Allowed) -> frozenset[int]:
        """The allowed ids that hold, word by word in any inflection, everything that the question puts in double quotes;
        none where nothing is quoted."""

    @abstractmethod
    def refresh(self) -> None:
        """Sees what the writer has committed since."""

    @abstractmethod
    def ids(self) -> frozenset[int]:
        """Every id in the index."""

    @abstractmethod
    def __len__(self) -> int: ...
