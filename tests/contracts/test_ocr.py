"""Every engine finds the words and their places; what is not certain does not become text."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from rag.backends import ocr
from rag.backends.ocr import tesseract
from rag.backends.ocr.base import Engine, Found, Line, Picture, Word, turned
from rag.backends.ocr.layout import in_order
from rag.backends.ocr.rapidocr import RapidOcr
from rag.backends.ocr.reading import ILLEGIBLE, Reader, make_page
from rag.backends.ocr.scripts import languages_for
from rag.backends.ocr.tesseract import Tesseract
from rag.backends.pictures import open_pictures
from rag.backends.sandbox import Sandbox
from rag.domain.errors import Permanent, Protected
from rag.domain.text import clean
from rag.domain.types import Page, Reading
from tests.contracts.discovery import backends_of
from tests.contracts.made_documents import make_pdf

FILES = Path(__file__).resolve().parents[3] / "shared" / "files"
HOSTILE = FILES.parent / "hostile"
MEMORY = 1024**3
SENTENCE = "The invoice of 1,250 dollars is due on 15 March."
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах"
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια"
WIDTH, HEIGHT = 1240, 800
_FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/dejavu/DejaVuSans.ttf",
    "/Library/Fonts/Arial Unicode.ttf",
)

needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"the sample files are not beside the checkout ({FILES})")


def font(size: int = 34) -> Any:
    """A font of the system where one is known, else Pillow's own."""
    known = next((name for name in _FONTS if Path(name).is_file()), None)
    return ImageFont.truetype(known, size) if known else ImageFont.load_default(size)


def foreign_font() -> Any:
    """A font with Cyrillic and Greek letters."""
    if not any(Path(name).is_file() for name in _FONTS):
        pytest.skip("no font with Cyrillic and Greek letters is installed")
    return font()


def image_of(lines: Sequence[str], *, letters: Any = None) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    for place, line in enumerate(lines):
        ImageDraw.Draw(image).text((90, 80 + 60 * place), line, fill="black", font=letters or font())
    return image


def picture_of(lines: Sequence[str]) -> Picture:
    return np.asarray(image_of(lines))


def text_of(found: Found) -> str:
    lines = sorted(found.lines, key=lambda line: line.y0)
    return "\n".join(" ".join(word.text for word in line.words) for line in lines)


def rapidocr() -> Engine:
    return RapidOcr()


def english() -> Engine:
    if "eng" not in tesseract.installed():
        pytest.skip("Tesseract with English is not installed")
    return Tesseract(("eng",), dpi=200)


@pytest.fixture(scope="module", params=[rapidocr, english])
def engine(request: pytest.FixtureRequest) -> Engine:
    made: Engine = request.param()
    return made


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as box:
        yield box


@pytest.fixture
def without_tesseract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tesseract, "installed", frozenset)


class TestEveryEngine:
    def test_it_reads_a_sentence(self, engine: Engine) -> None:
        assert text_of(engine.read(picture_of([SENTENCE]))) == SENTENCE

    def test_boxes_stand_on_the_words(self, engine: Engine) -> None:
        picture = picture_of([SENTENCE])
        found = engine.read(picture)
        words = sorted((word for line in found.lines for word in line.words), key=lambda word: word.x0)
        assert [word.text for word in words] == SENTENCE.split()
        start = 90.0
        for word in words:
            assert word.x0 == pytest.approx(start, abs=12)
            assert word.x1 == pytest.approx(start + font().getlength(word.text), abs=12)
            inside = picture[round(word.y0) : round(word.y1), round(word.x0) : round(word.x1)]
            assert inside.min() < 64  # its ink
            assert word.y1 - word.y0 < 80
            start += font().getlength(f"{word.text} ")

    def test_confidence_is_a_share(self, engine: Engine) -> None:
        found = engine.read(picture_of([SENTENCE, "Second line of words"]))
        assert all(0 <= word.confidence <= 1 for line in found.lines for word in line.words)
        assert min(line.confidence for line in found.lines) > 0.8

    def test_nothing_is_found_where_nothing_is(self, engine: Engine) -> None:
        assert engine.read(picture_of([])) == Found(0, [])

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_a_page_that_lies_on_its_side_is_read_upright(self, engine: Engine, turns: int) -> None:
        lines = [SENTENCE, "A second sentence stands below it.", "And a third one at the end."]
        found = engine.read(turned(picture_of(lines), -turns))
        assert found.turns == turns
        assert text_of(found) == "\n".join(lines)

    def test_letters_of_another_script_are_no_text(self, engine: Engine) -> None:
        for words in (RUSSIAN, GREEK):
            found = engine.read(np.asarray(image_of([words] * 3, letters=foreign_font())), 0)
            assert found.lines == []
            assert found.unread > 0


