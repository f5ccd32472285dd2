"""How well scores tell answerable questions from others, and where the line is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.domain.thresholds import area, line, separation, share_below

SCORES = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=40)


def test_scores_that_never_overlap_separate_wholly() -> None:
    found = separation([0.8, 0.9, 0.7], [0.1, 0.2, 0.3])
    assert (found.area.value, found.refused.value, found.false_refusals.value) == (1.0, 1.0, 0.0)


def test_scores_that_say_nothing_separate_like_a_coin() -> None:
    found = separation([0.5] * 30, [0.5] * 30)
    assert found.area.value == 0.5
    assert found.refused.value == 0.0
    assert found.false_refusals.value == 1.0


@given(SCORES, SCORES)
def test_the_area_counts_pairs(yes: list[float], no: list[float]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
    assert area(np.array(yes), np.array(no)) == pytest.approx(sum(pairs) / len(pairs))


@given(SCORES, st.sampled_from([0.0, 0.05, 0.2, 0.5]))
def test_the_line_refuses_no_more_than_it_may_and_none_higher_would_do(scores: list[float], most: float) -> None:
    values = np.array(scores)
    drawn = line(values, most)
    assert share_below(values, drawn) <= most
    higher = values[values > drawn]
    if len(higher):
        assert share_below(values, float(higher.min())) > most


def test_five_of_a_hundred_may_be_refused() -> None:
    scores = np.arange(100, dtype=np.float64)
    assert line(scores, 0.05) == 5.0
    assert share_below(scores, 5.0) == 0.05


def test_the_interval_holds_the_figure_and_narrows_with_more_questions() -> None:
    random = np.random.default_rng(1)
    few = separation(random.normal(1, 1, 30).tolist(), random.normal(0, 1, 30).tolist()).area
    many = separation(random.normal(1, 1, 600).tolist(), random.normal(0, 1, 600).tolist()).area
    assert few.low <= few.value <= few.high
    assert many.high - many.low < few.high - few.low


def test_questions_of_one_kind_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        separation([1.0], [])
