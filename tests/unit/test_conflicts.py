"""Which sources say different things of the same, and which only look so."""

import uuid

import pytest

from rag.domain.conflicts import conflicts
from rag.domain.types import Source


def source(number: int, text: str) -> Source:
    """A passage of a document of its own."""
    return Source(
        number=number, chunk_id=number, document_id=uuid.UUID(int=number), collection_id=uuid.UUID(int=0), extraction_id=1,
        revision=1, title="", heading=(), page_from=0, page_to=0, page_label="", start=0, end=len(text), text=text, score=1.0,
    )  # fmt: skip


LEAVE = "Full-time staff have 27 days of leave a year."


@pytest.mark.parametrize(
    "other",
    [
        "Full-time staff have 29 days of leave a year.",
        "Before. Full-time staff have 29 days of leave each year. After.",
    ],
)
def test_another_value_in_the_same_words_is_a_conflict(other: str) -> None:
    assert conflicts([(1, LEAVE)], [source(1, LEAVE), source(2, other)]) == [(1, 2)]


@pytest.mark.parametrize(
    "other",
    [
        LEAVE,
        "Part-time staff have 14 days of leave a year.",
        "Full-time staff have 27 days of leave a year, and 5 days for training.",
        "Full-time staff have 37 hours of work a week.",
        "Full-time staff have leave.",
        "The fee is 29 euros.",
    ],
)
def test_what_speaks_of_something_else_is_none(other: str) -> None:
    assert conflicts([(1, LEAVE)], [source(1, LEAVE), source(2, other)]) == []


def test_two_passages_of_one_document_are_not_set_against_each_other() -> None:
    one, other = source(1, LEAVE), source(2, LEAVE.replace("27", "29"))
    same = Source(**{name: getattr(other, name) for name in Source.__slots__} | {"document_id": one.document_id})
    assert conflicts([(1, LEAVE)], [one, same]) == []