def test_every_engine_is_held_to_the_contract() -> None:
    assert {engine.__name__ for engine in backends_of(ocr, Engine)} == {"RapidOcr", "Tesseract"}  # type: ignore[type-abstract]


def test_rapidocr_reads_accents_without_being_told_the_language() -> None:
    sentence = "Für größere Aufträge beträgt die Vergütung 4.250,00 €, réglé par l'Établissement."
    assert text_of(RapidOcr().read(np.asarray(image_of([sentence], letters=font(28))))) == sentence


@pytest.mark.parametrize("size", [12, 24, 60, 110, 180])
def test_rapidocr_finds_small_and_large_letters(size: int) -> None:
    picture = Image.new("RGB", (1654, 2339), "white")
    ImageDraw.Draw(picture).text((150, 200), "Annual report", fill="black", font=font(size))
    assert text_of(RapidOcr().read(np.asarray(picture))) == "Annual report"


def test_the_package_of_the_models_is_never_imported() -> None:
    """It could download; only its files are read."""
    RapidOcr().read(picture_of([SENTENCE]))
    assert "rapidocr" not in sys.modules
    assert not sys.modules.get("openvino_telemetry")


# --- From pictures to pages


def saved(image: Image.Image, path: Path, **how: Any) -> Path:
    image.save(path, **how)
    return path


def read_page(path: Path, number: int = 1, languages: Sequence[str] = ()) -> Page:
    with open_pictures(path) as pictures:
        page = Reader(languages).page(pictures, number)
    check_promises(page)
    return page


def check_promises(page: Page) -> None:
    assert clean(page.text) == page.text
    end = 0
    for box in page.boxes:
        assert end <= box.start < box.end <= len(page.text)
        assert 0 <= box.x0 <= box.x1 <= 1
        assert 0 <= box.y0 <= box.y1 <= 1
        assert 0 <= box.confidence <= 1
        assert page.text[box.start : box.end].strip()
        end = box.end


def test_a_picture_becomes_a_page_with_text_and_boxes(tmp_path: Path) -> None:
    page = read_page(saved(image_of([SENTENCE]), tmp_path / "a.png", dpi=(200, 200)))
    assert page.text == SENTENCE
    assert page.reading is Reading.OCR
    assert page.confidence > 0.95
    assert page.gap == ""
    assert page.width == pytest.approx(WIDTH * 0.36, abs=1)
    assert page.height == pytest.approx(HEIGHT * 0.36, abs=1)
    assert [page.text[box.start : box.end] for box in page.boxes] == SENTENCE.split()
    assert page.boxes[0].x0 == pytest.approx(90 / WIDTH, abs=0.01)


def test_a_photograph_is_read_like_a_scan(tmp_path: Path) -> None:
    assert read_page(saved(image_of([SENTENCE]), tmp_path / "a.jpg", quality=85)).text == SENTENCE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [1, 3])
