"""What is in force: searches rest on it, answers say when they do not, and names that look like versions are offered."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, User
from rag.access import scope_for_all
from rag.domain.errors import Permanent
from rag.domain.types import Source
from rag.models import Answer, AnswerSource, Collection, Conversation, Document
from rag.services import answer_view, gathering, indexing, library, retrieve, validity
from rag.services.validity import Suggestion
from tests.access.test_isolation import stored
from tests.flows.test_one_question import answered as asked_and_answered

SignIn = Callable[[User | None], Client]
QUESTION = "How soon are antibiotics given in sepsis?"
OLD = "Antibiotics are given within three hours in sepsis."
NEW = "Antibiotics are given within one hour in sepsis."


def found(user: User, question: str = QUESTION) -> list[Source]:
    return retrieve.search(question, scope_for_all(user)).sources


def titles(user: User, question: str = QUESTION) -> list[str]:
    return [source.title for source in found(user, question)]


def change(actor: User, document: Document, **changes: object) -> bool:
    """The document's standing with some of it changed."""
    document.refresh_from_db()
    now = {name: getattr(document, name) for name in ("owner", "valid_from", "review_by", "superseded_by")}
    return validity.change(actor, document, **(now | changes))


@pytest.fixture
def pair(policies: Collection) -> tuple[Document, Document]:
    """The old and the new guideline."""
    return stored(policies, "Sepsis_v3_FINAL.md", OLD), stored(policies, "Sepsis 2026.md", NEW)


# --- Searching


@pytest.mark.django_db
def test_a_superseded_document_is_left_out_while_another_answers(alice: User, pair: tuple[Document, Document]) -> None:
    old, new = pair
    assert sorted(titles(alice)) == sorted([old.title, new.title])
    change(alice, old, superseded_by=new)
    assert titles(alice) == [new.title]


@pytest.mark.django_db
def test_a_document_counts_from_its_first_day_and_its_forerunner_until_then(
    alice: User, pair: tuple[Document, Document]
) -> None:
    old, new = pair
    today = timezone.localdate()
    change(alice, new, valid_from=today + timedelta(days=2))
    change(alice, old, superseded_by=new)
    assert titles(alice) == [old.title]
    with time_machine.travel(timezone.now() + timedelta(days=3)):
        assert titles(alice) == [new.title]


@pytest.mark.django_db
def test_where_nothing_else_answers_the_old_words_are_found(alice: User, policies: Collection) -> None:
    old = stored(policies, "fees old.md", "The fee for a copy of the records is nine euros.")
    new = stored(policies, "fees.md", "The garden is open in summer.")
    change(alice, old, superseded_by=new)
    assert old.title in titles(alice, "What is the fee for a copy of the records?")


@pytest.mark.django_db
def test_a_crowd_of_superseded_documents_does_not_hide_the_one_in_force(alice: User, policies: Collection) -> None:
    new = stored(policies, "new.md", NEW + " This holds for adults in all wards of the hospital, by day and by night.")
    for number in range(120):
        old = stored(policies, f"old{number}.md", OLD)
        Document.objects.filter(pk=old.pk).update(superseded_by=new)
    assert titles(alice) == [new.title]


@pytest.mark.django_db
def test_a_deleted_successor_gives_the_place_back(alice: User, pair: tuple[Document, Document]) -> None:
    old, new = pair
    change(alice, old, superseded_by=new)
    library.delete_document(alice, new)
    assert titles(alice) == [old.title]
    old.refresh_from_db()
    assert validity.standings([old])[old.pk].in_force


# --- Standing


@pytest.mark.django_db
def test_the_last_of_a_line_of_successors_is_named(alice: User, policies: Collection) -> None:
    first, second, third = (stored(policies, f"{n}.md", f"Words {n}.") for n in range(3))
    change(alice, first, superseded_by=second)
    change(alice, second, superseded_by=third)
    first.refresh_from_db()
    successor = validity.standings([first])[first.pk].successor
    assert successor == third
    tags = validity.tags(validity.standings([first])[first.pk])
    assert [(tag.text, tag.url) for tag in tags] == [
        (f"superseded by “{third.title}”", reverse("document", args=[third.pk]))
    ]


