"""RapidOCR's models, run by OpenVINO: finds lines of Latin, Chinese and Japanese text and reads them.

Why not through the package's own code: it can download models, writes logs, and gives one confidence for a whole line.
Only the three model files in its wheel are used, so nothing here knows how to reach a network.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rag.backends.ocr.base import Engine, Line, Picture, Word
from rag.backends.openvino import openvino
from rag.domain.errors import Permanent

_DETECT, _TURN, _READ = "PP-OCRv6_det_small.onnx", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "PP-OCRv6_rec_small.onnx"
_STEP = 32  # pixels: the detector wants multiples
_MOST_DETECT = 1_300_000  # pixels that the detector sees; memory grows with them
_INK, _SURE, _GROW, _SMALLEST = 0.3, 0.5, 1.6, 3.0  # the detector's thresholds, as it was trained
_HEIGHT = 48  # pixels of a line as the reader sees it
_WIDTHS = 96  # widths are rounded up to these: few shapes, little memory
_WIDEST = 3_200
_CJK = frozenset(range(0x2E80, 0xA000)) | frozenset(range(0xF900, 0xFB00)) | frozenset(range(0xFF00, 0xFFF0))

Quad = NDArray[np.float32]  # (4, 2): corners from the top left clockwise, in pixels


def models() -> Path:
    """The folder with the models; raises `Permanent` where the package is missing."""
    spec = find_spec("rapidocr")
    folder = Path(spec.submodule_search_locations[0]) / "models" if spec and spec.submodule_search_locations else None
    if folder is None or not all((folder / name).is_file() for name in (_DETECT, _TURN, _READ)):
        raise Permanent("The models that recognise text are not installed.")
    return folder


class RapidOcr(Engine):
    name: ClassVar[str] = "rapidocr/1"

    def __init__(self, threads: int = 1) -> None:
        self.folder = models()
        self.core = openvino().Core()
        self._detectors: dict[tuple[int, int], Any] = {}
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }

    def lines(self, picture: Picture) -> list[Line]:
        found = [self._read(picture, quad) for quad in self._detect(picture)]
        return [line for line in found if line is not None]

    def _detector(self, height: int, width: int) -> Any:
        """The detector for one size of picture: made for just that, it takes two thirds of the memory."""
        if (height, width) not in self._detectors:
            model = self.core.read_model(str(self.folder / _DETECT))
            model.reshape([1, 3, height, width])
            self._detectors.clear()  # pages of a document are mostly of one size
            self._detectors[height, width] = self._compiled(model)
        return self._detectors[height, width]

    @cached_property
    def _reader(self) -> tuple[Any, list[str]]:
        model = self.core.read_model(str(self.folder / _READ))
        letters = model.get_rt_info()["framework"]["character"].value.splitlines()
        return self._compiled(model), ["", *letters, " "]

    def _compiled(self, model: Any) -> Any:
        return self.core.compile_model(model, "CPU", self.settings).create_infer_request()

    # --- Where the lines are

    def _detect(self, picture: Picture) -> list[Quad]:
        import cv2

        height, width = picture.shape[:2]
        scale = min(1.0, (_MOST_DETECT / (width * height)) ** 0.5)
        size = [max(_STEP, round(side * scale / _STEP) * _STEP) for side in (width, height)]
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        ink = _run(self._detector(size[1], size[0]), _normal(small)[None])[0]
        mask = cv2.dilate((ink > _INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        quads = []
        for outline in outlines[:3000]:
            centre, (w, h), angle = cv2.minAreaRect(outline)
            if min(w, h) < _SMALLEST or _inside(ink, outline) < _SURE:
                continue
            more = 2 * w * h * _GROW / (2 * (w + h))
            quad = _corners(cv2.boxPoints((centre, (w + more, h + more), angle)))
            quads.append(quad * np.array([width / size[0], height / size[1]], np.float32))
        return quads

    # --- What they say

    def _read(self, picture: Picture, quad: Quad) -> Line | None:
        import cv2

        width = max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[3] - quad[2]))
        height = max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))
        if width < 2 or height < 2:
            return None
        upright = height < 1.5 * width
        if not upright:  # a line that runs up the page
            quad, width, height = np.roll(quad, 1, axis=0), height, width
        wide = min(max(8, round(width * _HEIGHT / height)), _WIDEST)
        target = np.array([[0, 0], [wide, 0], [wide, _HEIGHT], [0, _HEIGHT]], np.float32)
        to_line = cv2.getPerspectiveTransform(quad, target)
        line = cv2.warpPerspective(
            picture, to_line, (wide, _HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        padded = np.zeros((1, 3, _HEIGHT, -(-wide // _WIDTHS) * _WIDTHS), np.float32)
        padded[0, :, :, :wide] = _normal(line)
        request, letters = self._reader
        sure = _run(request, padded)
        best = sure.argmax(axis=1)
        steps = [step for step in range(len(best)) if best[step] and (step == 0 or best[step] != best[step - 1])]
        if not steps:
            return None
        middles = [(step + 0.5) * padded.shape[3] / len(best) for step in steps]
        signs = [(letters[best[step]], float(sure[step, best[step]])) for step in steps]
        back = np.linalg.inv(to_line)
        return _line(signs, middles, line, back)


def _run(request: Any, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the model gives for one picture; raises MemoryError where it gives nothing."""
    request.infer([picture])
    given: NDArray[np.float32] = request.get_output_tensor().data
    if not given.size:
        raise MemoryError
    return given[0]


