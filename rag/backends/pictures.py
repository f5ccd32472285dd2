"""Pages as pictures: of a PDF and of the image formats. Runs in the sandbox's children alone.

Why the pixels are counted before anything is decoded: a picture of a few kilobytes may hold gigabytes.
"""

import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.domain.errors import Permanent, Protected
from rag.domain.types import Page, Reading

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
MOST_PIXELS = 100_000_000  # of one picture: a sheet of A3 at 600 dots an inch has 70 million
_EXIF, _DATE_TAKEN, _DATE, _TURNED = 0x8769, 0x9003, 0x0132, 0x0112  # tags
_WHEN = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_DEFAULT_DPI = 72.0
_DAMAGED = "This picture is damaged and cannot be read."
_TOO_LARGE = f"This picture has more than {MOST_PIXELS // 1_000_000} megapixels and was not opened."


class Pictures(ABC):
    """The pages of one open file. Close it, or use `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def size(self, index: int) -> tuple[float, float]:
        """Width and height of a page as shown, in points; raises `Permanent` when there is no such page."""

    @abstractmethod
    def pixels(self, index: int, *, dpi: float) -> tuple[int, int]:
        """How wide and high a page is at `dpi`; a picture has its own pixels."""

    @abstractmethod
    def draw(self, index: int, *, width: int) -> "Image":
        """The page in RGB or grey ("L"), `width` pixels wide; a picture is never enlarged. Raises `Permanent`."""


def open_pictures(path: Path, password: str = "") -> Pictures:
    """The pages of the PDF or picture at `path`. Raises `Permanent`, and `Protected` for a missing or wrong password."""
    with path.open("rb") as file:
        is_pdf = b"%PDF-" in file.read(1024)
    return _PdfPictures(path, password) if is_pdf else Frames(path)


def fitting(width: float, height: float, *, most_pixels: int, most_side: int) -> float:
    """By how much, at most 1, a picture has to shrink to keep both limits."""
    return min(1.0, math.sqrt(most_pixels / (width * height)), most_side / max(width, height))


def unread(pictures: Pictures, number: int) -> Page:
    """The page `number` (from 1) as long as nobody has read it: its size, where it has one."""
    try:
        width, height = pictures.size(number - 1)
    except Permanent:
        width = height = 0.0
    return Page(number, "", width=width, height=height, reading=Reading.UNREAD, confidence=0.0)


class _PdfPictures(Pictures):
    def __init__(self, path: Path, password: str) -> None:
        import pypdfium2

        try:
            self.pdf = pypdfium2.PdfDocument(path, password=password or None)
            if self.pdf.get_formtype():
                self.pdf.init_forms()  # what was filled in is drawn too
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _PASSWORD_ERROR:
                raise Protected("This PDF is protected by a password.") from None
            raise Permanent("This PDF is damaged and cannot be opened.") from None

    def __len__(self) -> int:
        return len(self.pdf)

    def close(self) -> None:
        self.pdf.close()

    @contextmanager
    def _page(self, index: int) -> Iterator[Any]:
        import pypdfium2

        if not 0 <= index < len(self.pdf):
            raise Permanent("This page does not exist.")
        try:
            page = self.pdf[index]
            try:
                yield page
            finally:
                page.close()
        except pypdfium2.PdfiumError:
            raise Permanent("This page cannot be drawn.") from None

    def size(self, index: int) -> tuple[float, float]:
        with self._page(index) as page:
            width, height = page.get_size()
        if not (0 < width < 1e6 and 0 < height < 1e6):
            raise Permanent("This page cannot be drawn.")
        return width, height

    def pixels(self, index: int, *, dpi: float) -> tuple[int, int]:
        width, height = self.size(index)
        return max(1, round(width / 72 * dpi)), max(1, round(height / 72 * dpi))

    def draw(self, index: int, *, width: int) -> "Image":
        own, _ = self.size(index)
        with self._page(index) as page:
            image: Image = page.render(scale=width / own).to_pil()
            return image if image.mode == "L" else image.convert("RGB")


class Frames(Pictures):
    """The pages of a TIFF, or the one picture of another image file."""

    def __init__(self, path: Path) -> None:
        from PIL import Image

        self.path = path
        with _decoding():
            self.image = Image.open(path, formats=FORMATS)
            try:
                # Only this format has pages; the frames of the others are an animation.
                self.frames = getattr(self.image, "n_frames", 1) if self.image.format == "TIFF" else 1
            except BaseException:
                self.image.close()
                raise

    def __len__(self) -> int:
        return self.frames

    def close(self) -> None:
        self.image.close()

    def created(self) -> str:
        """When the photograph or scan was made, as the file says: "2026-11-21 14:49:27", or ""."""
        with _decoding():
            tags = self.image.getexif()
            written = str(tags.get_ifd(_EXIF).get(_DATE_TAKEN) or tags.get(_DATE) or "")
        found = _WHEN.match(written)
        return "{}-{}-{} {}".format(*found.groups()) if found else ""

    def _seek(self, index: int) -> None:
        if not 0 <= index < self.frames:
            raise Permanent("This page does not exist.")
        with _decoding():
            self.image.seek(index)
        if self.image.width * self.image.height > MOST_PIXELS:
            raise Permanent(_TOO_LARGE)

    def _upright(self) -> tuple[int, int]:
        with _decoding():
            lying = self.image.getexif().get(_TURNED, 1) in (5, 6, 7, 8)
        width, height = self.image.size
        return (height, width) if lying else (width, height)

    def size(self, index: int) -> tuple[float, float]:
        width, height = self.pixels(index, dpi=_DEFAULT_DPI)
        dpi = self._dpi()
        return width * 72 / dpi, height * 72 / dpi

    def _dpi(self) -> float:
        given = self.image.info.get("dpi")
        try:
            dpi = float(given[0]) if given else _DEFAULT_DPI
        except (TypeError, ValueError, ZeroDivisionError, IndexError):
            return _DEFAULT_DPI
        return dpi if 20 <= dpi <= 5_000 else _DEFAULT_DPI

    def pixels(self, index: int, *, dpi: float) -> tuple[int, int]:
        self._seek(index)
        return self._upright()

    def draw(self, index: int, *, width: int) -> "Image":
        from PIL import Image, ImageOps

        full, height = self.pixels(index, dpi=_DEFAULT_DPI)
        size = (min(width, full), max(1, round(height * min(width, full) / full)))
        with _decoding(), ExitStack() as opened:
            image = self.image
            if image.format in ("JPEG", "MPO"):
                # A large photograph is decoded at half its size, or less; for good, so it is opened anew.
                image = opened.enter_context(Image.open(self.path, formats=FORMATS))
                image.draft(None, (max(size), max(size)))
            image.load()
            picture = _shrunk(image, max(size))
            if picture.getexif().get(_TURNED, 1) != 1:
                picture = ImageOps.exif_transpose(picture)
            picture = _flat(picture)
            return picture.resize(size, Image.Resampling.LANCZOS) if picture.size != size else picture


def _shrunk(image: "Image", side: int) -> "Image":
    """The picture reduced by a whole number, no further than to `side` pixels: copies of a large one take much memory."""
    factor = max(image.size) // side
    if factor < 2:
        return image
    smooth = {"1": "L", "P": "RGBA", "PA": "RGBA", "I;16": "I", "I;16B": "I"}.get(image.mode)
    return (image.convert(smooth) if smooth else image).reduce(factor)


def _flat(image: "Image") -> "Image":
    """The picture in RGB or grey, what is transparent on white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        low, high = image.getextrema()
        span = max(float(high) - float(low), 1e-9)  # type: ignore[arg-type]  # one band: two numbers
        return image.convert("F").point(lambda value: (value - float(low)) * (255 / span)).convert("L")  # type: ignore[arg-type]
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        cover = image.convert("RGBA")
        paper = Image.new("RGBA", cover.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, cover).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _decoding() -> Iterator[None]:
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError:
        raise Permanent(_TOO_LARGE) from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, struct.error):
        raise Permanent(_DAMAGED) from None
