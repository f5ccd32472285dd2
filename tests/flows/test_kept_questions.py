"""Kept questions: how they come from a file, what they mean after a document changed, and how they go."""

from collections.abc import Callable

import pytest

from core.models import AuditEvent, User
from rag.access import scope_for
from rag.domain.errors import Permanent
from rag.models import Chunk, Collection, Document, JudgedPlace, KeptQuestion
from rag.services import kept_questions, library
from rag.services.kept_questions import Judged, Taken

AddText = Callable[..., Document]
pytestmark = pytest.mark.django_db

HOURS = "The desk is open from eight to five.\n\nOn Fridays the desk closes at noon."
LEAVE = "Everybody has thirty days of leave a year."


@pytest.fixture
def documents(alice: User, policies: Collection, add_text: AddText) -> tuple[Document, Document]:
    return add_text(alice, policies, "hours.txt", HOURS), add_text(alice, policies, "hr/leave.txt", LEAVE)


def uploaded(actor: User, collection: Collection, text: str) -> Taken:
    return kept_questions.upload(actor, collection, text.encode())


def judged(actor: User, collection: Collection) -> list[Judged]:
    return kept_questions.judged(collection.pk, scope_for(actor, asked=[collection.pk]))


@pytest.mark.usefixtures("documents")
def test_a_csv_file_brings_questions_with_their_places(alice: User, policies: Collection) -> None:
    taken = uploaded(
        alice,
        policies,
        "question;document;quote\nWhen is it open?;hours.txt;open from eight to five\nHow long is leave?;hr/leave.txt;\n",
    )
    assert (taken.questions, taken.places, taken.same, taken.wrong) == (2, 2, 0, [])
    first, second = judged(alice, policies)
    assert [first.text, second.text] == ["When is it open?", "How long is leave?"]
    assert "open from eight to five" in Chunk.objects.get(pk=min(first.places[0])).text
    assert AuditEvent.objects.filter(action="questions.uploaded").count() == 1


@pytest.mark.usefixtures("documents")
def test_json_lines_bring_them_too(alice: User, policies: Collection) -> None:
    lines = [
        '{"_id": "1", "text": "When is it open?", "relevant": ["hr/leave.txt", {"document": "hours.txt", "quote": "at noon"}]}',
        '{"question": "How long is leave?", "path": "hr/leave.txt", "quote": "thirty days"}',
    ]
    taken = uploaded(alice, policies, "\n".join(lines))
    assert (taken.questions, taken.places, taken.wrong) == (2, 3, [])


@pytest.mark.usefixtures("documents")
def test_each_wrong_line_has_a_sentence_and_the_others_are_kept(alice: User, policies: Collection) -> None:
    lines = [
        "question,document,quote",
        "When is it open?,hours.txt,open from eight to nine",
        ",hours.txt,open",
        "How long is leave?,leave.pdf,",
        "How long is leave?,,",
        "How long is leave?,hr/leave.txt,thirty days,more",
        "How long is leave?,hr/leave.txt,Thirty  days",
        f"{'x' * 2001},hours.txt,",
    ]
    taken = uploaded(alice, policies, "\n".join(lines))
    assert dict(taken.wrong) == {
        2: "The quoted words are not in “hours”.",
        3: "There is no question in this line.",
        4: "No document here has the path or title “leave.pdf”.",
        5: "This line does not say which document answers the question.",
        6: "This line has 4 cells, the first line 3.",
        8: "This question has 2001 characters; 2000 is the most.",
    }
    assert list(KeptQuestion.objects.values_list("text", flat=True)) == ["How long is leave?"]


@pytest.mark.usefixtures("documents")
def test_wrong_json_lines_have_sentences_too(alice: User, policies: Collection) -> None:
    lines = ['{"text": "A?"', "[]", '{"text": 5, "document": "hours.txt"}', '{"text": "A?", "relevant": "hours.txt"}']
    lines += ['{"text": "A?", "relevant": []}']
    taken = uploaded(alice, policies, "\n".join(lines))
    assert [line for line, _sentence in taken.wrong] == [1, 2, 3, 4, 5]
    assert KeptQuestion.objects.count() == 0


@pytest.mark.usefixtures("documents")
def test_the_same_file_again_changes_nothing(alice: User, policies: Collection) -> None:
    text = (
        "question,document,quote\nWhen is it open?,hours.txt,eight to five\nwhen is it open?,hours.txt,closes at noon\n"
    )
    first, again = uploaded(alice, policies, text), uploaded(alice, policies, text)
    assert (first.questions, first.places, first.same) == (1, 2, 0)
    assert (again.questions, again.places, again.same) == (0, 0, 2)
    assert JudgedPlace.objects.count() == 2


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "question\nWhen?\n"])
def test_a_file_of_another_kind_is_refused_as_a_whole(alice: User, policies: Collection, text: str) -> None:
    with pytest.raises(Permanent):
        uploaded(alice, policies, text)