@pytest.mark.django_db
def test_two_documents_cannot_replace_each_other(
    alice: User, charlie: User, pair: tuple[Document, Document], secrets: Collection
) -> None:
    old, new = pair
    change(alice, old, superseded_by=new)
    with pytest.raises(Permanent, match="replace each other"):
        change(alice, new, superseded_by=Document.objects.get(pk=old.pk))
    with pytest.raises(Permanent, match="replace each other"):
        validity.accept(alice, newer=Document.objects.get(pk=old.pk), older=new)
    with pytest.raises(Permanent, match="same collection"):
        change(alice, new, superseded_by=stored(secrets, "x.md", "Words."))


@pytest.mark.django_db
def test_reviews_that_were_due_are_listed_until_they_are_done(alice: User, policies: Collection) -> None:
    today = timezone.localdate()
    late, later, soon, done = (stored(policies, f"{n}.md", f"Words {n}.") for n in range(4))
    change(alice, late, review_by=today)
    change(alice, later, review_by=today - timedelta(days=30))
    change(alice, soon, review_by=today + timedelta(days=1))
    change(alice, done, review_by=today, superseded_by=soon)
    assert list(validity.due(policies)) == [later, late]
    assert validity.upkeep(policies)["due"] == 2
    late.refresh_from_db()
    assert [tag.text.partition(" ")[0] for tag in validity.tags(validity.standings([late])[late.pk])] == ["review"]
    change(alice, late, review_by=None)
    assert list(validity.due(policies)) == [later]


@pytest.mark.django_db
def test_a_change_is_audited_once_and_only_what_changed(alice: User, pair: tuple[Document, Document]) -> None:
    old, new = pair
    assert change(alice, old, superseded_by=new, valid_from=date(2020, 1, 1))
    assert not change(alice, old)
    events = list(AuditEvent.objects.filter(action="document.validity_changed"))
    assert [event.facts for event in events] == [{"superseded_by_id": str(new.pk), "valid_from": "2020-01-01"}]


# --- Answers


def answered(user: User, collection: Collection) -> Answer:
    """An answer that quotes each of its sources whole."""
    thread = Conversation.objects.create(owner=user, title="Sepsis")
    thread.collections.add(collection)
    answer = Answer.objects.create(conversation=thread, question=QUESTION, state="finished")
    sources = found(user)
    AnswerSource.objects.bulk_create(gathering.pinned(answer, source) for source in sources)
    answer.quotes = [{"number": source.number, "start": 0, "end": len(source.text)} for source in sources]
    answer.conflicts = [[1, 2]] if len(sources) > 1 else []
    answer.save()
    return answer


@pytest.mark.django_db
def test_an_answer_of_then_says_today_that_a_newer_document_exists(
    alice: User, bob: User, policies: Collection, as_user: SignIn
) -> None:
    old = stored(policies, "Sepsis_v3_FINAL.md", OLD)
    answer = answered(bob, policies)
    assert answer_view.view_of(answer, bob).warnings == []
    new = stored(policies, "Sepsis 2026.md", NEW)
    change(alice, old, superseded_by=new)
    view = answer_view.view_of(Answer.objects.get(), bob)
    assert [warning.text for warning in view.warnings] == [
        f"This rests on “{old.title}”, which was superseded by “{new.title}”."
    ]
    assert [tag.text for tag in view.sources[0].tags] == [f"superseded by “{new.title}”"]
    page = as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    assert page.count(reverse("document", args=[new.pk])) >= 2
    library.delete_document(alice, new)
    assert answer_view.view_of(Answer.objects.get(), bob).warnings == []


