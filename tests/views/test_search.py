"""The search page and its JSON: the same passages as answers get, and nothing that one may not read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from core.models import Role, Team, User
from rag.access import scope_for_all
from rag.models import Collection, Document, Grant
from rag.models.library import FieldKind
from rag.services import fields, library, retrieve, search_view

AddText = Callable[..., Document]
AsUser = Callable[[User], Client]


@pytest.fixture
def shelf(alice: User, policies: Collection, add_text: AddText) -> list[Document]:
    texts = {
        "leave.txt": "Parents may take ten weeks of leave.\n\nThe leave begins with the birth.",
        "travel.txt": "Trains are booked in second class. Travel is paid within two weeks.",
        "many.txt": "\n\n".join(
            f"Leave rule {n}: " + f"the {n}th team applies for leave in its own way. " * 30 for n in range(8)
        ),
    }
    return [add_text(alice, policies, path, text) for path, text in texts.items()]


def ask(client: Client, **body: Any) -> Any:
    return client.post(reverse("search_json"), json.dumps(body), content_type="application/json")


@pytest.mark.django_db
def test_passages_are_grouped_by_their_documents_best_first(bob: User, as_user: AsUser, shelf: list[Document]) -> None:
    found = search_view.results("weeks of leave", scope_for_all(bob))
    assert found.documents[0].title == "leave"
    assert len({document.id for document in found.documents}) == len(found.documents) == 3
    many = next(document for document in found.documents if document.title == "many")
    assert len(many.passages) == search_view.AT_ONCE
    assert many.more
    page = as_user(bob).post(reverse("search"), {"question": "weeks of leave"}).content.decode()
    assert "<mark>weeks</mark>" in page
    assert f"{len(many.more)} more passages" in page


@pytest.mark.django_db
def test_a_passage_opens_in_the_viewer_at_its_words(bob: User, as_user: AsUser, shelf: list[Document]) -> None:
    client = as_user(bob)
    best = ask(client, question="second class trains").json()["passages"][0]
    opened = client.get(best["url"]).content.decode()
    assert "Trains are booked in second class" in opened
    assert "<mark" in opened


@pytest.mark.django_db
def test_the_page_and_the_json_give_what_retrieval_gives(bob: User, as_user: AsUser, shelf: list[Document]) -> None:
    sources = retrieve.search("who pays for travel", scope_for_all(bob), limit=5).sources
    answered = ask(as_user(bob), question="who pays for travel", limit=5).json()
    assert [passage["text"] for passage in answered["passages"]] == [source.text for source in sources]
    assert answered["enough"] in (True, False)


@pytest.mark.django_db
def test_a_stranger_finds_nothing_whatever_is_asked_for(
    charlie: User, as_user: AsUser, policies: Collection, shelf: list[Document]
) -> None:
    client = as_user(charlie)
    assert ask(client, question="leave", collections=[str(policies.pk)]).json()["passages"] == []
    page = client.post(reverse("search"), {"question": "leave", "collections": [str(policies.pk)]}).content.decode()
    assert "ten weeks" not in page
    assert "Policies" not in page


@pytest.mark.django_db
def test_filters_narrow_a_search(
    alice: User, bob: User, as_user: AsUser, policies: Collection, shelf: list[Document]
) -> None:
    client_field = fields.add_field(alice, policies, label="Client", kind=FieldKind.TEXT, source="")
    fields.set_values(alice, [shelf[1]], {client_field: "Meyer"})
    client = as_user(bob)
    titles = {
        each["title"] for each in ask(client, question="leave", filters={"f.client": ["Meyer"]}).json()["passages"]
    }
    assert titles == {"travel"}
    page = client.post(reverse("search"), {"question": "leave", "f.client": "Meyer"}).content.decode()
    assert "Trains" in page
    assert "ten weeks" not in page


@pytest.mark.django_db
def test_a_deleted_document_is_found_no_more(alice: User, bob: User, as_user: AsUser, shelf: list[Document]) -> None:
    library.delete_document(alice, shelf[0])
    assert "ten weeks" not in as_user(bob).post(reverse("search"), {"question": "weeks of leave"}).content.decode()


@pytest.mark.django_db
def test_words_of_documents_are_shown_as_words(
    alice: User, bob: User, as_user: AsUser, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "bad.txt", "<script>alert(1)</script> leave {{ settings.SECRET_KEY }}")
    page = as_user(bob).post(reverse("search"), {"question": "leave"}).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "{{ settings.SECRET_KEY }}" in page


@pytest.mark.django_db
def test_htmx_gets_the_passages_alone(bob: User, as_user: AsUser, shelf: list[Document]) -> None:
    answer = as_user(bob).post(reverse("search"), {"question": "leave"}, headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert page.lstrip().startswith('<div class="found" id="found">')
    assert "<html" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[]", "question"),
        ("nonsense", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ('{"question": " "}', "question"),
        ('{"question": "a", "limit": 0}', "limit"),
        ('{"question": "a", "limit": true}', "limit"),
        ('{"question": "a", "collections": "all"}', "collections"),
        ('{"question": "a", "filters": {"f.a": "b"}}', "filters"),
        (json.dumps({"question": "a" * 1001}), "1001 characters"),
    ],
)
def test_what_cannot_be_understood_is_said_in_one_sentence(
    bob: User, as_user: AsUser, body: str | bytes, said: str
) -> None:
    answer = as_user(bob).post(reverse("search_json"), body, content_type="application/json")
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.django_db
def test_a_search_that_is_too_long_is_refused_on_the_page(bob: User, as_user: AsUser, policies: Collection) -> None:
    answer = as_user(bob).post(reverse("search"), {"question": "a" * 1001})
    assert answer.status_code == 422
    assert "1001 characters" in answer.content.decode()


@pytest.mark.django_db
def test_a_search_asks_the_database_as_often_however_much_there_is_to_search(
    alice: User,
    bob: User,
    clinic: Team,
    as_user: AsUser,
    shelf: list[Document],
    add_text: AddText,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    client = as_user(bob)

    def asked(most: int) -> int:
        ask(client, question="weeks of leave")  # what came since is taken in once
        with django_assert_max_num_queries(most) as queries:
            assert ask(client, question="weeks of leave").json()["passages"]
        return len(queries)

    few = asked(11)
    for number in range(4):
        collection = Collection.objects.create(name=f"Shelf {number}")
        Grant.objects.create(collection=collection, team=clinic, role=Role.READER)
        for name in range(3):
            text = (
                f"Leave of team {number}-{name}: "
                + f"the team {number} {name} takes its leave in weeks of its own. " * 40
            )
            add_text(alice, collection, f"{name}.txt", text)
    assert asked(few) == few
