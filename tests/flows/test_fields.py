"""Own fields: filled from folders, properties, forms and CSV files; asked by, exactly and never beyond what one may read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse

from core.models import AuditEvent, Role, Team, User
from rag.access import scope_for, scope_for_all
from rag.domain.conditions import Condition, from_form, from_json, to_json
from rag.domain.errors import Permanent
from rag.models import Answer, Collection, CollectionField, Conversation, Document, Extraction, FieldValue, Grant
from rag.models.library import FieldKind
from rag.services import answer_view, field_csv, fields, indexing, library, retrieve
from tests.access.test_isolation import stored

AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
LEAVE = "# Leave\n\nFull-time staff have 27 days of leave a year.\n"
TEXT, DATE = FieldKind.TEXT, FieldKind.DATE


def field(actor: User, collection: Collection, label: str, source: str = "", kind: FieldKind = TEXT) -> CollectionField:
    return fields.add_field(actor, collection, label=label, kind=kind, source=source)


def value(document: Document, label: str) -> str:
    """What the document has in the field."""
    return {each.field.label: each.text for each in fields.of_document(document)}[label]


# --- Filling


@pytest.mark.django_db
def test_folders_fill_a_field_for_what_is_there_and_what_comes(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    before = add_text(alice, policies, "Meyer/2024/a.md", LEAVE)
    field(alice, policies, "Client", "folder:1")
    after = add_text(alice, policies, "Huber/b.md", LEAVE)
    top = add_text(alice, policies, "c.md", LEAVE)
    assert [value(each, "Client") for each in (before, after, top)] == ["Meyer", "Huber", ""]


@pytest.mark.django_db
def test_properties_fill_a_field_and_dates_are_read_out_of_them(alice: User, policies: Collection) -> None:
    document = stored(policies, "a.md", "Some words.")
    Extraction.objects.update(properties={"author": "A. Huber", "created": "2024-05-31T10:00:00Z"})
    field(alice, policies, "Author", "property:author")
    field(alice, policies, "Written", "property:created", DATE)
    assert (value(document, "Author"), value(document, "Written")) == ("A. Huber", "2024-05-31")


@pytest.mark.django_db
def test_what_a_person_wrote_stays_when_the_document_is_read_again(
    alice: User, policies: Collection, add_text: AddText
) -> None:
    client = field(alice, policies, "Client", "folder:1")
    document = add_text(alice, policies, "Meyer/a.md", LEAVE)
    assert fields.set_values(alice, [document], {client: "Meyer & Sons"}) == 1
    add_text(alice, policies, "Meyer/a.md", LEAVE + "More.")
    assert value(document, "Client") == "Meyer & Sons"
    fields.set_values(alice, [document], {client: ""})
    fields.refill(client)
    assert value(document, "Client") == "", "an emptied field is not filled again"


@pytest.mark.django_db
def test_what_is_inside_a_file_has_what_the_file_has(alice: User, policies: Collection, tmp_path: Path) -> None:
    client = field(alice, policies, "Client", "folder:1")
    mail = library.add_document(alice, policies, ContentFile(b"A mail."), path="Meyer/mail.md").document
    inner = tmp_path / "inner"
    inner.write_bytes(b"An attachment.")
    mail.refresh_from_db()
    assert mail.latest is not None
    child = library.add_child(mail.latest, "2024/a.md", inner).document
    fields.refill(client)
    assert value(child, "Client") == "Meyer"
    fields.set_values(alice, [mail], {client: "Huber"})
    matter = field(alice, policies, "Matter", "folder:2")
    assert value(child, "Matter") == "2024", "the mail itself is no folder"
    fields.set_values(alice, [mail], {matter: "Estate"})
    assert (value(mail, "Matter"), value(child, "Matter")) == ("Estate", "2024")


@pytest.mark.django_db
def test_a_date_is_a_date_or_is_refused(alice: User, policies: Collection) -> None:
    signed = field(alice, policies, "Signed", kind=DATE)
    document = stored(policies, "a.md", "Some words.")
    fields.set_values(alice, [document], {signed: "31.5.2024"})
    assert value(document, "Signed") == "2024-05-31"
    for wrong in ("May 2024", "31.02.2024", "2024"):
        with pytest.raises(Permanent, match="not a date"):
            fields.set_values(alice, [document], {signed: wrong})
    assert value(document, "Signed") == "2024-05-31"


@pytest.mark.django_db
def test_names_are_taken_once_and_keys_stay(alice: User, policies: Collection) -> None:
    client = field(alice, policies, "Client")
    with pytest.raises(Permanent, match="already"):
        field(alice, policies, " client ")
    fields.change_field(alice, client, label="Customer", source="")
    assert (client.key, field(alice, policies, "Клиент").key) == ("client", "клиент")
    assert field(alice, policies, "Client").key == "client-2"


@pytest.mark.django_db
def test_fields_change_places(alice: User, policies: Collection) -> None:
    _one, two, _three = (field(alice, policies, label) for label in ("One", "Two", "Three"))
    fields.move_field(two, earlier=True)
    assert [each.label for each in policies.fields.all()] == ["Two", "One", "Three"]
    fields.move_field(two, earlier=True)
    assert [each.label for each in policies.fields.all()] == ["Two", "One", "Three"]


@pytest.mark.django_db
def test_rows_show_four_columns_in_two_queries(
    alice: User, policies: Collection, django_assert_num_queries: Callable[..., object]
) -> None:
    made = [field(alice, policies, f"Field {number}") for number in range(6)]
    documents = [stored(policies, f"{number}.md", "Words.") for number in range(5)]
    fields.set_values(alice, documents, {made[0]: "Meyer"})
    with django_assert_num_queries(2):  # type: ignore[attr-defined]  # a context manager
        columns = fields.for_rows(policies.pk, [document.pk for document in documents])
    assert len(columns.fields) == 4
    assert [each.text for each in columns.cells[documents[0].pk]] == ["Meyer", "", "", ""]


# --- CSV


@pytest.fixture
def shelf(alice: User, policies: Collection) -> Collection:
    field(alice, policies, "Client")
    field(alice, policies, "Signed", kind=DATE)
    for path in ("a.md", "b.md", "sub/b.md"):
        stored(policies, path, "Words.")
    Document.objects.filter(path="sub/b.md").update(title="b.md")
    return policies


@pytest.mark.django_db
def test_a_csv_says_what_it_would_change_and_what_is_wrong_before_it_changes_anything(
    alice: User, shelf: Collection
) -> None:
    text = "path;Client;Signed\na.md;Meyer;31.05.2024\nnone.md;X;\nb.md;Huber;tomorrow\nb.md;Huber;\na.md;Again;\n"
    plan = field_csv.plan(shelf, text)
    assert [(change.line, change.field.label, change.after) for change in plan.changes] == [
        (2, "Client", "Meyer"),
        (2, "Signed", "2024-05-31"),
    ]
    assert [line for line, _sentence in plan.errors] == [3, 4, 5, 6]
    assert not FieldValue.objects.exists()
    assert field_csv.apply(alice, shelf, text) == (2, 4)
    assert value(Document.objects.get(path="a.md"), "Client") == "Meyer"
    again = field_csv.plan(shelf, text)
    assert (again.changes, again.same) == ([], 2)


@pytest.mark.django_db
def test_a_title_names_a_document_where_only_one_has_it(shelf: Collection) -> None:
    Document.objects.filter(path="a.md").update(title="The lease")
    plan = field_csv.plan(shelf, "title,client\nthe LEASE,Meyer\nb.md,Huber\n")
    assert [(change.title, change.after) for change in plan.changes] == [("The lease", "Meyer"), ("b.md", "Huber")]
    Document.objects.filter(path="b.md").update(path="c.md")
    assert field_csv.plan(shelf, "title,client\nb.md,Huber\n").errors[0][1].startswith("2 documents are called")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        ("path\na.md\n", "names no field"),
        ("path,Owner\na.md,X\n", "no field “Owner”"),
        ("path,Client,client\na.md,X,Y\n", "same name"),
    ],
)
def test_a_csv_that_cannot_be_understood_is_refused_as_a_whole(shelf: Collection, text: str, sentence: str) -> None:
    with pytest.raises(Permanent, match=sentence):
        field_csv.plan(shelf, text)


@pytest.mark.django_db
@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_an_exported_cell_is_no_formula_and_comes_back_as_it_was(alice: User, shelf: Collection, formula: str) -> None:
    FieldValue.objects.create(
        document=Document.objects.get(path="a.md"), field=shelf.fields.get(label="Client"), value=formula
    )
    text = field_csv.export(shelf)
    line = next(line for line in text.splitlines() if line.startswith("a.md"))
    assert line.split(",")[1].strip('"').startswith("'")
    plan = field_csv.plan(shelf, text)
    assert [change.after for change in plan.changes] == ([] if formula == formula.strip() else [formula.strip()])


# --- Asking by them


def ask(user: User, question: str, *conditions: Condition, asked: list[Collection]) -> list[str]:
    scope = scope_for(user, asked=[each.pk for each in asked], conditions=conditions)
    return [source.text for source in retrieve.search(question, scope).sources]


@pytest.mark.django_db
@pytest.mark.parametrize("tail_most", [5000, 3], ids=["tail", "generations"])
def test_a_narrow_filter_still_finds_all_there_is(
    alice: User, policies: Collection, tail_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of 300 equally good passages fulfil it, at the far end of what an index would give first."""
    monkeypatch.setattr(indexing, "TAIL_MOST", tail_most)
    client = field(alice, policies, "Client")
    documents = [stored(policies, f"{n}.md", f"The fee of the lease is {n} euros.") for n in range(300)]
    indexing.sync(policies.pk)
    chosen = documents[-8:]
    fields.set_values(alice, chosen, {client: "Meyer"})
    found = ask(alice, "What is the fee of the lease?", Condition("client", ("Meyer",)), asked=[policies])
    assert sorted(found) == sorted(f"The fee of the lease is {n} euros." for n in range(292, 300))
    assert ask(alice, "What is the fee?", Condition("client", ("Huber",)), asked=[policies]) == []


