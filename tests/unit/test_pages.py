"""Long texts are cut where a reader would cut them, and not a word is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.pages import split_long
from rag.domain.types import Box, Heading, Page


@given(st.text("ab \n", max_size=400), st.integers(1, 60))
def test_every_word_survives_and_no_part_is_too_long(text: str, limit: int) -> None:
    parts = split_long([Page(None, text)], limit=limit)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.split())
    assert all(len(part.text) <= limit for part in parts)


def test_pdf_pages_are_never_split() -> None:
    page = Page(1, "word " * 10_000)
    assert split_long([page]) == (page,)


def test_a_cut_falls_before_a_heading_and_its_offset_counts_anew() -> None:
    before = "x" * 60 + "\n\n" + "y" * 10
    text = before + "\n\nSecond part\n\n" + "z" * 60
    at = text.index("Second")
    first, second = split_long([Page(None, text, (Heading(0, 1, "x"), Heading(at, 1, "Second part")))], limit=100)
    assert first == Page(None, before, (Heading(0, 1, "x"),))
    assert second.text.startswith("Second part")
    assert second.headings == (Heading(0, 1, "Second part"),)


def test_a_cut_prefers_a_blank_line_to_a_line_end_to_a_blank() -> None:
    assert split_long([Page(None, "aaaa bbbb\ncccc\n\ndddd eeee")], limit=20)[0].text == "aaaa bbbb\ncccc"
    assert split_long([Page(None, "aaaa bbbb\ncccc dddd")], limit=16)[0].text == "aaaa bbbb"
    assert split_long([Page(None, "aaaa bbbb cccc")], limit=12)[0].text == "aaaa bbbb"


def test_boxes_move_with_their_words() -> None:
    parts = split_long([Page(None, "aaaa bbbb", boxes=(Box(0, 4, 0, 0, 1, 1), Box(5, 9, 0, 0, 1, 1)))], limit=5)
    assert [[part.text[box.start : box.end] for box in part.boxes] for part in parts] == [["aaaa"], ["bbbb"]]


def test_eight_megabytes_without_a_blank_are_cut_quickly() -> None:
    assert len(split_long([Page(None, "x" * 8_000_000)])) == 400


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        split_long([], limit=0)
