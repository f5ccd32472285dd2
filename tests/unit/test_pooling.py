"""Statistics of several collections are those of one that holds them all."""

import math

import pytest

from rag.domain.pooling import Statistics, pooled, saturation

LEASE, RENT = ("text", "lease"), ("text", "rent")


def test_a_pool_is_the_sum_of_its_parts() -> None:
    one = Statistics(10, {"text": 100.0}, {LEASE: 3}, frozenset({"en"}))
    other = Statistics(30, {"text": 900.0, "context": 30.0}, {LEASE: 1, RENT: 30}, frozenset({"de", "en"}))
    whole = pooled([one, other])
    assert whole == Statistics(40, {"text": 1000.0, "context": 30.0}, {LEASE: 4, RENT: 30}, frozenset({"de", "en"}))
    assert (whole.mean_length("text"), whole.mean_length("context"), whole.mean_length("pieces")) == (25.0, 0.75, 0.0)
    assert pooled([]) == Statistics(0, {}, {})
    assert pooled([one]) == one


def test_rarity_is_lucene_s_inverse_document_frequency() -> None:
    found = Statistics(100, {}, {LEASE: 4, RENT: 100})
    assert found.rarity(LEASE) == pytest.approx(math.log(1 + 96.5 / 4.5))
    assert found.rarity(("text", "unheard")) > found.rarity(LEASE) > found.rarity(RENT) > 0
    # Removed passages count among those that hold a word until they are merged away.
    assert Statistics(3, {}, {LEASE: 9}).rarity(LEASE) > 0


def test_saturation_grows_with_times_and_falls_with_length() -> None:
    assert saturation(1, 100, 100) == pytest.approx(1 / 2.2)
    assert saturation(2, 100, 100) > saturation(1, 100, 100) > saturation(1, 200, 100)
    assert saturation(10**6, 100, 100) == pytest.approx(1, abs=1e-5)