@pytest.mark.django_db
def test_dates_are_asked_for_by_a_range_with_both_ends(alice: User, policies: Collection) -> None:
    signed = field(alice, policies, "Signed", kind=DATE)
    for day in ("2024-12-31", "2025-01-01", "2025-06-30", ""):
        document = stored(policies, f"{day}.md", f"Signed {day or 'never'}: the fee of the lease.")
        fields.set_values(alice, [document], {signed: day})
    found = ask(
        alice, "fee of the lease", Condition("signed", since="2025-01-01", until="2025-06-30"), asked=[policies]
    )
    assert sorted(text[7:17] for text in found) == ["2025-01-01", "2025-06-30"]
    assert len(ask(alice, "fee of the lease", Condition("signed", until="2024-12-31"), asked=[policies])) == 1


@pytest.mark.django_db
def test_a_filter_only_ever_narrows(alice: User, charlie: User, policies: Collection, secrets: Collection) -> None:
    for owner, collection in ((alice, policies), (charlie, secrets)):
        client = field(owner, collection, "Client")
        fields.set_values(owner, [stored(collection, "a.md", "The fee of the lease is 5 euros.")], {client: "Meyer"})
    stored(policies, "b.md", "The fee of the lease is 6 euros.")
    condition = Condition("client", ("Meyer",))
    both = [policies, secrets]
    assert len(ask(alice, "fee of the lease", asked=both)) == 2
    assert ask(alice, "fee of the lease", condition, asked=both) == ["The fee of the lease is 5 euros."]
    assert ask(alice, "fee of the lease", condition, Condition("other", ("X",)), asked=both) == []
    assert ask(alice, "fee of the lease", Condition("client"), asked=both) == [], "a condition without a bound"
    assert ask(alice, "fee of the lease", condition, asked=[secrets]) == []


