"""What every vector index promises, asked of each one found in rag/backends/vectors."""

import random
import shutil
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.backends import vectors
from rag.backends.errors import Damaged
from rag.backends.vectors import rabitq
from rag.backends.vectors.base import VectorIndex
from rag.backends.vectors.exact import ExactIndex
from rag.backends.vectors.faiss import FaissIndex
from rag.backends.vectors.half import HalfIndex
from rag.backends.vectors.rabitq import RabitqIndex
from rag.domain.types import Allowed, Everything, Except, Hit, Only, Vectors, allowed_ids
from tests.contracts.discovery import backends_of

DIMENSION = 24
FOUND = backends_of(vectors, VectorIndex)  # type: ignore[type-abstract]
each_allowed = st.one_of(
    st.just(Everything()),
    st.frozensets(st.integers(0, 90)).map(Only),
    st.frozensets(st.integers(0, 90)).map(Except),
)


def unit(count: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def agree(found: list[Hit], wanted: list[Hit], error: float) -> None:
    """The same hits, with scores that differ by `error` at most; two that are as near to each other may stand in either order."""
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=error)
    if len(wanted) > 1 and min(a.score - b.score for a, b in pairwise(wanted)) > 2 * error + 1e-5:
        assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in wanted]


def test_the_indexes_that_are_used_and_the_oracle_are_found() -> None:
    assert {"FaissIndex", "HalfIndex", "RabitqIndex", "ExactIndex"} == {index.__name__ for index in FOUND}


def test_no_two_kinds_write_what_the_other_would_read() -> None:
    assert len({index.kind for index in FOUND}) == len(FOUND)