def test_every_kind_of_pixel_is_drawn(tmp_path: Path, mode: str, size: int) -> None:
    image = image_of([SENTENCE]).resize((WIDTH * size, HEIGHT * size))
    wide = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
        if mode == "I;16"
        else image.convert(mode)
    )
    with open_pictures(saved(wide, tmp_path / "a.tiff")) as pictures:
        drawn = pictures.draw(0, width=WIDTH)
    assert drawn.size == (WIDTH, HEIGHT)
    difference = np.asarray(drawn.convert("L")).astype(int) - np.asarray(image_of([SENTENCE]).convert("L"))
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_boxes_of_a_page_on_its_side_are_where_the_words_are_in_the_file(tmp_path: Path, turns: int) -> None:
    picture = turned(picture_of([SENTENCE, "Another line of words stands here."]), -turns)
    page = read_page(saved(Image.fromarray(picture), tmp_path / "turned.png"))
    assert page.text.replace("\n\n", "\n") == f"{SENTENCE}\nAnother line of words stands here."
    height, width = picture.shape[:2]
    for box in page.boxes:
        ink = picture[round(box.y0 * height) : round(box.y1 * height), round(box.x0 * width) : round(box.x1 * width)]
        assert ink.min() < 64
    first = page.boxes[0]
    side = max((first.x1 - first.x0) * width, (first.y1 - first.y0) * height)
    assert side == pytest.approx(font().getlength("The"), abs=25)


def test_a_blank_page_is_blank(tmp_path: Path) -> None:
    page = read_page(saved(image_of([]), tmp_path / "blank.png"))
    assert (page.reading, page.text, page.gap) == (Reading.BLANK, "", "")


def test_dust_on_a_blank_page_is_not_text(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).normal(240, 6, (HEIGHT, WIDTH))
    noise[400:403, 300:303] = 30
    noise[:, :12] = 0  # the scanner's edge
    page = read_page(saved(Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)), tmp_path / "dust.png"))
    assert page.reading is Reading.BLANK


def test_a_photograph_without_words_is_unread_and_not_blank(tmp_path: Path) -> None:
    across = np.linspace(0, 255, WIDTH, dtype=np.uint8)
    page = read_page(saved(Image.fromarray(np.tile(across, (HEIGHT, 1))), tmp_path / "photo.png"))
    assert page.reading is Reading.UNREAD
    assert page.gap == "Nothing on this page could be recognised as text."


@pytest.mark.usefixtures("without_tesseract")
@pytest.mark.parametrize("words", [RUSSIAN, GREEK])
def test_a_script_that_no_engine_knows_is_unread(tmp_path: Path, words: str) -> None:
    page = read_page(saved(image_of([words] * 3, letters=foreign_font()), tmp_path / "foreign.png"))
    assert (page.reading, page.text, page.boxes) == (Reading.UNREAD, "", ())
    assert "could not be recognised" in page.gap or "cannot be recognised" in page.gap


@pytest.mark.parametrize(("words", "language"), [(RUSSIAN, "rus"), (GREEK, "ell")])
def test_tesseract_reads_the_scripts_that_it_has(tmp_path: Path, words: str, language: str) -> None:
    if language not in tesseract.installed():
        pytest.skip(f"Tesseract's language {language} is not installed")
    page = read_page(saved(image_of([words] * 4, letters=foreign_font()), tmp_path / "foreign.png"))
    assert page.reading is Reading.OCR
    assert page.text.split()[:3] == words.split()[:3]


def word(text: str, x: float, y: float, *, confidence: float = 0.99, height: float = 20) -> Word:
    return Word(text, x, y, x + 12 * len(text), y + height, confidence)


def line(text: str, x: float, y: float, *, confidence: float = 0.99) -> Line:
    words = []
    for piece in text.split(" "):
        words.append(word(piece, x, y, confidence=confidence))
        x += 12 * (len(piece) + 1)
    return Line(tuple(words))


def page_of(*lines: Line, unread: int = 0) -> Page:
    picture = np.full((1000, 1000, 3), 255, np.uint8)
    page = make_page(1, Found(0, list(lines), unread), picture, width=500, height=500)
    check_promises(page)
    return page


