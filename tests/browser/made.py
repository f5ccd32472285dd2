"""Documents made for the browser's tests, with the places of their words known from how they were drawn."""

from dataclasses import dataclass
from io import BytesIO

from docx import Document
from playwright.sync_api import FilePayload
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

FONT, SIZE = "Helvetica", 11
LEFT, TOP, LEADING = 72, 770, 26
FACT = "The Kestrel boiler in the cellar is descaled every 14 weeks by a licensed plumber."
AROUND = (
    "Tenants report a dripping tap to the caretaker within three days.",
    "Bicycles stand in the yard and never in the stairwell.",
    "The lift is inspected in March and in September.",
)
KEY = "The spare key of the archive lies in locker 27 and is handed out by Marta Oduya."


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a page in fractions of its width and height, from the top left corner."""

    x0: float
    y0: float
    x1: float
    y1: float


def house_rules() -> tuple[bytes, Area]:
    """A PDF of two pages, and where on the second one `FACT` was drawn."""
    width, height = A4
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    canvas.setTitle("House rules")
    canvas.setFont(FONT, SIZE)
    canvas.drawString(LEFT, TOP, "These rules hold for everybody who lives or works in the house.")
    canvas.showPage()
    canvas.setFont(FONT, SIZE)
    lines = (*AROUND[:2], FACT, AROUND[2])
    for row, line in enumerate(lines):
        canvas.drawString(LEFT, TOP - row * LEADING, line)
    canvas.showPage()
    canvas.save()
    baseline = TOP - lines.index(FACT) * LEADING
    end = LEFT + stringWidth(FACT, FONT, SIZE)
    # Letters reach about a fifth of their size below the baseline and nine tenths above it.
    area = Area(LEFT / width, 1 - (baseline + 0.9 * SIZE) / height, end / width, 1 - (baseline - 0.25 * SIZE) / height)
    return buffer.getvalue(), area


def keys() -> bytes:
    """A Word document that says where the key is, in its second section."""
    document = Document()
    document.add_heading("Keys and alarms", 1)
    document.add_paragraph("The alarm is armed at nine in the evening by whoever leaves last.")
    document.add_heading("Archive", 2)
    document.add_paragraph(KEY)
    buffer = BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def chosen(name: str, kind: str, content: bytes) -> FilePayload:
    """A file as a person chooses it in the browser's dialogue; `kind` is the type that the browser names."""
    return {"name": name, "mimeType": kind, "buffer": content}
