"""What web pages, XML, JSON, notebooks and plain text need of their parsers."""

import json
import random
from pathlib import Path

import pytest

from rag.backends.parsers.html import HIDDEN
from rag.backends.parsers.json_text import JsonParser, NotebookParser
from rag.backends.parsers.xml_text import XmlParser
from rag.domain.errors import Permanent
from tests.contracts.test_parsers import (
    FILES,
    HOSTILE,
    ParserContract,
    check_promises,
    needs_files,
    needs_hostile,
    parse,
    text_of,
)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


class TestXml(ParserContract):
    parser, suffix = XmlParser, ".xml"

    def make(self, path: Path) -> Path:
        body = f"<sec><title>Clauses</title><p>{self.known}</p></sec>"
        front = f"<article-meta><title-group><article-title>{self.named_heading}</article-title></title-group></article-meta>"
        return written(path, f"<?xml version='1.0'?><article><front>{front}</front><body>{body}</body></article>")


class TestJson(ParserContract):
    parser, suffix, has_headings = JsonParser, ".json", False

    def make(self, path: Path) -> Path:
        return written(path, json.dumps([{"title": self.named_heading, "text": self.known}]))


class TestNotebook(ParserContract):
    parser, suffix = NotebookParser, ".ipynb"

    def make(self, path: Path) -> Path:
        cell = {"cell_type": "markdown", "source": [f"# {self.named_heading}\n", f"\n{self.known}"]}
        return written(path, json.dumps({"cells": [cell], "nbformat": 4}))


# --- What a page shows


@pytest.mark.parametrize(
    ("markup", "seen"),
    [
        ("<p style='font-size:0'>X</p>", False),
        ("<p style='font-size:0.9em'>X</p>", True),
        ("<p style='font-size: 1px'>X</p>", False),
        ("<td style='font-size:0'><span style='font-size:13px'>X</span></td>", True),
        ("<p style='color:#fefefe'>X</p>", False),
        ("<p style='color:#fff;background:#003366'>X</p>", True),
        ("<div style='background-color:navy'><p style='color:white'>X</p></div>", True),
        ("<table bgcolor='#003366'><tr><td><font color='#ffffff'>X</font></td></tr></table>", True),
        ("<div style='background:#222'><p style='color:#222222'>X</p></div>", False),
        ("<div style='background:#000'>X</div>", False),
        ("<div style='color:white'><p style='color:rgb(0, 0, 0)'>X</p></div>", True),
        ("<p style='visibility:hidden'>X</p>", False),
        ("<p style='position:absolute;left:-9999px'>X</p>", False),
        ("<p style='opacity:0'>X</p>", False),
        ("<p style='opacity:0.5'>X</p>", True),
    ],
)
def test_text_is_kept_when_a_reader_can_see_it(tmp_path: Path, markup: str, seen: bool) -> None:
    document = parse(written(tmp_path / "a.html", f"<html><body><p>before</p>{markup}<p>after</p></body></html>"))
    assert ("X" in text_of(document)) == seen
    assert document.warnings == (() if seen else (HIDDEN,))
    assert text_of(document).startswith("before")
    assert text_of(document).endswith("after")


def test_a_pages_properties_are_its_own(tmp_path: Path) -> None:
    head = "<title>Leave</title><meta name=author content='Ada Byron'><meta property='article:published_time' content='2024-05-04'>"
    document = parse(written(tmp_path / "a.html", f"<html><head>{head}</head><body><p>words</p></body></html>"))
    assert document.properties == {"author": "Ada Byron", "created": "2024-05-04"}


@needs_files
def test_real_pages_are_read_without_their_menus() -> None:
    text = text_of(parse(FILES / "html/docling__wiki_duck.html"))
    assert "Duck" in text[:200]
    for menu in ("Jump to content", "Create account", "Privacy policy", "Toggle the table of contents"):
        assert menu not in text
    scripts = text_of(parse(FILES / "html/unstructured__example-with-scripts.html"))
    assert "function(" not in scripts


# --- XML