@pytest.mark.parametrize("figure", ["97%", "%", "12.5", "$40", "4.250,00", "€"])
def test_a_figure_that_was_read_badly_is_not_repeated(figure: str) -> None:
    page = page_of(
        Line(
            (
                word("Saturation", 10, 10),
                word(figure, 140, 10, confidence=0.6),
                word("today", 152 + 12 * len(figure), 10),
            )
        )
    )
    assert page.text == f"Saturation {ILLEGIBLE} today"
    assert page.gap == "1 figure could not be read for certain."
    assert [page.text[box.start : box.end] for box in page.boxes] == ["Saturation", ILLEGIBLE, "today"]
    assert page.boxes[1].confidence == 0.6
    assert page.reading is Reading.OCR


def test_one_doubtful_sign_makes_a_figure_doubtful() -> None:
    figure = replace(word("$1.250.00", 140, 10, confidence=0.96), least=0.7)
    assert page_of(Line((word("Pay", 90, 10), figure))).text == f"Pay {ILLEGIBLE}"
    assert page_of(Line((word("Pay", 90, 10), replace(figure, text="tomorrow")))).text == "Pay tomorrow"


def test_signs_that_are_no_figure_are_not_repeated_however_sure() -> None:
    assert page_of(Line((word("Saturation", 10, 10), word("%%", 140, 10)))).text == f"Saturation {ILLEGIBLE}"


def test_figures_read_well_and_words_read_badly_stay() -> None:
    page = page_of(Line((word("97%", 10, 10), word("perhaps", 60, 10, confidence=0.6))))
    assert (page.text, page.gap) == ("97% perhaps", "")


def test_lines_that_were_not_read_are_counted() -> None:
    page = page_of(line("Some words", 10, 10), line("More words", 10, 40), unread=2)
    assert page.gap == "2 lines could not be read for certain."
    assert page_of(line("Some words", 10, 10), unread=3).reading is Reading.UNREAD


def test_a_mark_without_its_letter_moves_no_place() -> None:
    page = page_of(Line((word("中", 10, 10), replace(word("\u0301文", 30, 10), glued=True))))
    assert page.text == "中文"


# --- Reading order


def texts(lines: Sequence[Line]) -> list[str]:
    return [" | ".join(" ".join(word.text for word in cell.words) for cell in row.cells) for row in in_order(lines)]


def test_columns_are_read_one_after_the_other() -> None:
    left = [line(f"left column line number {n}", 0, 100 + 30 * n) for n in range(5)]
    right = [line(f"right column line number {n}", 500, 101 + 30 * n) for n in range(5)]
    title = line("A title that stands across both of the columns on this page", 60, 20)
    foot = line("and a sentence below the columns that goes over the whole width", 20, 400)
    found = texts([foot, *right, title, *left])
    assert found[0].startswith("A title")
    assert found[1:11] == [f"{side} column line number {n}" for side in ("left", "right") for n in range(5)]
    assert found[11].startswith("and a sentence")


def test_the_cells_of_a_table_are_read_row_by_row() -> None:
    cells = [
        line(text, 300 * column, 40 * row) for row in range(4) for column, text in enumerate(("Name", "12 mg", "ok"))
    ]
    assert texts(cells[::-1]) == ["Name | 12 mg | ok"] * 4


def test_a_gap_begins_a_new_block() -> None:
    rows = in_order([line("one", 0, 0), line("two", 0, 30), line("three", 0, 60), line("four", 0, 140)])
    assert [row.new_block for row in rows] == [True, False, False, True]


# --- Languages


