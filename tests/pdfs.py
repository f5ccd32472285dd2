"""Small PDFs for tests, drawn afresh."""

from io import BytesIO

from reportlab.lib.pagesizes import A4
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