def test_data_is_read_as_records(tmp_path: Path) -> None:
    source = '<shop><item id="5"><name>Desk</name><price currency="EUR">40</price></item><item><name>Lamp</name></item></shop>'
    assert (
        text_of(parse(written(tmp_path / "a.xml", source)))
        == "id: 5\nname: Desk\nprice: 40 (currency: EUR)\n\nname: Lamp"
    )


def test_an_article_is_read_with_its_sections(tmp_path: Path) -> None:
    meta = "<title-group><article-title>On leases</article-title></title-group><abstract><p>Short.</p></abstract>"
    body = (
        "<sec><title>Terms</title><p>One <italic>two</italic>.</p><sec><title>Notice</title><p>Three.</p></sec></sec>"
    )
    name = "<name><surname>Niu</surname><given-names>M</given-names></name>"
    refs = f"<ref-list><title>References</title><ref><label>1</label>{name}</ref></ref-list>"
    document = "<!DOCTYPE article PUBLIC '-//NLM//DTD JATS//EN' 'http://127.0.0.1:9/jats.dtd'>"
    document += (
        f"<article><front><article-meta>{meta}</article-meta></front><body>{body}</body><back>{refs}</back></article>"
    )
    parsed = parse(written(tmp_path / "a.nxml", document))
    check_promises(parsed)
    assert parsed.title == "On leases"
    assert text_of(parsed) == "On leases\n\nShort.\n\nTerms\n\nOne two.\n\nNotice\n\nThree.\n\nReferences\n\n1 Niu M"
    assert [(heading.text, heading.level) for heading in parsed.pages[0].headings] == [
        ("On leases", 1),
        ("Terms", 2),
        ("Notice", 3),
        ("References", 2),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "<rss><channel><title>News</title><item><title>Rents</title><pubDate>4 May</pubDate>"
        "<description>&lt;p&gt;They &lt;b&gt;rise&lt;/b&gt;.&lt;/p&gt;</description></item></channel></rss>",
        "<feed xmlns='http://www.w3.org/2005/Atom'><title>News</title><entry><title>Rents</title>"
        "<updated>4 May</updated><content type='html'>&lt;p&gt;They rise.&lt;/p&gt;</content></entry></feed>",
    ],
)
def test_a_feed_is_read_entry_by_entry(tmp_path: Path, source: str) -> None:
    assert text_of(parse(written(tmp_path / "a.xml", source))) == "News\n\nRents\n\n4 May\n\nThey rise."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1251"])