@pytest.mark.parametrize("kind", FOUND)
class TestVectorIndex:
    @pytest.fixture(autouse=True)
    def _codes_for_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What would be computed exactly in a small collection goes through the codes of a large one."""
        monkeypatch.setattr(rabitq, "EXACT_MOST", 0)

    def filled(self, kind: type[VectorIndex], count: int = 60) -> VectorIndex:
        index = kind.create(dimension=DIMENSION)
        index.add(range(count), unit(count))
        return index

    def test_an_empty_index_finds_nothing(self, kind: type[VectorIndex]) -> None:
        index = kind.create(dimension=DIMENSION)
        assert index.search(unit(1)[0], limit=5, allowed=Everything()) == []
        assert len(index) == 0
        assert index.ids() == frozenset()

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(
        seed=st.integers(0, 1000),
        ids=st.lists(st.integers(0, 90), max_size=60),
        removed=st.lists(st.integers(0, 90), max_size=10),
        limit=st.integers(0, 70),
        allowed=each_allowed,
    )
    def test_it_equals_the_oracle_and_never_leaves_what_is_allowed(
        self, kind: type[VectorIndex], seed: int, ids: list[int], removed: list[int], limit: int, allowed: Allowed
    ) -> None:
        index, oracle = kind.create(dimension=DIMENSION), ExactIndex.create(dimension=DIMENSION)
        for each in (index, oracle):
            each.add(ids, unit(len(ids), seed))
            each.remove(removed)
        question = unit(1, seed + 1)[0]
        found = index.search(question, limit=limit, allowed=allowed)
        agree(found, oracle.search(question, limit=limit, allowed=allowed), kind.error)
        numbers = [hit.chunk_id for hit in found]
        assert len(set(numbers)) == len(numbers)
        assert allowed_ids(allowed, numbers) == numbers
        assert index.ids() == oracle.ids() == set(ids) - set(removed)
        assert len(index) == len(index.ids())

    @pytest.mark.parametrize("limit", [1, 5, 1000])
    def test_no_permission_finds_nothing(self, kind: type[VectorIndex], limit: int) -> None:
        index = self.filled(kind)
        assert index.search(unit(1)[0], limit=limit, allowed=Only(frozenset())) == []
        assert index.search(unit(1)[0], limit=limit, allowed=Except(index.ids())) == []
        assert index.search(unit(1)[0], limit=limit, allowed=Only(frozenset({61, 10**15}))) == []

    def test_barring_nobody_is_everything(self, kind: type[VectorIndex]) -> None:
        index = self.filled(kind)
        everything = index.search(unit(1)[0], limit=60, allowed=Everything())
        assert len(everything) == 60
        assert index.search(unit(1)[0], limit=60, allowed=Except(frozenset())) == everything
        assert index.search(unit(1)[0], limit=60, allowed=Only(index.ids())) == everything

    def test_large_and_sparse_ids_are_filtered_exactly(self, kind: type[VectorIndex]) -> None:
        ids = [3, 2**31, 2**40, 2**40 + 2**20, 2**62]
        index = kind.create(dimension=DIMENSION)
        index.add(ids, unit(5))
        for allowed in (Only(frozenset({2**40, 2**62})), Except(frozenset({3, 2**31, 2**40 + 2**20}))):
            hits = index.search(unit(1)[0], limit=9, allowed=allowed)
            assert {hit.chunk_id for hit in hits} == {2**40, 2**62}

    def test_the_best_comes_first_with_its_cosine(self, kind: type[VectorIndex]) -> None:
        first, *rest = self.filled(kind).search(unit(60)[7], limit=10, allowed=Everything())
        assert first.chunk_id == 7
        assert first.score == pytest.approx(1.0, abs=max(kind.error, 1e-5))
        assert all(a.score >= b.score for a, b in zip([first, *rest], rest, strict=False))
        assert len(rest) == 9

    @pytest.mark.parametrize("limit", [1, 3, 50, 150, 299])
    def test_equal_vectors_come_by_smaller_id_wherever_the_limit_falls(
        self, kind: type[VectorIndex], limit: int
    ) -> None:
        ids = list(range(300))
        random.Random(1).shuffle(ids)
        index = kind.create(dimension=DIMENSION)
        index.add(ids, np.repeat(unit(1), 300, axis=0))
        hits = index.search(unit(1)[0], limit=limit, allowed=Everything())
        assert [hit.chunk_id for hit in hits] == list(range(limit))

    def test_a_removed_vector_is_not_found_again(self, kind: type[VectorIndex]) -> None:
        index = self.filled(kind)
        index.remove([7, 7, 12345])
        assert 7 not in {hit.chunk_id for hit in index.search(unit(60)[7], limit=60, allowed=Everything())}
        assert index.search(unit(60)[7], limit=60, allowed=Only(frozenset({7}))) == []
        assert len(index) == 59

    def test_adding_twice_equals_adding_once(self, kind: type[VectorIndex]) -> None:
        index, once = self.filled(kind), self.filled(kind)
        index.add(range(60), unit(60))
        question = unit(1, 9)[0]
        assert len(index) == 60
        assert index.search(question, limit=60, allowed=Everything()) == once.search(
            question, limit=60, allowed=Everything()
        )

    def test_adding_an_id_again_replaces_its_vector(self, kind: type[VectorIndex]) -> None:
        index = self.filled(kind)
        new = unit(1, seed=77)
        index.add([7], new)
        assert index.search(new[0], limit=1, allowed=Everything())[0].chunk_id == 7
        assert len(index) == 60
        index.add([8, 8], np.vstack([unit(60)[8:9], new]))
        assert {hit.chunk_id for hit in index.search(new[0], limit=2, allowed=Everything())} == {7, 8}
        assert len(index) == 60

    @pytest.mark.parametrize(
        ("ids", "rows"),
        [
            ([1], np.full((1, DIMENSION), np.nan, dtype=np.float32)),
            ([1], np.full((1, DIMENSION), np.inf, dtype=np.float32)),
            ([1], np.ones((1, DIMENSION + 1), dtype=np.float32)),
            ([1, 2], np.ones((1, DIMENSION), dtype=np.float32)),
            ([-1], np.ones((1, DIMENSION), dtype=np.float32)),
        ],
    )
    def test_vectors_that_would_corrupt_a_search_are_refused(
        self, kind: type[VectorIndex], ids: list[int], rows: Vectors
    ) -> None:
        index = self.filled(kind)
        with pytest.raises(ValueError, match=r"vector|ids"):
            index.add(ids, rows)
        assert index.ids() == frozenset(range(60))

    def test_a_question_that_is_no_vector_is_refused(self, kind: type[VectorIndex]) -> None:
        for question in (np.full(DIMENSION, np.nan, dtype=np.float32), unit(1)):
            with pytest.raises(ValueError, match="vector"):
                self.filled(kind).search(question, limit=1, allowed=Everything())

    def test_what_was_published_opens_as_it_was_and_can_be_changed(
        self, kind: type[VectorIndex], tmp_path: Path
    ) -> None:
        index = self.filled(kind)
        digest = index.publish(tmp_path / "a" / "1")
        assert len(digest) == 64
        opened = kind.open(tmp_path / "a" / "1", dimension=DIMENSION)
        question = unit(1, 5)[0]
        for allowed in (Everything(), Only(frozenset({3, 4})), Except(frozenset({3, 4}))):
            assert opened.search(question, limit=60, allowed=allowed) == index.search(
                question, limit=60, allowed=allowed
            )
        opened.remove([3])
        opened.add([4, 100], unit(2, 6))
        assert opened.ids() == (index.ids() - {3}) | {100}
        assert kind.open(tmp_path / "a" / "1", dimension=DIMENSION).ids() == index.ids()
        opened.publish(tmp_path / "a" / "2")
        assert kind.open(tmp_path / "a" / "2", dimension=DIMENSION).ids() == opened.ids()
        assert {path.name for path in (tmp_path / "a").iterdir()} == {"1", "2"}

    def test_the_same_index_has_the_same_digest(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        assert self.filled(kind).publish(tmp_path / "1") == self.filled(kind).publish(tmp_path / "2")
        assert self.filled(kind, 59).publish(tmp_path / "3") != self.filled(kind).publish(tmp_path / "4")

    def test_an_empty_index_survives_publishing(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        kind.create(dimension=DIMENSION).publish(tmp_path / "1")
        opened = kind.open(tmp_path / "1", dimension=DIMENSION)
        assert opened.search(unit(1)[0], limit=3, allowed=Everything()) == []
        opened.add([5], unit(1))
        assert opened.ids() == {5}

    def test_a_folder_is_published_only_once(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        self.filled(kind).publish(tmp_path / "1")
        with pytest.raises(FileExistsError):
            self.filled(kind, 5).publish(tmp_path / "1")
        assert len(kind.open(tmp_path / "1", dimension=DIMENSION)) == 60

    def test_another_dimension_is_damage(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        self.filled(kind).publish(tmp_path / "1")
        with pytest.raises(Damaged):
            kind.open(tmp_path / "1", dimension=DIMENSION + 1)

    def test_a_missing_or_empty_folder_is_damage(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("empty", "missing"):
            with pytest.raises(Damaged):
                kind.open(tmp_path / name, dimension=DIMENSION)

    def test_another_kind_of_index_is_damage(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        for other in FOUND:
            other.create(dimension=DIMENSION).publish(tmp_path / other.__name__)
            if other is not kind:
                with pytest.raises(Damaged):
                    kind.open(tmp_path / other.__name__, dimension=DIMENSION)

    def test_half_a_folder_refuses_to_open(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        self.filled(kind).publish(tmp_path / "whole")
        for name in sorted(path.name for path in (tmp_path / "whole").iterdir()):
            for keep in (None, 0, 1, 0.5, -1):
                copy = tmp_path / "copy"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(tmp_path / "whole", copy)
                if keep is None:
                    (copy / name).unlink()
                else:
                    data = (copy / name).read_bytes()
                    (copy / name).write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
                with pytest.raises(Damaged):
                    kind.open(copy, dimension=DIMENSION)

    def test_one_flipped_bit_anywhere_refuses_to_open(self, kind: type[VectorIndex], tmp_path: Path) -> None:
        self.filled(kind, 4).publish(tmp_path / "1")
        chance = random.Random(2)
        for path in sorted((tmp_path / "1").iterdir()):
            whole = path.read_bytes()
            for place in sorted(chance.sample(range(len(whole)), 60)):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
                with pytest.raises(Damaged):
                    kind.open(tmp_path / "1", dimension=DIMENSION)
            path.write_bytes(whole)
        assert len(kind.open(tmp_path / "1", dimension=DIMENSION)) == 4

    def test_searches_beside_a_writer_see_only_allowed_and_living_ids(
        self, kind: type[VectorIndex], tmp_path: Path
    ) -> None:
        self.filled(kind, 1000).publish(tmp_path / "1")
        index = kind.open(tmp_path / "1", dimension=DIMENSION)
        steady = frozenset(range(500))
        oracle = self.filled(ExactIndex, 500).search(unit(1, 3)[0], limit=20, allowed=Everything())
        stop = time.monotonic() + 2
        faults: list[object] = []
        searches = [0, 0, 0]

        def read(number: int) -> None:
            try:
                while time.monotonic() < stop:
                    hits = index.search(unit(1, 3)[0], limit=20, allowed=Only(steady))
                    agree(hits, oracle, kind.error)
                    index.search(unit(1, 4)[0], limit=1500, allowed=Except(steady))
                    searches[number] += 1
            except BaseException as error:
                faults.append(error)

        readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
        for reader in readers:
            reader.start()
        rounds = 0
        while time.monotonic() < stop:
            moving = range(500 + rounds % 400, 600 + rounds % 400)
            index.remove(moving)
            index.add(moving, unit(100, rounds))
            rounds += 1
        for reader in readers:
            reader.join()
        assert faults == []
        assert rounds > 5
        assert min(searches) > 5
        assert index.ids() == frozenset(range(1000))


CROWD = 8_000


def clustered(count: int, seed: int, *, dimension: int = 96) -> Vectors:
    """Unit vectors in 300 clusters: inside one the nearest hundred lie close together, as passages on one matter do."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((300, dimension))
    rows = centres[chance.integers(0, len(centres), count)] + 0.7 * chance.standard_normal((count, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[VectorIndex], VectorIndex]:
    """An index of each kind as it was published, and the oracle. Ids have gaps."""
    ids, rows = list(range(5, 5 + 3 * CROWD, 3)), clustered(CROWD, 2)
    opened: list[VectorIndex] = []
    for kind in (FaissIndex, HalfIndex, RabitqIndex):
        index = kind.create(dimension=rows.shape[1])
        for start in range(0, CROWD, 1000):
            index.add(ids[start : start + 1000], rows[start : start + 1000])
        folder = tmp_path_factory.mktemp("crowd") / "1"
        index.publish(folder)
        opened.append(kind.open(folder, dimension=rows.shape[1]))
    oracle = ExactIndex.create(dimension=rows.shape[1])
    oracle.add(ids, rows)
    return opened, oracle


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("sort", [Only, Except])
@pytest.mark.parametrize(("limit", "recall"), [(10, 0.99), (100, 0.98)])
def test_nearly_all_of_the_nearest_are_found_under_every_filter(
    crowd: tuple[list[VectorIndex], VectorIndex],
    monkeypatch: pytest.MonkeyPatch,
    sort: type[Only] | type[Except],
    share: float,
    limit: int,
    recall: float,
) -> None:
    monkeypatch.setattr(rabitq, "EXACT_MOST", 50)
    opened, oracle = crowd
    everyone = sorted(oracle.ids())
    chosen = frozenset(random.Random(3).sample(everyone, round(share * len(everyone))))
    allowed: Allowed = Only(chosen) if sort is Only else Except(frozenset(everyone) - chosen)
    questions = clustered(20, 4)
    truth = [oracle.search(question, limit=limit, allowed=allowed) for question in questions]
    for index in opened:
        found = 0
        for question, best in zip(questions, truth, strict=True):
            hits = index.search(question, limit=limit, allowed=allowed)
            assert {hit.chunk_id for hit in hits} <= chosen
            assert len(hits) == len(best) == min(limit, len(chosen))
            found += len({hit.chunk_id for hit in hits} & {hit.chunk_id for hit in best})
        assert found >= recall * sum(map(len, truth)), type(index).__name__


def test_what_is_added_and_removed_after_opening_counts_beside_the_codes(
    crowd: tuple[list[VectorIndex], VectorIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabitq, "EXACT_MOST", 50)
    oracle = ExactIndex.create(dimension=96)
    oracle.add(list(range(5, 5 + 3 * CROWD, 3)), clustered(CROWD, 2))
    crowd_of_codes = next(index for index in crowd[0] if isinstance(index, RabitqIndex))
    index = RabitqIndex(crowd_of_codes._parts, dimension=96)
    gone, new = list(range(5, 3 * CROWD, 30)), list(range(3, 3000, 2))
    for each in (index, oracle):
        each.remove(gone)
        each.add(new, clustered(len(new), 6))
    index.publish(tmp_path / "1")
    for each in (index, RabitqIndex.open(tmp_path / "1", dimension=96)):
        assert each.ids() == oracle.ids()
        found = 0
        for question in clustered(25, 7):
            hits = each.search(question, limit=10, allowed=Everything())
            best = oracle.search(question, limit=10, allowed=Everything())
            found += len({hit.chunk_id for hit in hits} & {hit.chunk_id for hit in best})
            assert not {hit.chunk_id for hit in hits} & set(gone) - set(new)
        assert found >= 0.99 * 250


def test_where_the_first_hits_do_not_stand_clear_more_vectors_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In vectors without any clusters the nearest are hardly nearer than the rest: the codes alone cannot tell them apart."""
    chance = np.random.default_rng(0)
    rows, questions = (chance.standard_normal((count, 96)).astype(np.float32) for count in (8000, 20))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    questions /= np.linalg.norm(questions, axis=1, keepdims=True)
    index = RabitqIndex.create(dimension=96)
    index.add(range(len(rows)), rows)
    index.publish(tmp_path / "1")
    opened = RabitqIndex.open(tmp_path / "1", dimension=96)
    for name, value in (("EXACT_MOST", 50), ("CANDIDATES_LEAST", 60), ("CANDIDATES_EACH", 6)):
        monkeypatch.setattr(rabitq, name, value)

    def recall() -> float:
        hits = (opened.search(question, limit=10, allowed=Everything()) for question in questions)
        best = (set(np.argsort(-(rows @ question))[:10].tolist()) for question in questions)
        return sum(len({hit.chunk_id for hit in a} & b) for a, b in zip(hits, best, strict=True)) / (
            10 * len(questions)
        )

    assert recall() >= 0.98
    monkeypatch.setattr(rabitq, "CLEAR", -100.0)
    assert recall() < 0.8
