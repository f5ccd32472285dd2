"""What every vector index asks of its input, and how it orders its output: one place, so that all of them agree."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.domain.types import Hit, Vectors

Ids = NDArray[np.int64]

# Kernels sum in different orders: the same vector twice may differ in the last bit. Six decimals is finer than any use
# of a cosine and makes equal vectors tie.
DECIMALS = 6
NEAR = 2 * 10.0**-DECIMALS
ROUNDING = 3 * 10.0**-DECIMALS  # what the order of a sum and the rounding of a score come to
# Rounding a unit vector to float16 moves it by at most 2**-11 (half a unit in the last of eleven bits, of every number), so
# its inner product with a unit vector as well. Measured with MiniLM's 384 numbers: 6e-5 at most.
HALF_ERROR = 2.0**-11 + ROUNDING


def new_entries(ids: Sequence[int], vectors: Vectors, dimension: int) -> tuple[Ids, Vectors]:
    """`ids` and `vectors` as contiguous arrays, the last of each id; raises ValueError for shapes, ids or numbers that
    would corrupt a search (NaN vectors drop out of FAISS's results without a word)."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.shape != (len(ids), dimension):
        raise ValueError(f"expected vectors of shape {(len(ids), dimension)}, not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("a vector holds NaN or infinity")
    numbers = np.fromiter(ids, dtype=np.int64, count=len(ids))
    if numbers.size and numbers.min() < 0:
        raise ValueError("ids must not be negative")
    last = {number: place for place, number in enumerate(numbers.tolist())}
    if len(last) < len(ids):
        places = list(last.values())
        return numbers[places], np.ascontiguousarray(rows[places])
    return numbers, rows


def question(vector: Vectors, dimension: int) -> Vectors:
    """`vector` as a contiguous row of shape (1, dimension); raises ValueError for another shape, NaN or infinity."""
    row = np.ascontiguousarray(vector, dtype=np.float32)
    if row.shape != (dimension,):
        raise ValueError(f"expected a vector of shape {(dimension,)}, not {row.shape}")
    if not np.isfinite(row).all():
        raise ValueError("the vector holds NaN or infinity")
    return row.reshape(1, dimension)


def best(ids: Ids, scores: Vectors, limit: int) -> list[Hit]:
    """The `limit` best as hits, best first, ties by smaller id; scores are rounded to `DECIMALS`."""
    pairs = sorted(
        ((round(score, DECIMALS), number) for number, score in zip(ids.tolist(), scores.tolist(), strict=True)),
        key=lambda pair: (-pair[0], pair[1]),
    )
    return [Hit(number, score) for score, number in pairs[:limit]]