def test_xml_is_read_in_its_encoding_even_if_it_names_another(tmp_path: Path, encoding: str) -> None:
    declared = "cp1251" if encoding == "cp1251" else "UTF-8"
    source = f'<?xml version="1.0" encoding="{declared}"?><r><city>Москва и область</city></r>'
    assert text_of(parse(written(tmp_path / "a.xml", source.encode(encoding)))) == "city: Москва и область"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><r>&x;</r>", "declares entities"),
        ("<!DOCTYPE r [<!ENTITY % p SYSTEM 'http://127.0.0.1:9/x'> %p;]><r>x</r>", "declares entities"),
        ("<r>" + "<a>" * 100_000 + "x" + "</a>" * 100_000 + "</r>", "nested too deep"),
        ("<r><a></r>", "damaged"),
        ("<svg xmlns='http://www.w3.org/2000/svg'><text>x</text></svg>", "a drawing"),
        ("<r/>", "holds no text"),
    ],
)
def test_xml_that_is_no_document_is_refused_with_its_reason(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(Permanent, match=sentence):
        parse(written(tmp_path / "a.xml", source))


# --- JSON


def test_json_is_read_as_records(tmp_path: Path) -> None:
    value = {
        "site": "Leeds",
        "rooms": [{"no": 1, "tags": ["a", "b"], "open": True}, {"no": 2, "by": {"name": "Ada"}}],
        "x": None,
    }
    assert text_of(parse(written(tmp_path / "a.json", json.dumps(value)))) == (
        "site: Leeds\nrooms:\n  no: 1\n  tags: a, b\n  open: true\n\n  no: 2\n  by:\n    name: Ada\n\nx:"
    )


def test_json_lines_are_records(tmp_path: Path) -> None:
    assert text_of(parse(written(tmp_path / "a.jsonl", '{"a": 1}\n{"a": 2}\nnot json\n'))) == "a: 1\n\na: 2\n\nnot json"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [("[" * 100_000 + "]" * 100_000, "nested too deep"), ('{"a": ', "damaged"), ("{}", "holds no text")],
)
def test_json_that_cannot_be_read_is_refused(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(Permanent, match=sentence):
        parse(written(tmp_path / "a.json", source))


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    document = parse(written(tmp_path / "a.json", '{"title": "\\ud800 lone"}'))
    check_promises(document)
    assert text_of(document) == "title: \ufffd lone"


def test_a_notebook_shows_its_text_code_and_results(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": "# Rents\n\nSee *below*."},
        {"cell_type": "code", "source": ["print(\n", "  1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {"cell_type": "code", "source": "df", "outputs": [{"data": {"text/plain": "a  b", "text/html": "<b>a</b>"}}]},
    ]
    document = parse(written(tmp_path / "a.ipynb", json.dumps({"cells": cells})))
    assert document.title == "Rents"
    assert text_of(document) == "Rents\n\nSee below.\n\nprint(\n  1)\n\n1\n\ndf\n\na  b"


# --- Plain text


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("shift_jis", "契約の期間は三か月です。解約は書面で通知してください。"),
        ("euc-jp", "契約の期間は三か月です。解約は書面で通知してください。"),
        ("iso-2022-jp", "契約の期間は三か月です。解約は書面で通知してください。"),
        ("gb18030", "房屋租赁合同的期限为三个月，解除合同应当以书面形式通知对方。"),
        ("big5", "房屋租賃契約的期限為三個月，解除契約應以書面通知對方。"),
        ("euc-kr", "계약 기간은 삼 개월입니다. 해지는 서면으로 통지하여야 합니다."),
        ("koi8-r", "Срок действия договора составляет три месяца со дня подписания сторонами."),
        ("cp1251", "Срок действия договора составляет три месяца со дня подписания сторонами."),
        ("cp1253", "Η διάρκεια της σύμβασης είναι τρεις μήνες από την υπογραφή της."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy, smlouva se uzavírá na tři měsíce."),
        ("cp1250", "Źródło prawa pracy: umowa może zostać rozwiązana z zachowaniem trzymiesięcznego okresu."),
        ("cp1252", "L'été était très chaud. El niño comió ñoquis, ¡qué rico! Kvinnan åt köttbullar."),
        ("utf-16-be", "Die Frist beträgt drei Monate für jede Wohnung."),
        ("utf-32", "Die Frist beträgt drei Monate für jede Wohnung."),
    ],
)
def test_text_is_read_in_the_encodings_of_the_world(tmp_path: Path, encoding: str, words: str) -> None:
    assert text_of(parse(written(tmp_path / "a.txt", words.encode(encoding)))) == words


def test_long_lines_of_calendars_are_joined(tmp_path: Path) -> None:
    source = "BEGIN:VEVENT\r\nSUMMARY:A very lo\r\n ng day\r\nEND:VEVENT\r\n"
    assert text_of(parse(written(tmp_path / "a.ics", source))) == "BEGIN:VEVENT\nSUMMARY:A very long day\nEND:VEVENT"


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json", ".xml", ".html", ".md", ".eml", ".ics"])
def test_random_bytes_are_refused_under_any_name_of_text(tmp_path: Path, suffix: str) -> None:
    for seed in range(20):
        with pytest.raises(Permanent):
            parse(written(tmp_path / f"a{suffix}", random.Random(seed).randbytes(100 + 500 * seed)))


@needs_hostile
def test_hostile_texts_give_text_or_a_sentence_and_nothing_of_this_machine() -> None:
    host = Path("/etc/hostname").read_text().strip()
    for folder in ("xml", "type", "bombs", "active", "injection"):
        for path in sorted((HOSTILE / folder).glob("*.*")):
            if path.suffix not in (".xml", ".json", ".html", ".txt", ".csv", ".md"):
                continue
            try:
                document = parse(path)
            except Permanent as error:
                assert error.message.endswith(".")
            else:
                check_promises(document)
                assert host not in text_of(document)
                assert "CANARY-HIDDEN" not in text_of(document)
