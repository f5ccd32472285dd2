"""Made-up collections for measuring searches: vectors as far apart as those of real passages, words as frequent as real ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.domain.types import Allowed, Everything, Only, Vectors

DIMENSION = 384
QUESTIONS = 60
BUCKETS = 1000
WORDS, QUESTION_WORDS, VOCABULARY = 45, 7, 60_000
BLOCK = 20_000
Buckets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Made:
    """A made-up collection; passage `i` has the id `i`. `buckets` are 0 to 999: who may read a share reads those below it."""

    rows: Vectors
    buckets: Buckets
    questions: Vectors
    asked: list[int]  # the passage that each question is near to

    def readable(self, share: float) -> NDArray[np.bool_]:
        readable: NDArray[np.bool_] = self.buckets < round(share * BUCKETS)
        return readable

    def allowed(self, share: float) -> Allowed:
        return Everything() if share == 1 else Only(frozenset(np.flatnonzero(self.readable(share)).tolist()))

    def nearest(self, share: float) -> list[set[int]]:
        """The ten nearest readable passages of each question, exactly."""
        readable = np.flatnonzero(self.readable(share))
        scores = np.concatenate(
            [self.questions @ self.rows[readable[start : start + BLOCK]].T for start in range(0, len(readable), BLOCK)],
            axis=1,
        )
        return [set(readable[np.argpartition(row, max(len(row) - 10, 0))[-10:]].tolist()) for row in scores]


def made(count: int) -> Made:
    chance = np.random.default_rng(count)
    spread = ((np.arange(DIMENSION) + 2.0) ** -0.4).astype(np.float32)
    spread /= np.linalg.norm(spread)
    documents = chance.standard_normal((count // 20 + 1, DIMENSION), dtype=np.float32)
    topics = chance.standard_normal((count // 400 + 1, DIMENSION), dtype=np.float32)
    topic_of = chance.integers(0, len(topics), len(documents))
    rows = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, BLOCK):
        document = np.arange(start, min(start + BLOCK, count)) // 20
        own = chance.standard_normal((len(document), DIMENSION), dtype=np.float32)
        block = spread * (0.59 * topics[topic_of[document]] + 0.5 * documents[document] + 0.63 * own)
        block[:, 0] += 0.25
        rows[start : start + len(document)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    asked = chance.integers(0, count, QUESTIONS)
    questions = rows[asked] + 1.1 * spread * chance.standard_normal((QUESTIONS, DIMENSION), dtype=np.float32)
    questions /= np.linalg.norm(questions, axis=1, keepdims=True)
    buckets = chance.permutation(count) % BUCKETS
    return Made(rows, buckets, np.ascontiguousarray(questions), asked.tolist())


class Texts:
    """The words of each passage, made when they are asked for: the hundredth word of a language is a hundredth as frequent."""

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        syllables = [
            first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "is")
        ]
        self._vocabulary = [
            "".join(syllables[place] for place in chance.integers(0, len(syllables), 2 + number % 3))
            for number in range(VOCABULARY)
        ]
        frequency = 1 / (np.arange(VOCABULARY) + 2.7)
        self._until = np.cumsum(frequency / frequency.sum())

    def block(self, start: int, count: int) -> list[list[str]]:
        """The words of the passages from `start`, the same at every call for the same `start`."""
        chance = np.random.default_rng(start)
        places = np.minimum(np.searchsorted(self._until, chance.random((count, WORDS))), VOCABULARY - 1)
        return [[self._vocabulary[place] for place in row] for row in places.tolist()]

    def question(self, passage: int) -> str:
        start = passage // BLOCK * BLOCK
        words = self.block(start, passage - start + 1)[-1]
        return " ".join(words[:: WORDS // QUESTION_WORDS][:QUESTION_WORDS])
