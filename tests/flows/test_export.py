"""Answers as files: what is in them, what is not, what programs read, and that nothing in them is more than text."""

import io
import zipfile
from collections.abc import Callable

import pypdfium2
import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from docx import Document as read_word
from hypothesis import given as hypothesis_given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies
from lxml import etree, html
from markdown_it import MarkdownIt
from pypdf import PdfReader

from core.models import AuditEvent, Membership, User
from rag.domain.text import one_line
from rag.models import Answer, Collection, Document
from rag.services import library
from rag.services.export import markdown, pdf, word
from rag.services.export.pages import EXTRACTS, MADE_BY_MODEL, Note, Pages, Said, Turn
from tests.flows.test_one_question import LEAVE, answered, use
from tests.scripted_ollama import ScriptedOllama

AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
QUESTION = "How many days of paid leave do full-time staff have?"
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


@pytest.fixture
def leave(alice: User, policies: Collection, add_text: AddText) -> Document:
    return add_text(alice, policies, "leave.md", LEAVE)


def exported(browser: Client, answer: Answer, form: str) -> bytes:
    response = browser.get(reverse("answer_export", args=[answer.pk, form]))
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("attachment; filename=")
    return response.content


def text_of(element: etree._Element) -> str:
    return "".join(str(piece) for piece in element.itertext())


def words_of(form: str, data: bytes) -> str:
    """All that a reader sees in the file, notes included."""
    if form == "markdown":
        return data.decode()
    if form == "word":
        seen = "\n".join(paragraph.text for paragraph in read_word(io.BytesIO(data)).paragraphs)
        notes = etree.fromstring(zipfile.ZipFile(io.BytesIO(data)).read("word/footnotes.xml"))
        return seen + text_of(notes)
    read = pypdfium2.PdfDocument(data)
    return " ".join("".join(page.get_textpage().get_text_range() for page in read).split())


def mark_of(form: str, data: bytes) -> str:
    """What the file says to programs of how its text was made."""
    if form == "markdown":
        return data.decode().partition('digital_source_type: "')[2].partition('"')[0]
    if form == "word":
        custom = etree.fromstring(zipfile.ZipFile(io.BytesIO(data)).read("docProps/custom.xml"))
        return next(text_of(entry) for entry in custom if entry.get("name") == "DigitalSourceType")
    packet: bytes = PdfReader(io.BytesIO(data)).trailer["/Root"]["/Metadata"].get_data()
    return packet.decode().partition("DigitalSourceType>")[2].partition("<")[0]


def made(*turns: Turn, title: str = "Leave", source_type: str = MADE_BY_MODEL) -> Pages:
    return Pages(title, timezone.now(), turns, source_type)


def turn(question: str = "Q?", *said: Said) -> Turn:
    return Turn(question, [], [list(said)], [], "Check the sources.", [("Model", "m:1")])


