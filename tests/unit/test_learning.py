import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.domain.learning import (
    FEATURES,
    FEWEST,
    Figures,
    Lesson,
    Weights,
    features,
    fit,
    helps,
    learn,
    part,
    rearranged,
)
from rag.domain.ranking import Named, gather, prior
from rag.domain.types import Hit

Random = np.random.Generator


def lesson(random: Random, *, decisive: int | None, candidates: int = 30) -> Lesson:
    """A question whose one answer has the largest value in feature `decisive`, or, without one, the best prior."""
    table = random.normal(size=(candidates, len(FEATURES)))
    scores = random.normal(size=candidates)
    judge = scores if decisive is None else table[:, decisive]
    return Lesson(features=table, prior=scores, answers=((int(judge.argmax()),),), places=1)


def mean_ndcg(lessons: list[Lesson], weights: Weights) -> float:
    return float(np.mean([each.ndcg(weights.scores(each.prior, each.features)) for each in lessons]))


def test_what_decides_in_a_collection_is_learned_from_fifty_questions() -> None:
    random = np.random.default_rng(1)
    lessons = [lesson(random, decisive=6) for _ in range(50)]
    unseen = [lesson(random, decisive=6) for _ in range(200)]
    learned = learn(lessons)
    assert learned.helps
    assert learned.after > learned.before + 0.3
    assert mean_ndcg(unseen, learned.weights) > 0.8


def test_where_the_prior_is_right_learning_keeps_to_it() -> None:
    random = np.random.default_rng(2)
    learned = learn([lesson(random, decisive=None) for _ in range(50)])
    unseen = [lesson(random, decisive=None) for _ in range(200)]
    assert not learned.helps
    assert mean_ndcg(unseen, learned.weights) > 0.95


def test_chance_answers_are_seldom_proposed() -> None:
    random = np.random.default_rng(3)
    proposed = 0
    for _ in range(10):
        drawn = [lesson(random, decisive=None, candidates=12) for _ in range(FEWEST)]
        chance = [Lesson(each.features, each.prior, ((int(random.integers(12)),),), 1) for each in drawn]
        proposed += learn(chance).helps
    assert proposed <= 3


def test_the_figure_after_is_of_questions_that_the_weights_had_not_seen() -> None:
    random = np.random.default_rng(4)
    lessons = [lesson(random, decisive=None, candidates=10) for _ in range(FEWEST)]
    shuffled = [Lesson(each.features, np.zeros(10), ((int(random.integers(10)),),), 1) for each in lessons]
    learned = learn(shuffled)
    assert mean_ndcg(shuffled, fit(shuffled, draw=0.001)) > learned.after + 0.05


def test_too_few_questions_teach_nothing() -> None:
    random = np.random.default_rng(5)
    lessons = [lesson(random, decisive=6) for _ in range(FEWEST - 1)]
    unanswered = Lesson(lessons[0].features, lessons[0].prior, (), 1)
    with pytest.raises(ValueError, match="At least 20 questions"):
        learn([*lessons, unanswered])


def test_the_same_questions_always_give_the_same_weights() -> None:
    random = np.random.default_rng(6)
    lessons = [lesson(random, decisive=3) for _ in range(30)]
    assert learn(lessons) == learn(lessons)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_a_stronger_draw_gives_smaller_weights(seed: int, draw: float) -> None:
    random = np.random.default_rng(seed)
    lessons = [lesson(random, decisive=2) for _ in range(20)]
    free, drawn = (np.linalg.norm(fit(lessons, draw=each).values) for each in (draw, 10 * draw))
    assert drawn <= free + 1e-6


def test_a_feature_that_is_always_the_same_gets_no_weight() -> None:
    random = np.random.default_rng(7)
    lessons = []
    for _ in range(25):
        each = lesson(random, decisive=2)
        table = each.features.copy()
        table[:, 5] = 7.0
        lessons.append(Lesson(table, each.prior, each.answers, each.places))
    assert fit(lessons, draw=1.0).values[5] == 0.0


