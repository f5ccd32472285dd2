"""The sample collection: what stands in the documents, what may be asked of them, and that they can be built again."""

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pypdfium2
import pytest
from docx import Document
from docx.table import Table
from lxml import html

from rag.samples import SUGGESTED, Question, documents, questions, says, spaced
from rag.samples.build import build

ANSWERABLE = [question for question in questions() if question.answerable]
UNANSWERABLE = [question for question in questions() if not question.answerable]


def by_id(question: Question) -> str:
    return question.id


@cache
def text_of(path: Path) -> str:
    """The words of a document, read without the product's own parsers."""
    match path.suffix:
        case ".pdf":
            with pypdfium2.PdfDocument(path) as pdf:
                return spaced(" ".join(page.get_textpage().get_text_range() for page in pdf))
        case ".docx":
            parts = []
            for block in Document(str(path)).iter_inner_content():
                cells = [cell.text for row in block.rows for cell in row.cells] if isinstance(block, Table) else []
                parts += cells or [getattr(block, "text", "")]
            return spaced(" ".join(parts))
        case ".html":
            mains = html.document_fromstring(path.read_bytes()).iter("main")
            return spaced(" ".join(str(part) for main in mains for part in main.itertext()))
        case _:
            return spaced(path.read_text(encoding="utf-8"))


def test_a_fact_is_told_from_a_longer_one() -> None:
    assert says("It costs  €35.", "€35")
    assert says("in the AMENDMENT of\n30 September 2027", "30 september 2027")
    assert not says("It costs €350.", "€35")
    assert not says("It costs €35.50.", "€35")
    assert not says("In 86 per cent of cases", "6 per cent")
    assert not says("within 1,850 days", "850 days")


def test_thirty_questions_of_which_eight_have_no_answer() -> None:
    assert (len(questions()), len(ANSWERABLE), len(UNANSWERABLE)) == (30, 22, 8)
    assert len({question.id for question in questions()}) == 30
    assert len({question.question for question in questions()}) == 30


def test_every_format_is_there_often_enough() -> None:
    formats = Counter(path.suffix for path in documents())
    least = {".pdf": 4, ".docx": 3, ".md": 3, ".html": 2, ".txt": 2}
    assert set(formats) == set(least)
    assert all(formats[suffix] >= count for suffix, count in least.items()), formats


def test_every_format_is_asked_about() -> None:
    assert {Path(question.document).suffix for question in ANSWERABLE} == {path.suffix for path in documents()}


def test_the_collection_is_the_size_of_a_binder() -> None:
    assert 14_000 <= sum(len(text_of(path).split()) for path in documents()) <= 25_000


@pytest.mark.parametrize("question", ANSWERABLE, ids=by_id)
def test_the_expected_passage_stands_in_its_document_alone(question: Question) -> None:
    assert [path.name for path in documents() if question.found_in(text_of(path))] == [question.document]


@pytest.mark.parametrize("question", ANSWERABLE, ids=by_id)
def test_the_passage_is_short_and_carries_the_fact(question: Question) -> None:
    assert 40 <= len(question.passage) <= 200
    assert question.answered_by(question.passage)


@pytest.mark.parametrize("question", ANSWERABLE, ids=by_id)
def test_a_fact_that_stands_in_a_second_document_is_noted(question: Question) -> None:
    elsewhere = {
        path.name
        for path in documents()
        if path.name != question.document and any(says(text_of(path), fact) for fact in question.fact)
    }
    assert {name for name in elsewhere if name not in question.note} == set()


@pytest.mark.parametrize("question", UNANSWERABLE, ids=by_id)
def test_no_document_answers_an_unanswerable_question(question: Question) -> None:
    assert question.fact
    assert (question.document, question.passage) == ("", "")
    assert [path.name for path in documents() if any(says(text_of(path), fact) for fact in question.fact)] == []


def test_no_question_repeats_its_passage() -> None:
    for question in ANSWERABLE:
        asked = re.findall(r"\w+", question.question.casefold())
        there = " ".join(re.findall(r"\w+", question.passage.casefold()))
        assert not any(" ".join(asked[i : i + 5]) in there for i in range(len(asked) - 4)), question.id


def test_the_later_document_decides_where_two_differ() -> None:
    superseded = {q.id: q.document for q in ANSWERABLE if q.note.startswith("Superseded")}
    assert superseded == {
        "carry-over": "minutes-2025-06-practice-meeting.md",
        "saturday": "minutes-2025-06-practice-meeting.md",
        "monthly-charge": "services-agreement-amendment-1.pdf",
        "agreement-ends": "services-agreement-amendment-1.pdf",
    }


def test_the_suggested_questions_have_answers() -> None:
    assert len(SUGGESTED) == 3
    assert set(SUGGESTED) <= {question.question for question in ANSWERABLE}


def test_building_again_gives_the_committed_words_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = build(tmp_path / "first"), build(tmp_path / "second")
    assert [path.name for path in first] == [path.name for path in documents()]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    for path, committed in zip(first, documents(), strict=True):
        assert text_of(path) == text_of(committed), path.name


def test_pdf_pages_say_which_page_of_how_many_they_are_and_have_bookmarks() -> None:
    for path in documents():
        if path.suffix != ".pdf":
            continue
        with pypdfium2.PdfDocument(path) as pdf:
            assert len(pdf) >= 2
            assert len(list(pdf.get_toc())) >= 4
            for number, page in enumerate(pdf, start=1):
                assert f"Page {number} of {len(pdf)}" in page.get_textpage().get_text_range()


def test_importing_the_samples_brings_neither_django_nor_reportlab() -> None:
    code = "import rag.samples, sys; rag.samples.questions(); print({'django', 'reportlab'} & sys.modules.keys())"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "set()"