@pytest.mark.django_db
def test_sources_that_disagree_show_their_days(
    alice: User, bob: User, policies: Collection, pair: tuple[Document, Document]
) -> None:
    old, _new = pair
    change(alice, old, valid_from=date(2020, 3, 1))
    answer = answered(bob, policies)
    view = answer_view.view_of(answer, bob)
    number = next(source.number for source in view.sources if source.title == old.title)
    tag = view.sources[number - 1].tags[-1].text
    assert tag == f"of March 1, 2020; source {3 - number} says otherwise"
    assert "say different things" in view.warnings[0].text
    assert "March 1, 2020" in view.warnings[0].text
    library.delete_document(alice, old)
    assert answer_view.view_of(Answer.objects.get(), bob).warnings == [], "nothing is said of what is hidden"


@pytest.mark.django_db(transaction=True)
def test_a_question_finds_out_that_its_sources_disagree(
    alice: User, policies: Collection, pair: tuple[Document, Document]
) -> None:
    indexing.sync(policies.pk)
    answer = asked_and_answered(alice, policies, QUESTION)
    assert [sorted(each) for each in answer.conflicts] == [[1, 2]]


# --- Names that look like versions


def said(pairs: list[Suggestion]) -> list[tuple[str, str]]:
    return [(pair.newer.title, pair.older.title) for pair in pairs]


@pytest.mark.django_db
def test_a_name_that_looks_like_a_version_is_offered_until_somebody_decides(
    alice: User, bob: User, policies: Collection, pair: tuple[Document, Document], as_user: SignIn
) -> None:
    old, new = pair
    other = stored(policies, "Stroke 2026.md", "Other words.")
    assert said(validity.suggestions(policies)) == [(new.title, old.title)]
    assert said(validity.suggestions_for(old)) == said(validity.suggestions_for(new))
    assert validity.suggestions_for(other) == []
    address = reverse("document_replaces", args=[new.pk, old.pk])
    assert as_user(bob).post(address, {"verdict": "yes"}).status_code == 404
    as_user(alice).post(address, {"verdict": "no"})
    assert validity.suggestions(policies) == []
    assert titles(alice) != [new.title]


@pytest.mark.django_db
def test_yes_makes_answers_rest_on_the_newer_one(
    alice: User, policies: Collection, pair: tuple[Document, Document], as_user: SignIn
) -> None:
    old, new = pair
    reviews = reverse("reviews", args=[policies.pk])
    browser = as_user(alice)
    assert "Does" in browser.get(reviews).content.decode()
    address = reverse("document_replaces", args=[new.pk, old.pk])
    assert browser.post(address, {"verdict": "yes", "next": reviews})["Location"] == reviews
    assert browser.post(address, {"verdict": "yes", "next": "https://elsewhere.test/"})["Location"].startswith("/doc")
    assert titles(alice) == [new.title]
    assert validity.suggestions(policies) == []


@pytest.mark.django_db
def test_documents_of_other_collections_are_never_offered(
    policies: Collection, secrets: Collection, pair: tuple[Document, Document]
) -> None:
    stored(secrets, "Sepsis v4.md", "Words.")
    assert len(validity.suggestions(policies)) == 1
    assert validity.suggestions(secrets) == []


# --- The form


@pytest.mark.django_db
def test_the_form_takes_a_path_or_a_title_and_says_what_is_wrong(
    alice: User, bob: User, pair: tuple[Document, Document], as_user: SignIn
) -> None:
    old, new = pair
    browser, address = as_user(alice), reverse("document_validity", args=[old.pk])
    given = {"owner": alice.pk, "valid_from": "2020-01-01", "review_by": "2030-01-01", "superseded_by": new.path}
    assert browser.post(address, given).status_code == 302
    old.refresh_from_db()
    assert (old.owner, old.valid_from, old.superseded_by) == (alice, date(2020, 1, 1), new)
    assert new.path in browser.get(address).content.decode()
    for wrong in (
        {"superseded_by": "nowhere.md"},
        {"superseded_by": old.path},
        {"review_by": "soon"},
        {"review_by": "2019-01-01"},
        {"owner": bob.pk},
    ):
        assert browser.post(address, given | wrong).status_code == 422, wrong
    assert browser.post(address, given | {"superseded_by": ""}).status_code == 302
    old.refresh_from_db()
    assert old.superseded_by is None
