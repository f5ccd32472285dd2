"""Files for measuring, the same on every machine: prose of the samples' words, no two passages alike."""

import random
from collections.abc import Iterator
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from rag import samples

_LINE = 92  # characters of a line in a PDF
_LINES = 46  # lines of a page


def prose(seed: str) -> Iterator[str]:
    """Paragraphs without end, of three to six sentences; the same for the same seed."""
    words = sorted({word for source in samples.sources() for word in source.split() if word.isalpha()})
    chance = random.Random(seed)
    while True:
        sentences = []
        for _ in range(chance.randint(3, 6)):
            chosen = chance.choices(words, k=chance.randint(8, 22))
            chosen.insert(chance.randrange(len(chosen)), str(chance.randint(1, 99_999)))
            sentences.append(" ".join(chosen).capitalize() + ".")
        yield " ".join(sentences)


def text(seed: str, size: int) -> bytes:
    """A plain text of about `size` bytes."""
    parts: list[str] = []
    length = 0
    for paragraph in prose(seed):
        parts.append(paragraph)
        length += len(paragraph) + 2
        if length >= size:
            break
    return "\n\n".join(parts).encode()[:size]


def pdf(seed: str, pages: int) -> bytes:
    """A PDF with a text layer, every page full."""
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    lines = _lines(seed)
    for _ in range(pages):
        canvas.setFont("Helvetica", 10)
        for number in range(_LINES):
            canvas.drawString(60, 780 - 16 * number, next(lines))
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def scans(seed: str, pages: int) -> bytes:
    """A PDF whose pages are nothing but pictures of text, as a scanner makes them: A4 at 150 dots an inch."""
    font = ImageFont.load_default(22)
    lines = _lines(seed)
    pictures = []
    for _ in range(pages):
        drawn = Image.new("L", (1240, 1754), "white")
        pen = ImageDraw.Draw(drawn)
        for number in range(_LINES):
            pen.text((110, 100 + 34 * number), next(lines), fill="black", font=font)
        pictures.append(drawn)
    buffer = BytesIO()
    pictures[0].save(buffer, "PDF", save_all=True, append_images=pictures[1:], resolution=150)
    return buffer.getvalue()


def _lines(seed: str) -> Iterator[str]:
    for paragraph in prose(seed):
        line = ""
        for word in paragraph.split():
            if len(line) + len(word) >= _LINE:
                yield line
                line = ""
            line = f"{line} {word}".strip()
        yield line
