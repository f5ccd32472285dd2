"""Small PDFs for tests, drawn afresh."""

from io import BytesIO

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas


def pdf(*pages: str) -> bytes:
    """A PDF with one page for each text, its lines one below the other."""
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    for text in pages:
        for number, line in enumerate(text.splitlines()):
            canvas.drawString(72, 770 - 16 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def one_page_pdf(text: str) -> bytes:
    """A PDF of one page."""
    return pdf(text)


def picture(words: str) -> Image.Image:
    """A picture with one line of large print."""
    drawn = Image.new("RGB", (900, 200), "white")
    ImageDraw.Draw(drawn).text((40, 60), words, fill="black", font=ImageFont.load_default(64))
    return drawn


def scan_behind(text: str, *words: str) -> bytes:
    """A PDF with one page of text, and behind it a page for each of `words` that is nothing but a picture of them."""
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    for number, line in enumerate(text.splitlines()):
        canvas.drawString(72, 770 - 16 * number, line)
    canvas.showPage()
    for line in words:
        canvas.drawImage(ImageReader(picture(line)), 50, 600, width=450, height=100)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()