@pytest.mark.django_db
def test_what_is_offered_to_ask_by_says_nothing_of_what_one_may_not_read(
    alice: User, bob: User, charlie: User, policies: Collection, secrets: Collection
) -> None:
    for owner, collection, name in ((alice, policies, "Meyer"), (charlie, secrets, "Huber")):
        client = field(owner, collection, "Client")
        fields.set_values(
            owner, [stored(collection, "a.md", "Words."), stored(collection, "b.md", "W.")], {client: name}
        )
    field(charlie, secrets, "Vault")
    gone = Document.objects.get(collection=policies, path="b.md")
    library.delete_document(alice, gone)
    offered = fields.facets(scope_for_all(bob), ())
    assert [(facet.label, [(each.value, each.count) for each in facet.choices]) for facet in offered] == [
        ("Client", [("Meyer", 1)])
    ]
    asked = fields.facets(scope_for(bob, asked=[policies.pk, secrets.pk]), ())
    assert asked == offered
    Grant.objects.filter(collection=policies).delete()
    assert fields.facets(scope_for_all(bob), ()) == []


def test_conditions_are_read_from_a_form_and_kept_as_they_were() -> None:
    posted = {
        "question": ["f.client"],
        "f.client": ["Meyer", "", "Huber", "Meyer"],
        "f.signed.since": ["2025-01-01"],
        "f.signed.until": ["soon"],
        "f.": ["x"],
        "f.a'b": ["x"],
    }
    found = from_form(posted)
    assert found == (Condition("client", ("Meyer", "Huber")), Condition("signed", since="2025-01-01"))
    assert from_json(to_json(found)) == found