@pytest.mark.parametrize(
    ("script", "asked", "installed", "expected"),
    [
        ("Cyrillic", (), {"eng", "rus", "ukr"}, ("rus", "ukr", "eng")),
        ("Cyrillic", ("uk",), {"eng", "rus", "ukr"}, ("ukr", "eng")),
        ("Greek", ("de",), {"eng", "deu", "ell"}, ("ell", "eng")),
        ("Greek", (), {"eng"}, ()),
        ("Latin", (), {"eng"}, ("eng",)),
        ("Latin", ("vi",), {"eng", "vie"}, ("vie", "eng")),
        ("", ("ka",), {"eng", "kat"}, ("kat", "eng")),
        ("Arabic", (), set(), ()),
    ],
)
def test_the_languages_of_a_script_are_those_installed(
    script: str, asked: tuple[str, ...], installed: set[str], expected: tuple[str, ...]
) -> None:
    assert languages_for(script, asked, installed) == expected


# --- In the sandbox


def recognise(sandbox: Sandbox, path: Path, numbers: Sequence[int], **more: Any) -> list[Page]:
    pages: list[Page] = []
    sandbox.recognise(path, name=path.name, numbers=numbers, seconds=100, memory=MEMORY, on_page=pages.append, **more)
    return pages


def test_the_pages_asked_for_come_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    path = make_pdf(
        tmp_path / "three.pdf", [["First page of three."], ["Second page of three."], ["Third page of three."]]
    )
    pages = recognise(sandbox, path, [1, 3])
    assert [(page.number, page.text) for page in pages] == [(1, "First page of three."), (3, "Third page of three.")]
    assert {page.reading for page in pages} == {Reading.OCR}
    assert [(page.width, page.height) for page in pages] == [(595, 842)] * 2


def test_a_page_that_is_not_there_is_unread_and_the_others_are_read(sandbox: Sandbox, tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "one.pdf", [["The only page that there is."]])
    missing, there = recognise(sandbox, path, [7, 1])
    assert (missing.number, missing.reading, missing.gap) == (7, Reading.UNREAD, "This page does not exist.")
    assert there.text == "The only page that there is."


def test_a_protected_pdf_is_read_with_its_password(sandbox: Sandbox, tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "locked.pdf", [["Words behind a lock."]], password="open sesame")
    with pytest.raises(Protected):
        recognise(sandbox, path, [1])
    (page,) = recognise(sandbox, path, [1], password="open sesame")
    assert page.text == "Words behind a lock."


def test_every_page_of_a_tiff_is_read(sandbox: Sandbox, tmp_path: Path) -> None:
    frames = [image_of([f"Sheet number {number} of the scan"]).convert("1") for number in (1, 2, 3)]
    path = saved(frames[0], tmp_path / "scan.tiff", save_all=True, append_images=frames[1:], compression="group4")
    parsed = sandbox.parse(path, name=path.name, seconds=30, memory=MEMORY)
    assert [(page.number, page.reading) for page in parsed.pages] == [(n, Reading.UNREAD) for n in (1, 2, 3)]
    pages = recognise(sandbox, path, [1, 2, 3])
    assert [page.text for page in pages] == [f"Sheet number {number} of the scan" for number in (1, 2, 3)]


