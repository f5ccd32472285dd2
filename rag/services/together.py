"""Several collections asked as one: what makes the scores of their words comparable."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from rag.domain.pooling import Statistics, pooled
from rag.domain.quotations import quotations
from rag.domain.types import Allowed, Only
from rag.services.indexing import Reader


class Together:
    """The collections of one search, all of which the asker may read and asked: no other adds to their statistics."""

    def __init__(self, readers: Iterable[Reader]) -> None:
        self._readers = tuple(readers)
        self._pools: dict[str, Statistics] = {}

    @property
    def several(self) -> bool:
        """Whether more than one collection is asked."""
        return len(self._readers) > 1

    def statistics(self, text: str) -> Statistics | None:
        """How rare the words of `text` are in all of them; None for one that is asked alone, which its own are right for."""
        if not self.several:
            return None
        if text not in self._pools:
            languages = frozenset[str]().union(*(reader.languages() for reader in self._readers))
            self._pools[text] = pooled(reader.statistics(text, languages=languages) for reader in self._readers)
        return self._pools[text]


def holding_quotations(
    question: str, readers: Mapping[UUID, Reader], within: Mapping[UUID, Allowed]
) -> Mapping[UUID, Allowed]:
    """Of `within` the passages that hold everything that the question puts in double quotes; all of it where none does."""
    if not quotations(question):
        return within
    held = {each: readers[each].quoting(question, allowed=allowed) for each, allowed in within.items()}
    return {each: Only(ids) for each, ids in held.items() if ids} or within
