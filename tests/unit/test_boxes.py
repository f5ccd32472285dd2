"""Boxes survive packing, are found by offset, and become one mark a line."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.boxes import Rectangle, boxes_between, merge_lines, pack, unpack
from rag.domain.types import Box


@st.composite
def boxes_in_order(draw: st.DrawFn) -> tuple[Box, ...]:
    place = 0
    boxes = []
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=60)):
        corners = [draw(st.floats(0, 1)) for _ in range(4)]
        boxes.append(Box(place + gap, place + gap + length, *corners))
        place += gap + length
    return tuple(boxes)


@given(boxes_in_order())
def test_packing_keeps_offsets_exactly_and_places_to_a_pixel(boxes: tuple[Box, ...]) -> None:
    back = unpack(pack(boxes))
    assert [(box.start, box.end) for box in back] == [(box.start, box.end) for box in boxes]
    for box, other in zip(boxes, back, strict=True):
        assert (other.x0, other.y0, other.x1, other.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1), abs=1e-5)
    assert pack(back) == pack(boxes)


def test_a_page_of_words_packs_small() -> None:
    boxes = [Box(i * 6, i * 6 + 5, (i % 12) / 12, i / 600, (i % 12 + 0.9) / 12, i / 600 + 0.01) for i in range(500)]
    assert len(pack(boxes)) < 8 * len(boxes)


@pytest.mark.parametrize(
    "data",
    [b"\x01", b"\x01rubbish", b"\x02" + zlib.compress(bytes(16)), b"\x01" + zlib.compress(bytes(15))],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not packed boxes"):
        unpack(data)


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    with pytest.raises(ValueError, match="not packed boxes"):
        unpack(b"\x01" + zlib.compress(bytes(200_000_000), 9))


@given(boxes_in_order(), st.integers(0, 3000), st.integers(0, 400))
def test_boxes_between_are_those_that_share_a_character(boxes: tuple[Box, ...], start: int, length: int) -> None:
    end = start + length
    shared = [box for box in boxes if max(box.start, start) < min(box.end, end)]
    found = [box for box in boxes_between(boxes, start, end) if box.start < box.end]
    assert found == shared


def test_words_on_a_line_become_one_mark_and_lines_stay_apart() -> None:
    line = [Box(0, 3, 0.1, 0.10, 0.2, 0.12), Box(4, 9, 0.21, 0.099, 0.3, 0.121)]
    below = [Box(10, 14, 0.1, 0.13, 0.2, 0.15)]
    assert merge_lines(line + below) == [Rectangle(0.1, 0.099, 0.3, 0.121), Rectangle(0.1, 0.13, 0.2, 0.15)]


def test_marks_do_not_join_columns_or_distant_words() -> None:
    left, right = Box(0, 3, 0.1, 0.5, 0.2, 0.52), Box(4, 9, 0.6, 0.5, 0.7, 0.52)
    later = Box(50, 54, 0.22, 0.5, 0.3, 0.52)
    assert len(merge_lines([left, right])) == 2
    assert len(merge_lines([left, later])) == 2


def test_right_to_left_words_become_one_mark() -> None:
    assert len(merge_lines([Box(0, 3, 0.8, 0.5, 0.9, 0.52), Box(4, 9, 0.7, 0.5, 0.79, 0.52)])) == 1


def test_boxes_without_area_give_no_mark() -> None:
    assert merge_lines([Box(0, 1, 0.5, 0.5, 0.5, 0.6)]) == []
