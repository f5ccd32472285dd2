"""How likely passages answer, and when that is clear before their sentences were read."""

import pytest

from rag.domain.evidence import THRESHOLD, Evidence, is_clear, likelihood


def test_each_sign_speaks_for_an_answer() -> None:
    seen = Evidence(cosine=0.5, coverage=0.5)
    base = likelihood(seen, 0.5)
    assert likelihood(Evidence(0.6, 0.5), 0.5) > base
    assert likelihood(Evidence(0.5, 0.9), 0.5) > base
    assert likelihood(seen, 0.6) > base


def test_what_is_near_and_carries_the_words_is_answered_and_the_far_refused() -> None:
    assert likelihood(Evidence(0.7, 0.9), 0.65) > 0.5
    assert likelihood(Evidence(0.2, 0.2), 0.2) < THRESHOLD


def test_nothing_is_held_against_passages_that_the_model_cannot_compare() -> None:
    far = Evidence(cosine=0.1, coverage=0.3)
    assert likelihood(far, 0.1) < THRESHOLD
    assert likelihood(far, 0.1, trust=0.01) > THRESHOLD


@pytest.mark.parametrize("cosine", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_what_is_clear_would_not_be_refused_by_any_usual_sentence(cosine: float) -> None:
    seen = Evidence(cosine=cosine, coverage=0.5)
    if is_clear(seen, THRESHOLD):
        assert likelihood(seen, cosine - 0.2) >= THRESHOLD
        assert likelihood(seen, cosine) >= THRESHOLD
    else:
        assert likelihood(seen, cosine - 0.2) < THRESHOLD


def test_a_clear_case_is_clear_and_a_doubtful_one_is_not() -> None:
    assert is_clear(Evidence(0.75, 0.9), THRESHOLD)
    assert not is_clear(Evidence(0.3, 0.4), THRESHOLD)
