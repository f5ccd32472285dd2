"""Exact search over vectors in 16-bit floats: half the disk and half the time of 32 bits, and no training.

Why not 8 bits: their scores alone find .97 of the ten nearest, so that they need the 16-bit vectors beside them for scoring,
and scanning them is not quicker (3.9 ms against 4.1 ms for 100,000 vectors of 384 numbers, 8.2 ms in 32 bits).
"""

from typing import Any, ClassVar

import faiss

from rag.backends.vectors.checks import HALF_ERROR
from rag.backends.vectors.faiss import FaissIndex


class HalfIndex(FaissIndex):
    """A `FaissIndex` whose vectors are rounded to float16; inner products are summed in float32."""

    kind: ClassVar[str] = "faiss-half/1"
    error: ClassVar[float] = HALF_ERROR

    @classmethod
    def _storage(cls, dimension: int) -> Any:
        return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