def _line(
    signs: Sequence[tuple[str, float]], middles: Sequence[float], picture: Picture, back: NDArray[Any]
) -> Line | None:
    groups: list[list[int]] = []
    glued: list[bool] = []
    after_blank = True
    for place, (sign, _) in enumerate(signs):
        if sign.isspace():
            after_blank = True
            continue
        single = ord(sign[0]) in _CJK
        if after_blank or single or ord(signs[place - 1][0][0]) in _CJK:
            groups.append([])
            glued.append(not after_blank)
        groups[-1].append(place)
        after_blank = False
    if not groups:
        return None
    borders = _borders(picture, [(middles[group[0]], middles[group[-1]]) for group in groups])
    words = []
    for group, (left, right), stuck in zip(groups, borders, glued, strict=True):
        corners = np.array([[left, 0, 1], [right, 0, 1], [right, _HEIGHT, 1], [left, _HEIGHT, 1]]) @ back.T
        points = corners[:, :2] / corners[:, 2:]
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        text = "".join(signs[place][0] for place in group)
        confidence = float(np.mean([signs[place][1] for place in group]))
        words.append(Word(text, float(x0), float(y0), float(x1), float(y1), confidence, stuck))
    return Line(tuple(words))


def _borders(picture: Picture, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Left and right of each word: half-way through the widest gap without ink between it and its neighbour."""
    grey = picture.min(axis=2).astype(np.float32)
    paper = np.median(grey)
    ink = np.abs(grey - paper).max(axis=0) > 0.35 * max(np.abs(grey - paper).max(), 1.0)
    width = len(ink)
    inked = np.flatnonzero(ink)
    first, last = (int(inked[0]), int(inked[-1]) + 1) if len(inked) else (0, width)
    cuts: list[tuple[float, float]] = []
    for (_, end), (start, _) in pairwise(spans):
        low, high = int(end), max(int(start), int(end) + 1)
        gaps = np.flatnonzero(~ink[low:high])
        if not len(gaps):
            cuts.append(((end + start) / 2,) * 2)
            continue
        runs = np.split(gaps, np.flatnonzero(np.diff(gaps) > 1) + 1)
        widest = max(runs, key=len)
        cuts.append((low + float(widest[0]), low + float(widest[-1]) + 1))
    lefts = [min(float(first), spans[0][0]), *(cut[1] for cut in cuts)]
    rights = [*(cut[0] for cut in cuts), max(float(last), spans[-1][1])]
    return [(left, max(right, left + 1)) for left, right in zip(lefts, rights, strict=True)]


def _normal(picture: Picture) -> NDArray[np.float32]:
    """As the models were trained: blue first, -1 to 1, channels before rows."""
    return (picture[:, :, ::-1].astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1)


def _inside(ink: NDArray[np.float32], outline: NDArray[Any]) -> float:
    import cv2

    x, y, w, h = cv2.boundingRect(outline)
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [outline - np.array([[x, y]])], 1)
    return float(cv2.mean(np.ascontiguousarray(ink[y : y + h, x : x + w]), mask)[0])


def _corners(points: NDArray[np.float32]) -> Quad:
    """The four points from the top left clockwise."""
    by_x = points[np.argsort(points[:, 0])]
    left, right = by_x[:2][np.argsort(by_x[:2, 1])], by_x[2:][np.argsort(by_x[2:, 1])]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)
