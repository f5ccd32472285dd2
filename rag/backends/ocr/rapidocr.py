"""RapidOCR's models, run by OpenVINO: finds lines of Latin, Chinese and Japanese text and reads them.

Why not through the package's own code: it can download models, writes logs, and gives one confidence for a whole line.
Only the three model files in its wheel are used, so nothing here knows how to reach a network.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.backends.ocr.base import FIGURE, Engine, Found, Line, Picture, Word, certain, turned
from rag.backends.openvino import openvino
from rag.domain.errors import Permanent

_DETECT, _READ = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
_STEP = 32  # pixels: the detector wants multiples
_MOST_DETECT, _FEW_DETECT = 1_300_000, 400_000  # pixels that the detector sees; memory grows with them
_MOST_PLACES = 3_000
_KEPT = 4  # detectors: two for pages upright, two for pages across
_INK, _SURE, _GROW, _SMALLEST = 0.3, 0.5, 1.6, 3.0  # the detector's thresholds, as it was trained
_HEIGHT = 48  # pixels of a line as the reader sees it
_WIDTHS = 96  # widths are rounded up to these: few shapes, little memory
_WIDEST = 3_200
# Of a line, and of all that are above it: blurred scans are still .96 sure and more, letters it does not know .83 at most.
_LEAST_SURE, _LEAST_ON_PAGE = 0.8, 0.88
_LEAST_LETTERS = 0.5  # for each line height that the line is long: Latin letters are 2, Chinese 1
_VIETNAMESE, _BARRED_D, _CROATIAN, _MANY = frozenset("ươƯƠ"), frozenset("đĐ"), frozenset("čćšžČĆŠŽ"), 3
_MANY_GREEK = 20
_TRIED, _ENOUGH, _QUITE_SURE = 4, 12, 0.9  # lines read to see which way is up; letters; when no other way is tried
_CJK = frozenset(range(0x2E80, 0xA000)) | frozenset(range(0xF900, 0xFB00)) | frozenset(range(0xFF00, 0xFFF0))

Quad = NDArray[np.float32]  # (4, 2): corners from the top left clockwise, in pixels


def models() -> Path | None:
    """The folder with the models; None where they are missing."""
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "models"
    return folder if all((folder / name).is_file() for name in (_DETECT, _READ)) else None


def version() -> str:
    """Such as "3.10.0"; "" where the models are missing."""
    return metadata.version("rapidocr") if models() is not None else ""


class RapidOcr(Engine):
    """Raises `Permanent` when the models are not installed."""

    def __init__(self, threads: int = 1) -> None:
        folder = models()
        if folder is None:
            raise Permanent("The models that recognise text are not installed.")
        self.folder = folder
        self.threads = threads
        self.core = openvino().Core()
        self._detectors: dict[tuple[int, int], Any] = {}

    def read(self, picture: Picture, turns: int | None = None) -> Found:
        quads = self._detect(picture)
        if turns is None:
            turns = self._turns(picture, quads)
        picture, quads = turned(picture, turns), [_turned(quad, picture.shape, turns) for quad in quads]
        lines = self._lines(picture, quads)
        text = "".join(word.text for line in lines if line is not None for word in line.words)
        if _is_vietnamese("".join(word.text for line in lines if line and _is_sure(line) for word in line.words)):
            return Found(turns, [], len(lines), "Vietnamese")
        believed = [line for line, quad in zip(lines, quads, strict=True) if line and _is_believed(line, quad)]
        believed = certain(believed, least=_LEAST_ON_PAGE)
        greek = sum(map(_is_greek, text))
        is_greek = greek > _MANY_GREEK and greek > sum(letter.isalpha() for letter in text) / 4
        return Found(turns, believed, len(lines) - len(believed), "Greek" if is_greek else "")

    def _turns(self, picture: Picture, quads: Sequence[Quad]) -> int:
        """By how many quarter turns the longest lines are read best."""
        longest = sorted(quads, key=lambda quad: -max(_sides(quad)))[:_TRIED]
        if not longest:
            return 0
        lying = sum(width < height for width, height in map(_sides, longest)) * 2 > len(longest)
        best, most = 0, -1.0
        for way in (1, 3) if lying else (0, 2):
            lines = self._lines(turned(picture, way), [_turned(quad, picture.shape, way) for quad in longest])
            words = [word for line in lines if line is not None for word in line.words]
            letters = sum(len(word.text) for word in words)
            sure = sum(word.confidence * len(word.text) for word in words)
            if sure > 1.2 * most:  # in doubt as it lies
                best, most = way, sure
            if letters >= _ENOUGH and sure > _QUITE_SURE * letters:
                break
        return best

    def _detector(self, height: int, width: int) -> Any:
        """The detector for one size of picture: made for just that, it takes two thirds of the memory."""
        if (height, width) not in self._detectors:
            model = self.core.read_model(str(self.folder / _DETECT))
            model.reshape([1, 3, height, width])
            if len(self._detectors) == _KEPT:
                self._detectors.clear()  # pages of a document are mostly of one size
            self._detectors[height, width] = self._compiled(model, streams=1).create_infer_request()
        return self._detectors[height, width]

    @cached_property
    def _readers(self) -> tuple[list[Any], list[str]]:
        """As many as may read lines at the same time, and the letters that they know."""
        model = self.core.read_model(str(self.folder / _READ))
        letters = model.get_rt_info()["framework"]["character"].value.splitlines()
        compiled = self._compiled(model, streams=self.threads)
        return [compiled.create_infer_request() for _ in range(self.threads)], ["", *letters, " "]

    def _compiled(self, model: Any, *, streams: int) -> Any:
        """Ready to run; with bfloat16 where the processor has it: as many words right, in three fifths of the time."""
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": str(streams),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # pinned threads of several processes would meet on the same cores
        }
        return self.core.compile_model(model, "CPU", settings)

    # --- Where the lines are

    def _detect(self, picture: Picture) -> list[Quad]:
        """All places that look like a line of text: small letters are found on a large picture, large ones on a small."""
        quads = self._places(picture, _MOST_DETECT)
        return quads + [quad for quad in self._places(picture, _FEW_DETECT) if not _is_covered(quad, quads)]

    def _places(self, picture: Picture, most_pixels: int) -> list[Quad]:
        import cv2

        height, width = picture.shape[:2]
        scale = min(1.0, math.sqrt(most_pixels / (width * height)))
        size = [max(_STEP, round(side * scale / _STEP) * _STEP) for side in (width, height)]
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        detector = self._detector(size[1], size[0])
        detector.infer([_normal(small)[None]], share_inputs=True, share_outputs=True)
        ink = _given(detector)[0]
        mask = cv2.dilate((ink > _INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        quads = []
        for outline in outlines[:_MOST_PLACES]:
            centre, (w, h), angle = cv2.minAreaRect(outline)
            if min(w, h) < _SMALLEST or _inside(ink, outline) < _SURE:
                continue
            more = w * h * _GROW / (w + h)
            quad = _corners(cv2.boxPoints((centre, (w + more, h + more), angle)))
            quads.append(quad * np.array([width / size[0], height / size[1]], np.float32))
        return quads

    # --- What they say

    def _lines(self, picture: Picture, quads: Sequence[Quad]) -> list[Line | None]:
        """What stands in each place; None where nothing was read."""
        readers, letters = self._readers
        lines: list[Line | None] = [None] * len(quads)
        free = list(readers)
        busy: deque[tuple[Any, int, _Strip]] = deque()

        def finish() -> None:
            reader, place, strip = busy.popleft()
            reader.wait()
            lines[place] = _line(_given(reader), letters, strip)
            free.append(reader)

        for place, quad in enumerate(quads):
            strip = _strip(picture, quad)
            if strip is None:
                continue
            if not free:
                finish()
            reader = free.pop()
            reader.start_async([strip.padded], share_inputs=True)
            busy.append((reader, place, strip))
        while busy:
            finish()
        return lines


@dataclass(frozen=True, slots=True)
class _Strip:
    """A place cut out of the picture as the reader sees it, and the way back."""

    picture: Picture
    padded: NDArray[np.float32]
    to_page: NDArray[Any]  # (3, 3)


def _strip(picture: Picture, quad: Quad) -> _Strip | None:
    import cv2

    width, height = _sides(quad)
    if width < 2 or height < 2:
        return None
    if height >= 1.5 * width:  # a line that runs up the page
        quad, width, height = np.roll(quad, 1, axis=0), height, width
    wide = min(max(8, round(width * _HEIGHT / height)), _WIDEST)
    corners = np.array([[0, 0], [wide, 0], [wide, _HEIGHT], [0, _HEIGHT]], np.float32)
    there = cv2.getPerspectiveTransform(quad, corners)
    cut = cv2.warpPerspective(picture, there, (wide, _HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    padded = np.zeros((1, 3, _HEIGHT, -(-wide // _WIDTHS) * _WIDTHS), np.float32)
    padded[0, :, :, :wide] = _normal(cut)
    return _Strip(cut, padded, np.linalg.inv(there))


def _line(odds: NDArray[np.float32], letters: Sequence[str], strip: _Strip) -> Line | None:
    """The words of a strip, from how sure the reader is of each letter at each step to the right."""
    best = odds.argmax(axis=1)
    steps = [step for step in range(len(best)) if best[step] and (step == 0 or best[step] != best[step - 1])]
    signs = [(letters[best[step]], float(odds[step, best[step]])) for step in steps]
    middles = [(step + 0.5) * strip.padded.shape[3] / len(best) for step in steps]
    groups, glued = _words(signs)
    if not groups:
        return None
    borders = _borders(strip.picture, [(middles[group[0]], middles[group[-1]]) for group in groups])
    words = []
    for group, (left, right), stuck in zip(groups, borders, glued, strict=True):
        corners = np.array([[left, 0, 1], [right, 0, 1], [right, _HEIGHT, 1], [left, _HEIGHT, 1]]) @ strip.to_page.T
        points = corners[:, :2] / corners[:, 2:]
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        text = "".join(signs[place][0] for place in group)
        sure = [signs[place][1] for place in group]
        edges = (float(x0), float(y0), float(x1), float(y1))
        least = min((min(sure[slice(*figure.span())]) for figure in FIGURE.finditer(text)), default=1.0)
        words.append(Word(_plain(text), *edges, sum(sure) / len(sure), stuck, least))
    return Line(tuple(words))


def _plain(text: str) -> str:
    """Degrees as people type them: what is one sign to the reader would not be found."""
    for sign, plain in (("℃", "°C"), ("℉", "°F")):
        text = text.replace(f"°{sign}", plain).replace(sign, plain)
    return text


def _words(signs: Sequence[tuple[str, float]]) -> tuple[list[list[int]], list[bool]]:
    """The places of the signs of each word, and whether the word is glued to the one before."""
    groups: list[list[int]] = []
    glued: list[bool] = []
    parted = True
    for place, (sign, _) in enumerate(signs):
        if sign.isspace():
            parted = True
            continue
        if parted or ord(sign[0]) in _CJK or ord(signs[place - 1][0][0]) in _CJK:
            groups.append([])
            glued.append(not parted)
        groups[-1].append(place)
        parted = False
    return groups, glued


def _given(request: Any) -> NDArray[np.float32]:
    """What the model gave for its one picture; raises MemoryError where it gave nothing."""
    given = request.get_output_tensor().data
    if not given.size:
        raise MemoryError
    first: NDArray[np.float32] = given[0]
    return first


def _is_sure(line: Line) -> bool:
    return line.confidence >= _LEAST_SURE


def _is_believed(line: Line, quad: Quad) -> bool:
    """Whether so much was read of the place, and so surely, that it is in letters the reader knows."""
    letters = "".join(word.text for word in line.words)
    width, height = _sides(quad)
    if not _is_sure(line) or len(letters) < _LEAST_LETTERS * (max(width, height) / min(width, height) - 2):
        return False
    # It was taught Greek without accents, for formulas: a text in Greek comes out with every third letter missing.
    return sum(map(_is_greek, letters)) <= max(2, 0.4 * len(letters))


def _is_vietnamese(text: str) -> bool:
    """Half of its vowels are not among the letters that the reader knows, and it leaves them out, quite sure."""
    if sum(letter in _VIETNAMESE for letter in text) >= _MANY:
        return True
    return sum(letter in _BARRED_D for letter in text) >= _MANY and not _CROATIAN.intersection(text)


def _is_greek(letter: str) -> bool:
    return "\u0370" <= letter <= "\u03ff"


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


def _is_covered(quad: Quad, quads: Sequence[Quad]) -> bool:
    """Whether the middle of one of them lies in the other, one way or the other."""
    return any(_holds(other, quad.mean(axis=0)) or _holds(quad, other.mean(axis=0)) for other in quads)


def _holds(quad: Quad, point: NDArray[np.float32]) -> bool:
    import cv2

    return bool(cv2.pointPolygonTest(quad, (float(point[0]), float(point[1])), measureDist=False) >= 0)


def _sides(quad: Quad) -> tuple[float, float]:
    """Width and height."""
    width = max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[3] - quad[2]))
    return float(width), float(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2])))


def _turned(quad: Quad, shape: Sequence[int], turns: int) -> Quad:
    """Where the corners are after the picture of that shape was turned."""
    height, width = shape[:2]
    for _ in range(turns % 4):
        quad = np.stack([quad[:, 1], width - quad[:, 0]], axis=1)
        height, width = width, height
    return _corners(quad) if turns % 4 else quad


def _corners(points: NDArray[np.float32]) -> Quad:
    """The four points from the top left clockwise."""
    by_x = points[np.argsort(points[:, 0])]
    left, right = by_x[:2][np.argsort(by_x[:2, 1])], by_x[2:][np.argsort(by_x[2:, 1])]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)