def test_a_photograph_taken_sideways_is_drawn_and_read_upright(sandbox: Sandbox, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    exif[0x0132] = "2026:03:15 10:30:00"
    lying = image_of([SENTENCE]).rotate(90, expand=True)
    path = saved(lying, tmp_path / "photo.jpg", exif=exif, quality=90)
    parsed = sandbox.parse(path, name=path.name, seconds=30, memory=MEMORY)
    assert (parsed.pages[0].width, parsed.pages[0].height) == (WIDTH, HEIGHT)
    assert parsed.properties == {"created": "2026-03-15 10:30:00"}
    assert recognise(sandbox, path, [1])[0].text == SENTENCE


def test_a_page_whose_engine_dies_is_unread_and_the_others_go_on(sandbox: Sandbox, tmp_path: Path) -> None:
    import os
    import signal

    path = make_pdf(tmp_path / "three.pdf", [[f"Page number {number} of three."] for number in (1, 2, 3)])
    pages: list[Page] = []
    killed: list[int] = []

    def keep(page: Page) -> None:
        pages.append(page)
        if page.number == 1:
            assert sandbox._process is not None
            server = sandbox._process.pid
            killed.extend(int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    sandbox.recognise(path, name="three.pdf", numbers=[1, 2, 3], seconds=100, memory=MEMORY, on_page=keep)
    assert len(killed) == 1
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.reading for page in pages] == [Reading.OCR, Reading.UNREAD, Reading.OCR]
    assert "was stopped" in pages[1].gap


def test_whoever_wants_no_more_pages_ends_it(sandbox: Sandbox, tmp_path: Path) -> None:
    class Cancelled(Permanent):
        pass

    def cancel(page: Page) -> None:
        raise Cancelled("Somebody pressed Cancel.")

    path = make_pdf(tmp_path / "two.pdf", [["First page."], ["Second page."]])
    with pytest.raises(Cancelled):
        sandbox.recognise(path, name="two.pdf", numbers=[1, 2], seconds=100, memory=MEMORY, on_page=cancel)


def test_files_that_are_no_pictures_have_their_sentence(sandbox: Sandbox, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(saved(image_of([SENTENCE]), tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(Permanent, match="damaged"):
        sandbox.parse(cut, name="cut.png", seconds=30, memory=MEMORY)
    assert recognise(sandbox, cut, [1])[0].gap == "This picture is damaged and cannot be read."
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(Permanent):
        sandbox.parse(drawing, name="drawing.svg", seconds=30, memory=MEMORY)
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(Permanent):
        recognise(sandbox, tmp_path / "words.txt", [1])


def test_a_picture_too_large_to_decode_is_refused_before(sandbox: Sandbox) -> None:
    bomb = HOSTILE / "bombs" / "image_40000x40000.png"
    if not bomb.is_file():
        pytest.skip(f"the hostile files are not beside the checkout ({HOSTILE})")
    with pytest.raises(Permanent, match="megapixels"):
        sandbox.parse(bomb, name="bomb.png", seconds=30, memory=MEMORY)


def test_the_viewer_can_draw_images(sandbox: Sandbox, tmp_path: Path) -> None:
    from io import BytesIO

    path = saved(image_of([SENTENCE]).convert("RGBA"), tmp_path / "clear.png")
    drawn = Image.open(BytesIO(sandbox.render_page(path, page_index=0, width_px=620, seconds=30, memory=MEMORY)))
    assert drawn.size == (620, 400)
    with pytest.raises(Permanent, match="does not exist"):
        sandbox.render_page(path, page_index=1, width_px=620, seconds=30, memory=MEMORY)


def test_the_engines_are_reported(sandbox: Sandbox) -> None:
    report = sandbox.engines_report()
    assert report["rapidocr"]
    assert ("eng" in report["languages"].split()) == ("eng" in tesseract.installed())


@needs_files
@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("docling__ocr_test.pdf", "Docling bundles PDF document conversion to JSON and Markdown"),
        ("docling__ocr_test_rotated_90.pdf", "Docling bundles PDF document conversion to JSON and Markdown"),
        ("docling__ocr_test_rotated_180.pdf", "Docling bundles PDF document conversion to JSON and Markdown"),
        ("docling__sample_with_rotation_mismatch.pdf", "THE SLEREXE COMPANY LIMITED"),
        ("tika__testPDF_JBIG2.pdf", "This is a sample file to test images compressed"),
        ("markitdown__MEDRPT-2024-PAT-3847_medical_report_scan.pdf", "Oxygen Saturation | 97% | 95-100% | NORMAL"),
    ],
)
def test_scans_hold_the_text_that_they_show(sandbox: Sandbox, file: str, sentence: str) -> None:
    (page,) = recognise(sandbox, FILES / "scanned" / file, [1])
    check_promises(page)
    assert sentence in " ".join(page.text.split())
