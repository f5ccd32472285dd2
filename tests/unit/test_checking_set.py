"""The checker on its test set: no changed fact passes, and true sentences are left in peace."""

import pytest

from tests.benchmarks.checking import Checked, checked
from tests.benchmarks.checking_set import FACTS, SCIFACT, pairs, scifact


@pytest.fixture(scope="module")
def found() -> list[Checked]:
    return checked(pairs())


def test_the_set_is_large_and_has_every_kind_in_both_halves(found: list[Checked]) -> None:
    assert len(found) >= 600
    for held_out in (False, True):
        kinds = {each.pair.kind for each in found if each.pair.held_out is held_out}
        assert kinds >= {
            "verbatim",
            "paraphrase",
            "joined",
            "formats",
            "units",
            "name",
            "negation",
            "modality",
            "unrelated",
            "unit",
        }
        assert kinds >= FACTS


def test_no_changed_number_or_date_passes_as_supported(found: list[Checked]) -> None:
    passed = [each.pair.sentence for each in found if each.pair.kind in FACTS and each.passed]
    assert passed == []


def test_true_sentences_raise_no_alarm(found: list[Checked]) -> None:
    true = [each for each in found if each.pair.true]
    alarms = [(each.pair.sentence, each.found.reason) for each in true if each.found.alarm]
    assert len(alarms) <= 0.03 * len(true), alarms


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("number", 0.95),
        ("date", 0.95),
        ("unit", 0.95),
        ("name", 0.9),
        ("negation", 0.95),
        ("modality", 0.9),
        ("unrelated", 0.75),
    ],
)
def test_changed_sentences_are_told_aloud(found: list[Checked], kind: str, least: float) -> None:
    own = [each for each in found if each.pair.kind == kind]
    quiet = [each.pair.sentence for each in own if not each.found.alarm]
    assert len(quiet) <= (1 - least) * len(own) + 1, quiet


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="SciFact is not beside the checkout")
def test_true_claims_of_science_are_mostly_left_in_peace_and_changed_numbers_are_not() -> None:
    claims = checked(scifact())
    true = [each for each in claims if each.pair.kind == "claim"]
    assert sum(each.found.alarm for each in true) <= 0.08 * len(true)
    assert not any(each.passed for each in claims if each.pair.kind == "claim, number")
