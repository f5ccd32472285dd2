"""Documents made for the tests: what is in them is known."""

from collections.abc import Sequence
from pathlib import Path


def make_pdf(
    path: Path,
    pages: Sequence[Sequence[str]],
    *,
    size: tuple[float, float] = (595.0, 842.0),
    rotation: int = 0,
    crop: tuple[float, float, float, float] | None = None,
    title: str = "",
    bold: Sequence[str] = (),
    bookmarks: Sequence[tuple[str, int, int]] = (),
    password: str = "",
) -> Path:
    """A PDF with these lines on each page; those in `bold` are larger headings; `bookmarks` are (title, page, level)."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    encryption = StandardEncryption(password, canPrint=0) if password else None
    canvas = Canvas(str(path), pagesize=size, encrypt=encryption, invariant=True)
    canvas.setTitle(title or "untitled")
    for number, lines in enumerate(pages):
        if crop:
            canvas.setCropBox(crop)
        y = size[1] - 72
        for line in lines:
            if line in bold:
                y -= 14
                canvas.setFont("Helvetica-Bold", 16)
            else:
                canvas.setFont("Helvetica", 11)
            if line:
                canvas.drawString(72, y, line)
            y -= 14
        for name, page, level in bookmarks:
            if page == number:
                canvas.bookmarkPage(name)
                canvas.addOutlineEntry(name, name, level)
        canvas.showPage()
    canvas.save()
    if rotation:
        _turn(path, rotation)
    return path


def _turn(path: Path, rotation: int) -> None:
    """Turns every page; reportlab's own rotation changes the page's box as well, so that the words fall off it."""
    import pypdfium2

    with pypdfium2.PdfDocument(path.read_bytes()) as pdf:
        for index in range(len(pdf)):
            pdf[index].set_rotation(rotation)
        pdf.save(path)