@pytest.mark.usefixtures("documents")
def test_no_collection_keeps_more_questions_than_it_may(
    alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_questions, "KEPT_MOST", 1)
    taken = uploaded(alice, policies, "question,document\nOne?,hours.txt\nTwo?,hours.txt\nOne?,hr/leave.txt\n")
    assert (taken.questions, taken.places) == (1, 2)
    assert taken.wrong == [(3, "A collection keeps at most 1 questions.")]


def test_a_file_cannot_name_documents_of_other_collections(
    alice: User, charlie: User, policies: Collection, secrets: Collection, add_text: AddText
) -> None:
    add_text(charlie, secrets, "plan.txt", "The plan is secret.")
    taken = uploaded(alice, policies, "question,document,quote\nWhat is the plan?,plan.txt,secret\n")
    assert taken.wrong == [(2, "No document here has the path or title “plan.txt”.")]


def test_quoted_words_are_found_again_in_a_newer_revision(
    alice: User, policies: Collection, add_text: AddText, documents: tuple[Document, Document]
) -> None:
    uploaded(alice, policies, "question,document,quote\nWhen on Fridays?,hours.txt,closes at noon\n")
    before = judged(alice, policies)[0].places
    add_text(alice, policies, "hours.txt", "A new first page.\n\n" * 40 + HOURS)
    after = judged(alice, policies)[0].places
    assert after != before
    assert all("closes at noon" in Chunk.objects.get(pk=chunk).text for chunk in after[0])
    add_text(alice, policies, "hours.txt", "It never closes.")
    assert judged(alice, policies) == []
    assert KeptQuestion.objects.count() == 1  # the words may come back


def test_a_document_that_is_named_as_a_whole_counts_with_every_passage(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    document = add_text(alice, policies, "long.txt", "One sentence of the text. " * 400)
    uploaded(alice, policies, "question,document\nWhat is it?,long.txt\n")
    (place,) = judged(alice, policies)[0].places
    assert place == frozenset(Chunk.objects.filter(document=document).values_list("pk", flat=True))
    assert len(place) > 1


def test_a_deleted_document_takes_its_places_along(
    alice: User, policies: Collection, documents: tuple[Document, Document]
) -> None:
    uploaded(alice, policies, "question,document\nOne?,hours.txt\nOne?,hr/leave.txt\nTwo?,hours.txt\n")
    library.delete_document(alice, documents[0])
    assert list(KeptQuestion.objects.values_list("text", flat=True)) == ["One?"]
    assert set(JudgedPlace.objects.values_list("document_id", flat=True)) == {documents[1].pk}


@pytest.mark.usefixtures("documents")
def test_whoever_lost_the_collection_is_shown_no_passage_of_it(alice: User, policies: Collection) -> None:
    uploaded(alice, policies, "question,document\nOne?,hours.txt\n")
    before = scope_for(alice, asked=[policies.pk])
    policies.grants.all().delete()
    assert kept_questions.judged(policies.pk, before) == []


@pytest.mark.usefixtures("documents")
def test_only_the_collections_own_questions_are_deleted(
    alice: User, charlie: User, policies: Collection, secrets: Collection
) -> None:
    uploaded(alice, policies, "question,document\nOne?,hours.txt\n")
    found = KeptQuestion.objects.get()
    assert kept_questions.delete(charlie, secrets, [found.pk]) == 0
    assert kept_questions.delete(alice, policies, [found.pk]) == 1
    assert AuditEvent.objects.filter(action="questions.deleted").count() == 1


@pytest.mark.usefixtures("documents")
def test_a_question_may_say_that_nothing_answers_it(alice: User, policies: Collection) -> None:
    lines = [
        "question,document,quote,answerable",
        "When is it open?,hours.txt,,yes",
        "Who was the first director?,,,no",
        "May I bring a horse?,hours.txt,,no",
        "When is it open?,,,no",
        "who was the FIRST director?,,,nein",
        "Who was the first director?,hours.txt,,",
    ]
    taken = uploaded(alice, policies, "\n".join(lines))
    assert (taken.questions, taken.places, taken.same) == (2, 1, 1)
    assert dict(taken.wrong) == {
        4: "This line names a document, and says that nothing answers the question.",
        5: "This question is kept with a place that answers it.",
        7: "This question is kept as one that nothing answers.",
    }
    assert kept_questions.unanswered(policies.pk) == ["Who was the first director?"]
    assert [one.text for one in judged(alice, policies)] == ["When is it open?"]


@pytest.mark.usefixtures("documents")
def test_a_line_of_json_may_say_so_too(alice: User, policies: Collection) -> None:
    lines = ['{"text": "Who was the first director?", "answerable": false}', '{"text": "When?", "answerable": "no"}']
    taken = uploaded(alice, policies, "\n".join(lines))
    assert taken.questions == 1
    assert taken.wrong == [(2, "“answerable” has to be true or false.")]
