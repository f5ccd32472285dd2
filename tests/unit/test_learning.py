import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.domain.learning import FEATURES, FEWEST, Lesson, Weights, discounted, features, fit, learn
from rag.domain.ranking import Named, gather, prior
from rag.domain.types import Hit

Random = np.random.Generator


def lesson(random: Random, *, decisive: int | None, candidates: int = 30) -> Lesson:
    """A question whose one answer has the largest value in feature `decisive`, or, without one, the best prior."""
    table = random.normal(size=(candidates, len(FEATURES)))
    scores = random.normal(size=candidates)
    judge = scores if decisive is None else table[:, decisive]
    gains = np.zeros(candidates)
    gains[int(judge.argmax())] = 1.0
    return Lesson(features=table, prior=scores, gains=gains, ideal=1.0)


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


def test_chance_answers_are_not_proposed() -> None:
    random = np.random.default_rng(3)
    lessons = []
    for _ in range(40):
        each = lesson(random, decisive=None)
        gains = np.zeros(30)
        gains[random.integers(30)] = 1.0
        lessons.append(Lesson(each.features, each.prior, gains, 1.0))
    learned = learn(lessons)
    assert learned.after < learned.before + 0.1
    assert np.abs(learned.weights.values).max() < 1.0


def test_the_figure_after_is_of_questions_that_the_weights_had_not_seen() -> None:
    random = np.random.default_rng(4)
    lessons = [lesson(random, decisive=None, candidates=10) for _ in range(FEWEST)]
    shuffled = [Lesson(each.features, np.zeros(10), random.permutation(each.gains), 1.0) for each in lessons]
    learned = learn(shuffled)
    assert mean_ndcg(shuffled, fit(shuffled, draw=0.001)) > learned.after + 0.05


def test_too_few_questions_teach_nothing() -> None:
    random = np.random.default_rng(5)
    lessons = [lesson(random, decisive=6) for _ in range(FEWEST - 1)]
    unanswered = Lesson(lessons[0].features, lessons[0].prior, np.zeros(30), 1.0)
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
        lessons.append(Lesson(table, each.prior, each.gains, each.ideal))
    assert fit(lessons, draw=1.0).values[5] == 0.0


def test_no_weights_leave_the_order_of_the_prior() -> None:
    random = np.random.default_rng(8)
    each = lesson(random, decisive=None)
    scores = Weights((0.0,) * len(FEATURES)).scores(each.prior, each.features)
    assert np.array_equal(np.argsort(-scores), np.argsort(-each.prior))


def test_gain_counts_by_place() -> None:
    assert discounted(np.array([1.0, 0.0, 1.0])) == pytest.approx(1.5)


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
