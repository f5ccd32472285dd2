"""What the PDF parser makes of columns, tables, forms, comments, hidden text, running heads and pages without text."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image
from reportlab.lib import pdfencrypt
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag.backends.parsers._pdf_extras import iso_date
from rag.backends.parsers.base import Work
from rag.backends.parsers.pdf import PdfParser
from rag.backends.sandbox import Sandbox
from rag.domain.errors import Permanent, Protected
from rag.domain.types import Page, ParsedDocument, Reading
from tests.contracts.test_parsers import FILES, HOSTILE, MEMORY, check_promises, letters, needs_files, needs_hostile

WIDTH, HEIGHT = 595.0, 842.0
SENTENCE = (
    "the parties agree that notice of termination is given in writing and takes effect on the last day of a month "
    "unless another date was named before by one of them in the same manner"
)


def drawn(path: Path, draw: Callable[[Canvas], None], **options: Any) -> Path:
    """A PDF as `draw` draws it; it ends its pages itself, but for the last."""
    canvas = Canvas(str(path), pagesize=(WIDTH, HEIGHT), invariant=True, **options)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return path


def parsed(path: Path, password: str = "") -> ParsedDocument:
    document = PdfParser().parse(path, Work(password=password))
    check_promises(document)
    return document


def page_of(path: Path) -> Page:
    (page,) = parsed(path).pages
    return page


def write(canvas: Canvas, x: float, y: float, text: str, *, size: float = 10, font: str = "Helvetica") -> None:
    """`text` with its top about `y` points below the top of the page."""
    canvas.setFont(font, size)
    canvas.drawString(x, HEIGHT - y - size, text)


def prose(seed: int, lines: int, letters: int) -> list[str]:
    """Lines of about that many letters, each with its own number so that order shows."""
    chance = random.Random(seed)
    result = []
    for number in range(lines):
        line = f"{seed}{number:02d}"
        while len(line) < letters - 4:
            line += " " + chance.choice(SENTENCE.split())
        result.append(line[: letters + 4].rstrip())
    return result


def order_of(text: str, lines: Iterable[str]) -> list[int]:
    return [text.index(line.split()[0] + " ") for line in lines]


# --- Reading order


@pytest.mark.parametrize("gutter", [28.0, 14.0])
def test_columns_that_the_file_draws_row_by_row_are_read_one_after_the_other(tmp_path: Path, gutter: float) -> None:
    left, right = prose(1, 24, 44), prose(2, 24, 44)

    def draw(canvas: Canvas) -> None:
        write(canvas, 60, 60, "A title that runs across both of the columns of this page", size=18)
        for row, (one, other) in enumerate(zip(left, right, strict=True)):
            canvas.setFont("Courier", 8)
            write(canvas, 60, 100 + 11 * row, one.ljust(48)[:48], size=8, font="Courier")
            write(canvas, 60 + 48 * 4.8 + gutter, 100 + 11 * row, other, size=8, font="Courier")

    text = page_of(drawn(tmp_path / "a.pdf", draw)).text
    assert text.startswith("A title that runs")
    places = order_of(text, [*left, *right])
    assert places == sorted(places)
    assert " | " not in text


def test_three_columns_and_a_heading_between_two_stories(tmp_path: Path) -> None:
    stories = [[prose(10 * story + column, 10, 26) for column in (1, 2, 3)] for story in (1, 2)]

    def draw(canvas: Canvas) -> None:
        for story, columns in enumerate(stories):
            top = 60 + 220 * story
            write(canvas, 50, top, f"Headline of story {story} over the whole width of the page", size=16)
            for row, line in enumerate(zip(*columns, strict=True)):
                for column, text in enumerate(line):
                    write(canvas, 50 + 170 * column, top + 40 + 12 * row, text, size=9)

    text = page_of(drawn(tmp_path / "a.pdf", draw)).text
    wanted = [line for columns in stories for column in columns for line in column]
    places = order_of(text, wanted)
    assert places == sorted(places)
    assert order_of(text, stories[0][2])[-1] < text.index("Headline of story 1") < order_of(text, stories[1][0])[0]


def test_the_files_own_order_is_kept_where_it_is_sound(tmp_path: Path) -> None:
    left, right = prose(1, 20, 40), prose(2, 20, 40)

    def draw(canvas: Canvas) -> None:
        for column, lines in enumerate((left, right)):
            for row, line in enumerate(lines):
                write(canvas, 60 + 250 * column, 80 + 12 * row, line)
        write(canvas, 60, 780, "A note at the foot of the page, drawn last")

    text = page_of(drawn(tmp_path / "a.pdf", draw)).text
    places = [*order_of(text, [*left, *right]), text.index("A note at the foot")]
    assert places == sorted(places)


def test_lines_drawn_from_the_bottom_up_are_read_from_the_top_down(tmp_path: Path) -> None:
    lines = prose(1, 30, 60)

    def draw(canvas: Canvas) -> None:
        for row, line in reversed(list(enumerate(lines))):
            write(canvas, 60, 60 + 14 * row, line)

    places = order_of(page_of(drawn(tmp_path / "a.pdf", draw)).text, lines)
    assert places == sorted(places)


def test_letters_that_run_up_the_page_are_read_along_their_lines(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.rotate(90)
        canvas.setFont("Helvetica", 11)
        canvas.drawString(100, -100, "First line of a sideways table")
        canvas.drawString(100, -116, "and its second line.")

    page = page_of(drawn(tmp_path / "a.pdf", draw))
    assert page.text == "First line of a sideways table\nand its second line."
    first, last = page.boxes[0], page.boxes[-1]
    assert first.y0 > page.boxes[5].y1  # it runs up the page
    assert last.x0 > first.x1 - 0.01
    assert (first.x1 - first.x0) < (first.y1 - first.y0)


@needs_files
def test_sentences_of_papers_in_two_columns_stay_whole() -> None:
    def text(name: str) -> str:
        pages = parsed(FILES / "pdf" / f"{name}.pdf").pages
        return letters("\n".join(page.text for page in pages))

    assert letters("in about 35 cycles. Native traces take about 9 cycles per bytecode") in text("pdfjs__tracemonkey")
    korean = text("docling__normal_4pages")
    assert letters("보험약관의 제도적 보완이 필요한 시점이다.") in korean


# --- Tables


def grid(canvas: Canvas, xs: Sequence[float], ys: Sequence[float]) -> None:
    for y in ys:
        canvas.line(xs[0], HEIGHT - y, xs[-1], HEIGHT - y)
    for x in xs:
        canvas.line(x, HEIGHT - ys[0], x, HEIGHT - ys[-1])


def test_a_table_with_rules_is_kept_as_rows_with_whole_cells(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        write(canvas, 60, 60, "Fees are as follows.")
        grid(canvas, (60, 160, 400, 480), (90, 110, 150, 170))
        for x, text in ((64, "Item"), (164, "What it covers"), (404, "Price")):
            write(canvas, x, 94, text, font="Helvetica-Bold")
        write(canvas, 64, 114, "Visit")
        write(canvas, 164, 114, "A visit to the site, with a written")
        write(canvas, 164, 128, "report within ten days")
        write(canvas, 404, 114, "40.00")
        write(canvas, 64, 154, "Report")
        write(canvas, 404, 154, "15.50")
        write(canvas, 60, 190, "Prices are without tax.")

    page = page_of(drawn(tmp_path / "a.pdf", draw))
    assert page.text == (
        "Fees are as follows.\n\n"
        "Item | What it covers | Price\n"
        "Visit | A visit to the site, with a written report within ten days | 40.00\n"
        "Report |  | 15.50\n\n"
        "Prices are without tax."
    )
    words = [page.text[box.start : box.end] for box in page.boxes]
    assert "|" not in words
    price = page.boxes[words.index("40.00")]
    assert (price.x0 * WIDTH, price.y0 * HEIGHT) == pytest.approx((404, 116), abs=4)


def test_a_table_without_rules_is_kept_as_rows(tmp_path: Path) -> None:
    rows = [
        ("Product", "Units", "Price", "Total"),
        ("Bolt", "450", "0.12", "54.00"),
        ("Nut", "", "0.08", "62.40"),
        ("Washer, steel", "1,200", "0.02", "24.00"),
    ]

    def draw(canvas: Canvas) -> None:
        write(canvas, 60, 60, "The order of 4 May holds the parts below, to be delivered in June.")
        for row, cells in enumerate(rows):
            for x, cell in zip((60, 200, 300, 400), cells, strict=True):
                write(canvas, x, 100 + 16 * row, cell)

    page = page_of(drawn(tmp_path / "a.pdf", draw))
    assert page.text.split("\n\n")[1] == "\n".join(" | ".join(row) for row in rows)


def test_numbered_clauses_are_no_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        for number, text in enumerate(("Term", "Fees", "Notice"), 1):
            write(canvas, 60, 60 + 40 * number, f"{number}.")
            write(canvas, 120, 60 + 40 * number, f"{text}. The parties agree on this point as follows.")
            write(canvas, 60, 80 + 40 * number, "(a)")
            write(canvas, 120, 80 + 40 * number, "It is so.")

    text = page_of(drawn(tmp_path / "a.pdf", draw)).text
    assert " | " not in text
    assert "1. Term. The parties agree" in text
    assert "(a) It is so." in text


@needs_files
def test_real_tables_keep_their_rows() -> None:
    def text(name: str) -> str:
        return "\n".join(page.text for page in parsed(FILES / "pdf" / name).pages)

    sparse = text("markitdown__SPARSE-2024-INV-1234_borderless_table.pdf")
    assert "SKU-9201 | Hardware | $32.50 | $25,285.00 | 2024-10-22 | Verified" in sparse
    assert "SKU-4563 | D-22 |  | 156 |  | CRITICAL" in sparse
    zoo = text("unstructured__layout-parser-paper-with-table.pdf")
    assert "TableBank [18] | F | F | Table region on modern scientific and business document" in zoo
    booking = text("markitdown__movie-theater-booking-2024.pdf")
    assert "2 | SCR-2 | 12/20/24 | 12/31/24 | Winter Wonderland | Standard | 4:30 PM | Daily | 24 | $150" in booking
    persian = text("docling__right_to_left_03.pdf")
    loops = text("pdfjs__tracemonkey.pdf")
    assert "3d-raytrace | 10 | 25 | 100 | 10 | 1 | 2.5 | 4.0 | 10.0 | 1.18x" in loops
    assert "شماره استاندارد ملی | 20300" in persian  # the label first, as it is read


# --- Forms, comments, attachments, properties


def test_values_of_form_fields_stand_with_their_labels(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        form = canvas.acroForm
        write(canvas, 60, 100, "Surname:")
        form.textfield(name="surname", tooltip="Surname", x=150, y=HEIGHT - 115, width=200, height=18, value="Okafor")
        write(canvas, 60, 140, "Declarations")
        form.checkbox(name="a", tooltip="Resident", x=60, y=HEIGHT - 175, checked=True)
        form.checkbox(name="b", tooltip="Employed", x=60, y=HEIGHT - 200, checked=False)
        form.choice(
            name="c",
            tooltip="Country",
            x=60,
            y=HEIGHT - 240,
            width=120,
            height=18,
            value="Ghana",
            options=["Ghana", "Togo"],
        )
        form.textfield(name="p", tooltip="PIN", x=60, y=HEIGHT - 280, value="4711", fieldFlags="password")
        write(canvas, 60, 300, "Signed at Accra")

    page = page_of(drawn(tmp_path / "a.pdf", draw))
    assert "Surname: Okafor" in page.text
    assert page.text.index("Declarations") < page.text.index("Resident: yes") < page.text.index("Country: Ghana")
    assert page.text.index("Country: Ghana") < page.text.index("Signed at Accra")
    assert "Employed" not in page.text
    assert "4711" not in page.text
    (box,) = (box for box in page.boxes if page.text[box.start : box.end] == "Okafor")
    assert (box.x0 * WIDTH, box.y1 * HEIGHT) == pytest.approx((150, 115), abs=2)


def annotated(path: Path, lines: Sequence[str], annotations: Sequence[Any], **attachments: bytes) -> Path:
    from pypdf import PdfReader, PdfWriter

    def draw(canvas: Canvas) -> None:
        for row, line in enumerate(lines):
            write(canvas, 60, 60 + 14 * row, line)

    drawn(path, draw)
    writer = PdfWriter(clone_from=PdfReader(path))
    for annotation in annotations:
        writer.add_annotation(0, annotation)
    for name, content in attachments.items():
        writer.add_attachment(f"{name}.txt", content)
    writer.write(path)
    return path


def test_comments_are_marked_and_typed_text_is_text(tmp_path: Path) -> None:
    from pypdf.annotations import FreeText, Popup, Text
    from pypdf.generic import NameObject, NumberObject, TextStringObject

    comment = Text(rect=(300, 760, 320, 780), text="Is this\nthe final date?")
    comment[NameObject("/T")] = TextStringObject("Ama")
    hidden = Text(rect=(300, 760, 320, 780), text="Not to be seen")
    hidden[NameObject("/F")] = NumberObject(2)
    typed = FreeText(text="Received 9 May", rect=(60, 700, 200, 715))
    lines = ["The term ends on the last day of March", "of the year after next.", "", "", "Another paragraph."]
    path = annotated(tmp_path / "a.pdf", lines, [comment, hidden, typed, Popup(rect=(0, 0, 9, 9), parent=comment)])
    page = page_of(path)
    assert page.text.startswith(
        "The term ends on the last day of March\nof the year after next.\n\n[Comment by Ama: Is this the final date?]"
    )
    assert "Received 9 May" in page.text
    assert "Not to be seen" not in page.text
    assert "[Comment" in [page.text[box.start : box.end] for box in page.boxes]


def test_files_inside_are_handed_over(tmp_path: Path) -> None:
    path = annotated(tmp_path / "a.pdf", ["See the annexes."], [], first=b"One annex", second=b"")
    taken: dict[str, bytes] = {}

    def attach(name: str, content: IO[bytes]) -> None:
        taken[name] = content.read()

    PdfParser().parse(path, Work(attach=attach))
    assert taken == {"first.txt": b"One annex", "second.txt": b""}


def test_what_attaching_raises_comes_out(tmp_path: Path) -> None:
    path = annotated(tmp_path / "a.pdf", ["See the annexes."], [], first=b"One annex")

    def refuse(name: str, content: IO[bytes]) -> None:
        raise Permanent("Too many files.")

    with pytest.raises(Permanent, match="Too many files"):
        PdfParser().parse(path, Work(attach=refuse))


def test_properties_come_from_the_file(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setTitle("Lease of 4 May")
        canvas.setAuthor("Ama Mensah")
        canvas.setSubject("Rent")
        canvas.setKeywords("lease, rent")
        write(canvas, 60, 60, "Words")

    properties = parsed(drawn(tmp_path / "a.pdf", draw)).properties
    assert {key: properties[key] for key in ("title", "author", "subject", "keywords")} == {
        "title": "Lease of 4 May",
        "author": "Ama Mensah",
        "subject": "Rent",
        "keywords": "lease, rent",
    }
    assert properties["created"] == "2000-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("D:20240131120000+01'00'", "2024-01-31T12:00:00+01:00"),
        ("D:20240131120000Z", "2024-01-31T12:00:00+00:00"),
        ("D:20240131120000-0330", "2024-01-31T12:00:00-03:30"),
        ("D:20240131", "2024-01-31"),
        ("D:202401", "2024-01"),
        ("2024", "2024"),
        ("D:20249931", ""),
        ("D:20240131120000+99'00'", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_dates_are_iso(given: str, wanted: str) -> None:
    assert iso_date(given) == wanted


def test_page_labels_are_kept_where_they_differ(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.constants import PageLabelStyle

    def draw(canvas: Canvas) -> None:
        for text in ("Preface", "Chapter"):
            write(canvas, 60, 60, text)
            canvas.showPage()
        write(canvas, 60, 60, "More")

    path = drawn(tmp_path / "a.pdf", draw)
    writer = PdfWriter(clone_from=PdfReader(path))
    writer.set_page_label(0, 0, PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(1, 2, PageLabelStyle.DECIMAL)
    writer.write(path)
    assert [page.label for page in parsed(path).pages] == ["i", "1", "2"]


# --- Passwords


def test_the_password_opens_and_a_wrong_one_is_told_from_none(tmp_path: Path) -> None:
    path = drawn(
        tmp_path / "a.pdf",
        lambda canvas: write(canvas, 60, 60, "Secret"),
        encrypt=pdfencrypt.StandardEncryption("sésame", strength=128),
    )
    with pytest.raises(Protected, match=r"^This PDF is protected by a password\.$"):
        parsed(path)
    with pytest.raises(Protected, match=r"^The password does not open this PDF\.$"):
        parsed(path, "sesame")
    assert parsed(path, "sésame").pages[0].text == "Secret"


def test_a_pdf_that_only_its_owner_may_copy_is_read(tmp_path: Path) -> None:
    path = drawn(
        tmp_path / "a.pdf",
        lambda canvas: write(canvas, 60, 60, "Open to readers"),
        encrypt=pdfencrypt.StandardEncryption("", ownerPassword="owner", canCopy=0),
    )
    assert parsed(path).pages[0].text == "Open to readers"


# --- How a page was read


def picture(width: int = 60, height: int = 80) -> ImageReader:
    image = Image.effect_noise((width, height), 60).convert("RGB")
    data = BytesIO()
    image.save(data, "PNG")
    data.seek(0)
    return ImageReader(data)


def scan(canvas: Canvas, share: float = 1.0) -> None:
    canvas.drawImage(picture(), 0, HEIGHT * (1 - share), WIDTH, HEIGHT * share)


def test_pages_say_how_they_were_read(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        write(canvas, 60, 60, "Words")
        canvas.showPage()
        canvas.showPage()  # nothing at all
        scan(canvas)
        canvas.showPage()
        scan(canvas)
        write(canvas, 60, 20, "Case 12/24 Document 3 Page 4 of 9")  # a stamp on a scan
        canvas.showPage()
        scan(canvas)
        for row, line in enumerate(prose(1, 40, 70)):  # a slide or brochure: a picture behind its text
            write(canvas, 60, 60 + 14 * row, line)

    pages = parsed(drawn(tmp_path / "a.pdf", draw)).pages
    readings = [Reading.TEXT, Reading.BLANK, Reading.UNREAD, Reading.UNREAD, Reading.TEXT]
    assert [page.reading for page in pages] == readings
    assert pages[3].text == "Case 12/24 Document 3 Page 4 of 9"
    assert [page.images for page in pages] == [0] * 5
    for page in pages:
        assert page.gap.endswith(".") == (page.reading is Reading.UNREAD)


def test_the_text_layer_of_a_scan_is_text(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        scan(canvas)
        text = canvas.beginText(60, 700)
        text.setTextRenderMode(3)
        text.setFont("Helvetica", 11)
        text.textLine("What the scanner's program recognised")
        canvas.drawText(text)

    document = parsed(drawn(tmp_path / "a.pdf", draw))
    (page,) = document.pages
    assert (page.reading, page.text) == (Reading.TEXT, "What the scanner's program recognised")
    assert document.warnings == ()


def test_pictures_beside_text_are_counted(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        write(canvas, 60, 60, "See the figure and the logo.")
        canvas.drawImage(picture(), 100, 300, 300, 200)
        canvas.drawImage(picture(), 500, 800, 20, 20)

    page = page_of(drawn(tmp_path / "a.pdf", draw))
    assert (page.reading, page.images) == (Reading.TEXT, 1)


def test_letters_drawn_as_shapes_are_unread_and_rules_alone_are_blank(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.line(60, 60, 500, 60)
        canvas.showPage()
        for x in range(60, 400, 12):
            canvas.circle(x, 500, 5, fill=1)

    pages = parsed(drawn(tmp_path / "a.pdf", draw)).pages
    assert [page.reading for page in pages] == [Reading.BLANK, Reading.UNREAD]


def test_a_text_layer_whose_letters_are_shuffled_is_unread(tmp_path: Path) -> None:
    shift = str.maketrans({chr(code): chr((code - 97 + 3) % 26 + 97) for code in range(97, 123)})
    shuffled = str.maketrans("aeiouy", "xkwqzj")

    def draw(canvas: Canvas) -> None:
        for row, line in enumerate(prose(1, 40, 70)):
            write(canvas, 60, 60 + 14 * row, line.translate(shuffled))
        canvas.showPage()
        for row, line in enumerate(prose(2, 40, 70)):
            write(canvas, 60, 60 + 14 * row, line)

    assert "the".translate(shift) == "wkh"
    pages = parsed(drawn(tmp_path / "a.pdf", draw)).pages
    assert [page.reading for page in pages] == [Reading.UNREAD, Reading.TEXT]
    assert pages[0].text == ""
    assert "letters" in pages[0].gap


@needs_files
def test_a_real_text_layer_without_letters_is_unread() -> None:
    pages = parsed(FILES / "pdf" / "pdfjs__TAMReview.pdf").pages
    assert sum(page.reading is Reading.UNREAD for page in pages) >= 20


@needs_files
def test_real_scans_are_unread_and_real_pages_are_not() -> None:
    for row in map(json.loads, (FILES / "manifest.jsonl").read_text().splitlines()):
        path = FILES / row["file"]
        if path.suffix != ".pdf" or "snippet_not_seen_by_checker" not in row["notes"]:
            continue
        pages = parsed(path).pages
        if "JBIG2" not in path.name:  # its words are text, beside the picture
            assert {page.reading for page in pages} <= {Reading.UNREAD, Reading.BLANK}, path.name


# --- Running heads


def paged(path: Path, number: int, draw: Callable[[Canvas, int], None]) -> Path:
    def all_pages(canvas: Canvas) -> None:
        for page in range(1, number + 1):
            draw(canvas, page)
            if page < number:
                canvas.showPage()

    return drawn(path, all_pages)


def test_running_heads_and_page_numbers_leave_the_text_and_the_first_head_stays(tmp_path: Path) -> None:
    def draw(canvas: Canvas, page: int) -> None:
        write(canvas, 60, 30, "Services agreement 2024/17")
        write(canvas, 450, 30, "Confidential")
        for row, line in enumerate(prose(page, 30, 70)):
            write(canvas, 60, 80 + 14 * row, line)
        write(canvas, 280, 800, f"Page {page} of 5")

    pages = parsed(paged(tmp_path / "a.pdf", 5, draw)).pages
    assert pages[0].text.startswith("Services agreement 2024/17")
    for page in pages:
        assert "Page" not in page.text
        assert len([line for line in page.text.splitlines() if line[:1].isdigit()]) == 30
        if page.number != 1:
            assert "Services agreement" not in page.text
            assert "Confidential" not in page.text


def test_a_table_head_and_a_slide_title_that_repeat_are_kept(tmp_path: Path) -> None:
    def draw(canvas: Canvas, page: int) -> None:
        if page <= 4:
            for x, text in ((60, "Date"), (200, "Amount"), (300, "Balance")):
                write(canvas, x, 60, text)
                for row in range(20):
                    write(canvas, x, 72 + 12 * row, f"{text[0]}{page}{row}")
        else:
            write(canvas, 60, 40, "Results", size=20)
            for row, line in enumerate(prose(page, 20, 60)):
                write(canvas, 60, 120 + 14 * row, line)

    pages = parsed(paged(tmp_path / "a.pdf", 8, draw)).pages
    assert all("Date | Amount | Balance" in page.text for page in pages[:4])
    assert all(page.text.startswith("Results") for page in pages[4:])


def test_two_pages_are_too_few_for_a_running_head(tmp_path: Path) -> None:
    def draw(canvas: Canvas, page: int) -> None:
        write(canvas, 60, 30, "The same line")
        write(canvas, 60, 200, "The text of the page")

    assert all("The same line" in page.text for page in parsed(paged(tmp_path / "a.pdf", 2, draw)).pages)


# --- Hidden text


def test_text_that_nobody_can_see_is_left_out_and_told(tmp_path: Path) -> None:
    def hide(canvas: Canvas, way: str) -> None:
        write(canvas, 60, 60, "Shown to all.")
        canvas.saveState()
        if way == "white":
            canvas.setFillColorRGB(1, 1, 1)
            write(canvas, 60, 100, "CANARY")
        elif way == "tiny":
            write(canvas, 60, 100, "CANARY", size=1)
        elif way == "invisible":
            text = canvas.beginText(60, 700)
            text.setTextRenderMode(3)
            text.textOut("CANARY")
            canvas.drawText(text)
        elif way == "outside":
            write(canvas, -300, 100, "CANARY")
        elif way == "covered":
            write(canvas, 60, 100, "CANARY")
            canvas.rect(50, HEIGHT - 120, 200, 30, fill=1, stroke=0)
        elif way == "transparent":
            canvas.setFillAlpha(0)
            write(canvas, 60, 100, "CANARY")
        elif way == "black on black":
            canvas.rect(50, HEIGHT - 120, 200, 30, fill=1, stroke=0)
            write(canvas, 60, 100, "CANARY")
        canvas.restoreState()

    ways = ["white", "tiny", "invisible", "outside", "covered", "transparent", "black on black"]
    path = paged(tmp_path / "a.pdf", len(ways), lambda canvas, page: hide(canvas, ways[page - 1]))
    document = parsed(path)
    assert [page.text for page in document.pages] == ["Shown to all."] * len(ways)
    assert document.warnings == ("Hidden text was left out on 7 pages (1, 2, 3, 4, 5, …).",)


def test_text_that_can_be_seen_is_kept(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(0, 0, 0.5)
        canvas.rect(50, HEIGHT - 120, 300, 30, fill=1, stroke=0)
        canvas.setFillColorRGB(1, 1, 1)
        write(canvas, 60, 100, "White on blue")
        canvas.setFillColorRGB(0, 0, 0)
        write(canvas, 60, 150, "Marked with a highlighter")
        canvas.setFillColorRGB(1, 1, 0)
        canvas.setFillAlpha(0.4)
        canvas.rect(50, HEIGHT - 170, 300, 30, fill=1, stroke=0)
        canvas.setFillAlpha(1)
        canvas.setFillColorRGB(0, 0, 0)
        write(canvas, 60, 200, "In a frame")
        canvas.rect(50, HEIGHT - 220, 300, 30, fill=0, stroke=1)
        canvas.drawImage(picture(), 50, HEIGHT - 300, 300, 60)
        canvas.setFillColorRGB(1, 1, 1)
        write(canvas, 60, 260, "White on a picture")

    document = parsed(drawn(tmp_path / "a.pdf", draw))
    assert document.pages[0].text.split("\n\n") == [
        "White on blue",
        "Marked with a highlighter",
        "In a frame",
        "White on a picture",
    ]
    assert document.warnings == ()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as box:
        yield box


@needs_hostile
@pytest.mark.parametrize("path", sorted(HOSTILE.glob("*/*.pdf")), ids=lambda path: path.name)
def test_hostile_files_end_in_text_or_a_sentence(sandbox: Sandbox, path: Path) -> None:
    try:
        document = sandbox.parse(path, name=path.name, seconds=60, memory=MEMORY)
    except Permanent as error:
        assert error.message.endswith(".")
        assert "CANARY" not in error.message
    else:
        check_promises(document)
        assert "CANARY-PDF" not in "".join(page.text for page in document.pages)


@needs_files
def test_malformed_files_end_in_text_or_a_sentence() -> None:
    for path in sorted([*(FILES / "malformed").glob("*.pdf"), *(FILES / "malformed_handbuilt").glob("*.pdf")]):
        try:
            parsed(path)
        except Permanent as error:
            assert error.message.endswith("."), path.name


# --- Real files


@needs_files
def test_every_real_pdf_holds_what_it_shows() -> None:
    missing = []
    for row in map(json.loads, (FILES / "manifest.jsonl").read_text().splitlines()):
        path = FILES / row["file"]
        if path.suffix != ".pdf" or path.parent.name in ("scanned", "big"):
            continue
        try:
            document = parsed(path, row["password"])
        except Permanent:
            assert not row["must_contain"], path.name
            continue
        text = letters("\n".join(page.text for page in document.pages))
        missing += [(path.name, snippet) for snippet in row["must_contain"] if letters(snippet) not in text]
    # Its second line is drawn invisibly on a page that shows other text: what nobody can see is left out.
    assert missing == [("docling__invisible_text_layer.pdf", "Invisible OCR text layer")]


@needs_files
def test_progress_is_told_for_every_page() -> None:
    seen: list[tuple[int, int | None]] = []
    PdfParser().parse(
        FILES / "pdf" / "pdfjs__tracemonkey.pdf", Work(progress=lambda done, total: seen.append((done, total)))
    )
    assert seen == [(page, 14) for page in range(1, 15)]