# --- What is in it


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["markdown", "word", "pdf"])
def test_an_answer_as_a_file_has_its_words_its_notes_their_versions_the_model_and_a_mark(
    form: str, alice: User, policies: Collection, leave: Document, settings: LazySettings, as_user: SignIn
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        answer = answered(alice, policies, QUESTION)
    data = exported(as_user(alice), answer, form)
    seen = words_of(form, data)
    for word_ in (
        "27 days",
        "revision 1 of",
        "Leave policy",
        "Written by a machine",
        server.digest[:20],
        "How many days",
    ):
        assert word_ in seen, word_
    assert mark_of(form, data) == MADE_BY_MODEL
    event = AuditEvent.objects.get(action="answer.exported")
    assert (event.actor_name, event.facts["format"], event.subject_id) == ("alice", form, str(answer.pk))


@pytest.mark.django_db(transaction=True)
def test_quotes_alone_are_marked_as_verbatim_extracts(
    alice: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    answer = answered(alice, policies, QUESTION)
    for form in ("markdown", "word", "pdf"):
        data = exported(as_user(alice), answer, form)
        assert mark_of(form, data) == EXTRACTS
        assert "27 days" in words_of(form, data)
        assert "unchanged" in words_of(form, data)


@pytest.mark.django_db(transaction=True)
def test_what_its_reader_may_no_longer_see_is_not_in_the_file(
    alice: User, bob: User, policies: Collection, leave: Document, settings: LazySettings, as_user: SignIn
) -> None:
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        mine, bobs = answered(alice, policies, QUESTION), answered(bob, policies, QUESTION)
    Membership.objects.filter(user=bob).delete()
    library.delete_document(alice, leave)
    for user, answer in ((alice, mine), (bob, bobs)):
        for form in ("markdown", "word", "pdf"):
            seen = words_of(form, exported(as_user(user), answer, form))
            assert "27 days" not in seen
            assert "Leave policy" not in seen
            assert "How many days" in seen


@pytest.mark.django_db(transaction=True)
def test_a_conversation_is_exported_as_the_branch_that_is_shown(
    alice: User, policies: Collection, leave: Document, as_user: SignIn
) -> None:
    first = answered(alice, policies, QUESTION)
    second = answered(alice, policies, "How many may be carried over?", after=first)
    browser = as_user(alice)
    address = reverse("conversation_export", args=[first.conversation_id, "markdown"])
    whole = browser.get(address).content.decode()
    assert whole.index(QUESTION) < whole.index("carried over?")
    numbers = [line.split("]")[0] for line in whole.splitlines() if line.startswith("[^")]
    assert numbers == [f"[^{number}" for number in range(1, len(numbers) + 1)]
    assert browser.get(address, {"at": str(second.pk)}).status_code == 200
    assert browser.get(reverse("answer_export", args=[first.pk, "exe"])).status_code == 404


# --- What is no more than text

HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(1)) ![i](http://evil.example/p.png) `code` **bold** | a | b "
    "http://evil.example www.evil.example me@evil.example [^1]: gone &lt;b&gt; $x$ # no # ~~s~~ \\ end"
)


def rendered(text: str) -> html.HtmlElement:
    """The Markdown as a page, by a renderer that lets HTML, links, tables and bare addresses through."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return html.fromstring(f"<div>{parser.render(text)}</div>")


def test_hostile_words_are_text_in_markdown() -> None:
    note = Note(1, HOSTILE, HOSTILE, "revision 1", "page 1")
    data = markdown.write(made(turn(HOSTILE, Said(HOSTILE, [note], HOSTILE)), title=HOSTILE)).decode()
    body = data.split("\n---\n", 1)[1]
    page = rendered(body)
    assert {element.tag for element in page.iter()} <= {"div", "h1", "h2", "p", "blockquote", "ul", "li", "em"}
    assert page.text_content().count("<script>alert(1)</script>") == 6
    assert body.count("\n[^1]:") == 1
    front = data.split("\n---\n", 1)[0].splitlines()
    assert len(front) == 6
    assert "http://evil" not in body
    assert "www.evil" not in body


@hypothesis_settings(max_examples=80, deadline=None)
@hypothesis_given(strategies.text(max_size=60))
def test_no_text_becomes_anything_else_in_markdown(text: str) -> None:
    line = one_line(text)
    page = rendered(f"{markdown.escaped(line)}\n")
    assert {element.tag for element in page.iter()} <= {"div", "p"}
    assert page.text_content().strip("\n") == line.strip()


def test_hostile_words_are_text_in_word_and_pdf() -> None:
    bad = one_line("</w:t><w:br/> <para> <b>no</b> <a href='http://evil'>x</a> \u202eesrever\u202c \x00\x08 &amp; ]]>")
    assert "\u202e" not in bad
    page = made(turn(bad, Said(bad, [Note(1, bad, bad, "", "")], bad)), title=bad)
    document = word.write(page)
    assert words_of("word", document).count("<a href='http://evil'>") == 6
    assert [part for part in zipfile.ZipFile(io.BytesIO(document)).namelist() if "evil" in part] == []
    portable = pdf.write(page)
    assert words_of("pdf", portable).count("<b>no</b>") == 6
    links = [link for sheet in PdfReader(io.BytesIO(portable)).pages for link in sheet.get("/Annots", [])]
    assert not [link for link in links if "/URI" in str(link.get_object())]


@hypothesis_settings(max_examples=20, deadline=None)
@hypothesis_given(strategies.text(max_size=80))
def test_any_text_can_be_set_and_written(text: str) -> None:
    line = one_line(text)
    page = made(turn(line, Said(line, [Note(1, line, line, line, line)], line)), title=line)
    assert line in words_of("word", word.write(page))
    assert pdf.write(page).startswith(b"%PDF-")


@pytest.mark.parametrize("words", ["Grüße, Fußnote, 5 €, naïve façade", "Привет, мир", "Καλημέρα κόσμε"])
def test_letters_of_other_scripts_stand_in_the_pdf_as_they_are(words: str) -> None:
    assert words in words_of("pdf", pdf.write(made(turn("Q?", Said(words, [])))))


def test_word_s_footnotes_are_footnotes() -> None:
    notes = [Note(number, f"words {number}", "Leave policy", "revision 1", "page 2") for number in (1, 2)]
    data = word.write(made(turn("Q?", Said("One.", notes[:1]), Said("Two.", notes[1:]))))
    archive = zipfile.ZipFile(io.BytesIO(data))
    body = etree.fromstring(archive.read("word/document.xml"))
    footnotes = etree.fromstring(archive.read("word/footnotes.xml"))
    asked = [each.get(f"{W}id") for each in body.iter(f"{W}footnoteReference")]
    there = {each.get(f"{W}id"): text_of(each) for each in footnotes.iter(f"{W}footnote")}
    assert asked == ["1", "2"]
    assert "Leave policy, revision 1, page 2: “words 2”" in there["2"]