@pytest.fixture
def _no_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.services.answering.start", lambda answer_id: None)
    monkeypatch.setattr("rag.views.answers.start", lambda answer_id: None)


@pytest.mark.django_db
@pytest.mark.usefixtures("_no_production")
def test_a_conversation_remembers_its_filters_and_the_answer_says_them(
    alice: User, bob: User, policies: Collection, as_user: SignIn
) -> None:
    client = field(alice, policies, "Client")
    fields.set_values(
        alice, [stored(policies, "a.md", "Words."), stored(policies, "b.md", "Words.")], {client: "Meyer"}
    )
    browser = as_user(bob)
    page = browser.get(reverse("ask")).content.decode()
    assert 'name="f.client" value="Meyer"' in page
    assert "2 documents" in page
    browser.post(reverse("ask"), {"question": "What fee?", "f.client": "Meyer"})
    answer = Answer.objects.get()
    assert answer_view.view_of(answer, bob).filters == ["Client = Meyer"]
    assert "Client = Meyer" in browser.get(reverse("answer", args=[answer.pk])).content.decode()
    page = browser.get(reverse("conversation", args=[answer.conversation_id])).content.decode()
    assert 'name="f.client" value="Meyer" checked' in page
    browser.post(reverse("answer_again", args=[answer.pk]))
    assert Answer.objects.latest("created").filters == answer.filters
    browser.post(reverse("conversation", args=[answer.conversation_id]), {"question": "And now?"})
    assert Conversation.objects.get().filters == []