def test_no_weights_leave_the_order_of_the_prior() -> None:
    random = np.random.default_rng(8)
    each = lesson(random, decisive=None)
    scores = Weights((0.0,) * len(FEATURES)).scores(each.prior, each.features)
    assert np.array_equal(np.argsort(-scores), np.argsort(-each.prior))


def test_each_place_gains_once_where_it_is_first_carried() -> None:
    scores = np.array([5.0, 4.0, 3.0, 2.0])
    table = np.zeros((4, len(FEATURES)))
    both = Lesson(table, scores, ((0, 1), (2, 3)), 2)
    assert both.ndcg(scores) == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))
    assert both.recall(scores) == 1.0
    assert both.recall(scores, k=2) == 0.5
    assert Lesson(table, scores, ((2,),), 2).recall(scores) == 0.5  # the other place was not found


def test_what_carries_one_place_shares_its_weight_by_the_prior() -> None:
    scores = np.array([1.0, 1.0, -9.0, 0.0])
    wanted = Lesson(np.zeros((4, len(FEATURES))), scores, ((0, 1, 2), (3,)), 2).wanted()
    assert wanted == pytest.approx([0.25, 0.25, 0.0, 0.5])


def test_a_gain_that_chance_may_give_is_not_proposed() -> None:
    random = np.random.default_rng(9)
    noise = [Figures(0.5, 0.5 + gain, 1, 1) for gain in random.normal(0.01, 0.3, size=FEWEST)]
    sure = [Figures(0.5, 0.51, 1, 1)] * FEWEST
    assert not helps(noise)
    assert helps(sure)
    assert not helps(sure[1:])


@settings(max_examples=50)
@given(st.integers(0, 1000))
def test_rearranging_leaves_every_other_candidate_where_it_was(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, own = random.normal(size=12), random.random(12) < 0.5
    wanted = random.normal(size=int(own.sum()))
    changed = rearranged(scores, own, wanted)
    assert sorted(changed) == sorted(scores)
    assert np.array_equal(changed[~own], scores[~own])
    assert np.array_equal(np.argsort(-changed[own]), np.argsort(-wanted))
    # The places of the merged list that were another's stay another's.
    assert np.array_equal(own[np.argsort(-changed)], own[np.argsort(-scores)])


def test_a_part_of_the_candidates_is_as_if_no_others_had_been_found() -> None:
    mine = gather([Hit(1, 0.8), Hit(3, 0.4)], [Hit(3, 5.0)], [], [Hit(1, 1.0)])
    all_of_them = gather([Hit(1, 0.8), Hit(2, 0.9), Hit(3, 0.4)], [Hit(3, 5.0)], [], [Hit(1, 1.0), Hit(2, 7.0)])
    alone, named = part(all_of_them, None, np.array([True, False, True]))
    assert named is None
    assert alone.ids.tolist() == mine.ids.tolist()
    assert np.array_equal(prior(alone), prior(mine))


def test_each_candidate_has_every_feature_and_all_are_finite() -> None:
    found = gather([Hit(1, 0.8), Hit(2, 0.5)], [Hit(2, 9.0), Hit(3, 1.0)], [Hit(3, 0.4)], [])
    lengths = np.array([800.0, 0.0, 40.0])
    plain = features(found, None, lengths)
    named = features(found, Named(np.array([0.0, 1.0, 0.0]), found.cosine, found.keyword), lengths)
    assert plain.shape == named.shape == (3, len(FEATURES))
    assert np.isfinite(plain).all()
    assert np.isfinite(named).all()
    assert plain[:, FEATURES.index("both lists")].tolist() == [0.0, 1.0, 0.0]


def test_features_of_no_candidates_are_an_empty_table() -> None:
    found = gather([], [], [], [])
    assert features(found, None, np.zeros(0)).shape == (0, len(FEATURES))
    assert prior(found).shape == (0,)