@pytest.mark.django_db
def test_the_composer_is_given_the_filters_of_the_ticked_collections(
    alice: User, policies: Collection, secrets: Collection, as_user: SignIn
) -> None:
    client = field(alice, policies, "Client")
    fields.set_values(alice, [stored(policies, "a.md", "Words.")], {client: "Meyer"})
    other = Collection.objects.create(name="Other")
    Grant.objects.create(collection=other, team=Team.objects.get(name="Clinic"), role=Role.READER)
    browser = as_user(alice)
    chosen = {"collections": [str(policies.pk)], "f.client": ["Meyer"]}
    assert 'value="Meyer" checked' in browser.post(reverse("filters"), chosen).content.decode()
    assert "Meyer" not in browser.post(reverse("filters"), {"collections": [str(other.pk)]}).content.decode()
    assert "Meyer" not in browser.post(reverse("filters"), {"collections": [str(secrets.pk)]}).content.decode()


# --- The pages


@pytest.mark.django_db
def test_a_manager_makes_fields_and_a_contributor_fills_them(
    alice: User, policies: Collection, as_user: SignIn
) -> None:
    document = stored(policies, "a.md", "Words.")
    browser = as_user(alice)
    page = reverse("fields", args=[policies.pk])
    browser.post(page, {"label": "Client", "kind": "text", "source": ""})
    assert browser.post(page, {"label": "client", "kind": "text", "source": ""}).status_code == 422
    own = CollectionField.objects.get()
    browser.post(reverse("document_fields", args=[document.pk]), {"v.client": "Meyer"})
    assert value(document, "Client") == "Meyer"
    browser.post(reverse("field", args=[policies.pk, own.pk]), {f"field{own.pk}-label": "Customer"})
    own.refresh_from_db()
    assert own.label == "Customer"
    assert browser.get(reverse("field_delete", args=[policies.pk, own.pk])).status_code == 200
    assert CollectionField.objects.exists()
    browser.post(reverse("field_delete", args=[policies.pk, own.pk]))
    assert not FieldValue.objects.exists()
    actions = list(
        AuditEvent.objects.filter(action__startswith="field").values_list("action", flat=True).order_by("id")
    )
    assert actions == ["field.added", "fields.written", "field.changed", "field.deleted"]


@pytest.mark.django_db
def test_several_documents_get_the_ticked_fields_alone(
    alice: User, policies: Collection, secrets: Collection, as_user: SignIn
) -> None:
    client, matter = field(alice, policies, "Client"), field(alice, policies, "Matter")
    documents = [stored(policies, f"{n}.md", "Words.") for n in range(3)]
    foreign = stored(secrets, "x.md", "Words.")
    fields.set_values(alice, documents, {matter: "Estate"})
    browser, address = as_user(alice), reverse("fields_set", args=[policies.pk])
    ids = [str(each.pk) for each in [*documents[:2], foreign]] + ["nonsense"]
    page = browser.post(address, {"document": ids})
    assert "Of 2 documents" in page.content.decode()
    browser.post(address, {"document": ids, "apply": "1", "set.v.client": "on", "v.client": "Meyer", "v.matter": ""})
    assert [value(each, "Client") for each in documents] == ["Meyer", "Meyer", ""]
    assert [value(each, "Matter") for each in documents] == ["Estate"] * 3
    assert not FieldValue.objects.filter(document=foreign).exists()
    assert client.values.count() == 2


@pytest.mark.django_db
def test_a_csv_is_shown_first_and_written_then(alice: User, shelf: Collection, as_user: SignIn) -> None:
    browser, address = as_user(alice), reverse("fields_csv", args=[shelf.pk])
    body = "path,Client\na.md,Meyer\nnone.md,X\n".encode("utf-8-sig")
    shown = browser.post(address, {"file": ContentFile(body, name="x.csv")})
    assert "1 value would change" in shown.content.decode()
    assert not FieldValue.objects.exists()
    browser.post(address, {"text": shown.context["text"], "apply": "1"})
    assert value(Document.objects.get(path="a.md"), "Client") == "Meyer"
    assert browser.post(address, {}).status_code == 422
    assert browser.post(address, {"file": ContentFile(b"PK\0\0", name="x.xlsx")}).status_code == 422
    given = browser.get(address)
    assert given["Content-Disposition"].startswith("attachment")
    assert "a.md,Meyer," in given.content.decode()
