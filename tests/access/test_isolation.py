"""A3, A5, A6, A8, P8: what a random tangle of grants lets through, what others' documents change, what administrators see."""

import os
import random
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.conf import LazySettings
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import AuditEvent, Membership, Role, Team, User
from rag.access import scope_for, scope_for_all
from rag.domain.conditions import Condition
from rag.domain.errors import Permanent
from rag.models import (
    Chunk,
    Collection,
    CollectionField,
    Conversation,
    Document,
    Extraction,
    FieldValue,
    Grant,
    IngestRun,
    Page,
    Revision,
    Vector,
)
from rag.models.index import RunState
from rag.services import fields, indexing, library, models_admin, retrieve
from rag.slots import passage_embedder
from tests.conftest import forget_everything
from tests.scripted_ollama import ScriptedOllama

AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]
WORDS = (
    "fee",
    "term",
    "notice",
    "leave",
    "dose",
    "form",
    "visit",
    "invoice",
    "key",
    "clause",
    "patient",
    "courier",
    "rent",
)
# The promise is 10,000 (SLOW_TESTS=1); each run of the suite asks a part of them, others every time.
QUERIES = 10_000 if os.environ.get("SLOW_TESTS") else 600


def stored(collection: Collection, name: str, text: str) -> Document:
    """A document as ingestion leaves it, without parsing anything."""
    with transaction.atomic():
        version = library.next_version(collection.pk)
        document = Document.objects.create(collection=collection, path=name, title=name)
        revision = Revision.objects.create(
            document=document, number=1, sha256="0" * 64, size=1, media_type="text/plain", file=f"none/{name}"
        )
        IngestRun.objects.create(revision=revision, state=RunState.READY)
        extraction = Extraction.objects.create(revision=revision, parser="text/1")
        Page.objects.create(extraction=extraction, place=0, text=text)
        chunk = Chunk.objects.bulk_create([
            Chunk(extraction=extraction, document=document, collection=collection, version=version, ordinal=0,
                  page_from=0, page_to=0, start=0, end=len(text), text=text)
        ])[0]  # fmt: skip
        embedder = passage_embedder()
        digest = indexing.vector_digest(embedder.digest)
        data = embedder.embed_passages([text])[0].tobytes()
        Vector.objects.create(chunk=chunk, collection=collection, version=version, digest=digest, data=data)
        document.latest = document.current = revision
        document.save()
    return document


def readable(user: User) -> set[object]:
    """The documents that this person may read, said a second time, in plain Python."""
    if not user.is_active:
        return set()
    teams = {membership.team_id: membership.role for membership in Membership.objects.filter(user=user)}
    shelves = {
        grant.collection_id
        for grant in Grant.objects.all()
        if teams.get(grant.team_id, 0) >= Role.READER and grant.role >= Role.READER
    }
    return {
        document.pk
        for document in Document.objects.select_related("collection")
        if document.collection_id in shelves
        and not (document.deleted or document.collection.deleted or document.collection.private)
    }


def dropped(user: User, number: int, text: str) -> Conversation:
    """A conversation of this person with a file of its own."""
    thread = Conversation.objects.create(owner=user, title=f"thread{number}")
    shelf = Collection.objects.create(name=f"files{number}", private=True, conversation=thread)
    stored(shelf, f"file{number}.txt", text)
    indexing.sync(shelf.pk)
    return thread


def files_of(thread: Conversation | None, user: User) -> set[object]:
    """The files that a question of this person in this conversation may be answered from."""
    if thread is None or thread.owner_id != user.pk or not user.is_active:
        return set()
    return set(Document.objects.filter(collection__conversation=thread, deleted=None).values_list("pk", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("seed", [random.randrange(2**32)])
@pytest.mark.parametrize("tail_most", [5000, 3], ids=["tail", "generations"])
def test_no_search_ever_finds_what_its_asker_may_not_read(
    seed: int, tail_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random tangle of people, teams, roles and shelves that keeps changing; `seed` is in the test's name."""
    monkeypatch.setattr(indexing, "TAIL_MOST", tail_most)
    rng = random.Random(seed)
    users = [User.objects.create_user(f"user{n}", password="x", is_active=rng.random() > 0.1) for n in range(8)]
    teams = [Team.objects.create(name=f"team{n}") for n in range(5)]
    shelves = [Collection.objects.create(name=f"shelf{n}") for n in range(6)]
    for number in range(60):
        shelf = rng.choice(shelves)
        stored(shelf, f"{number}.txt", " ".join(rng.choices(WORDS, k=12)) + f" document{number}.")
    clients = _clients(rng, shelves)
    threads = [
        dropped(user, number, " ".join(rng.choices(WORDS, k=12)) + f" file{number}.")
        for number, user in enumerate(users)
    ]
    # Nobody grants these, and if somebody did, it would open nothing.
    private = list(Collection.objects.filter(private=True))
    for shelf in shelves:
        indexing.sync(shelf.pk)
    files_found = 0
    for round_ in range(QUERIES // 2):
        if round_ % 10 == 0:
            _shake(rng, users, teams, [*shelves, *private])
            allowed = {user.pk: readable(user) for user in users}
        user = rng.choice(users)
        question = " ".join(rng.choices(WORDS, k=3))
        asked = [shelf.pk for shelf in rng.sample([*shelves, *private], 5)]
        thread = rng.choice([None, rng.choice(threads), next(each for each in threads if each.owner_id == user.pk)])
        client = rng.choice(["Meyer", "Huber"]) if rng.random() < 0.3 else None
        conditions = [Condition("client", (client,))] if client else []
        every = rng.random() < 0.5 and not conditions
        at = thread.pk if thread is not None else None
        scope = scope_for_all(user) if every else scope_for(user, asked=asked, conditions=conditions, conversation=at)
        found = {source.document_id for source in retrieve.search(question, scope).sources}
        own = files_of(None if every else thread, user)
        assert found <= allowed[user.pk] | own
        assert not client or found <= clients[client] | own
        offered = {choice.value for facet in fields.facets(scope, ()) for choice in facet.choices}
        files_found += len(found & own)
        assert offered <= {name for name, documents in clients.items() if documents & allowed[user.pk]}
    assert files_found


def _clients(rng: random.Random, shelves: list[Collection]) -> dict[str, set[object]]:
    """Some documents of some shelves are of one client or the other; who is whose."""
    found: dict[str, set[object]] = {"Meyer": set(), "Huber": set()}
    for shelf in rng.sample(shelves, 4):
        own = CollectionField.objects.create(collection=shelf, key="client", label="Client")
        for document in Document.objects.filter(collection=shelf):
            if (name := rng.choice(["Meyer", "Huber", ""])) != "":
                FieldValue.objects.create(document=document, field=own, value=name)
                found[name].add(document.pk)
    return found


def _shake(rng: random.Random, users: list[User], teams: list[Team], shelves: list[Collection]) -> None:
    """Some people change teams, some shelves change hands, a document goes."""
    Membership.objects.all().delete()
    Grant.objects.all().delete()
    for user in users:
        for team in rng.sample(teams, rng.randrange(3)):
            Membership.objects.create(user=user, team=team, role=rng.choice(Role.values))
    for shelf in shelves:
        for team in rng.sample(teams, rng.randrange(3)):
            Grant.objects.create(collection=shelf, team=team, role=rng.choice(Role.values))
    if rng.random() < 0.3 and (document := Document.objects.live().order_by("?").first()):
        library.delete_document(users[0], document)


MASK = re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"|datetime="[^"]+"|title="[^"]*\d{4}[^"]*"')


@pytest.mark.django_db
def test_documents_that_one_may_not_see_change_no_page_of_one_s_own(
    alice: User, bob: User, charlie: User, policies: Collection, secrets: Collection, add_text: AddText, as_user: SignIn
) -> None:
    add_text(alice, policies, "leave.md", "# Leave\n\nFull-time staff have 27 days of leave a year.")
    pages = ["ask", "collections"]

    later = timezone.now() + timedelta(hours=1)

    @time_machine.travel(later, tick=False)  # pages say how long ago things happened
    def seen() -> list[str]:
        browser = as_user(bob)
        bodies = [browser.get(reverse(name)).content.decode() for name in pages]
        bodies.append(browser.get(reverse("collection", args=[policies.pk])).content.decode())
        found = retrieve.search("days of leave for staff", scope_for_all(bob))
        return [MASK.sub("", body) for body in bodies] + [repr([(s.title, s.text, s.score) for s in found.sources])]

    before = seen()
    for number in range(5):
        add_text(charlie, secrets, f"s{number}.md", f"Full-time staff of the vault have {number} days of leave.")
    assert seen() == before


@pytest.mark.django_db
def test_an_administrator_reads_nothing_until_they_join_a_team_and_that_is_audited(
    alice: User, dana: User, policies: Collection, add_text: AddText, as_user: SignIn
) -> None:
    document = add_text(alice, policies, "leave.md", "Full-time staff have 27 days of leave a year.")
    browser = as_user(dana)
    address = reverse("page", args=[document.pk, 1, 1])
    assert browser.get(address).status_code == 404
    assert retrieve.search("days of leave", scope_for_all(dana)).sources == []
    team = Team.objects.get(name="Clinic")
    browser.post(reverse("team_add_member", args=[team.pk]), {"user": dana.pk, "role": Role.READER})
    assert browser.get(address).status_code == 200
    event = AuditEvent.objects.filter(action="team.member_added").latest("pk")
    assert (event.actor_name, event.facts["user"]) == ("dana", dana.pk)


@pytest.mark.django_db
def test_a_revoked_membership_ends_at_the_very_next_request(
    alice: User, bob: User, policies: Collection, add_text: AddText, as_user: SignIn
) -> None:
    document = add_text(alice, policies, "leave.md", "Full-time staff have 27 days of leave a year.")
    browser = as_user(bob)
    addresses = [reverse("page", args=[document.pk, 1, 1]), reverse("collection", args=[policies.pk])]
    assert [browser.get(address).status_code for address in addresses] == [200, 200]
    Membership.objects.filter(user=bob).delete()
    assert [browser.get(address).status_code for address in addresses] == [404, 404]
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert as_user(alice).get(addresses[0]).status_code == 302


@pytest.mark.django_db
def test_a_model_that_runs_on_somebody_else_s_machine_cannot_be_chosen(dana: User, settings: LazySettings) -> None:
    with ScriptedOllama() as server:
        settings.RAG = settings.RAG | {"OLLAMA_URL": server.url}
        forget_everything()
        assert models_admin.choose(dana, "scripted:latest").digest == server.digest
        server.remote.add("scripted-ok:latest")
        with pytest.raises(Permanent, match="somebody else"):
            models_admin.choose(dana, "scripted-ok:latest")
        with pytest.raises(Permanent, match="no longer has"):
            models_admin.choose(dana, "nothing:latest")
    chosen = models_admin.chosen()
    assert chosen is not None
    assert chosen.name == "scripted:latest"
    models_admin.use_none(dana)
    assert models_admin.chosen() is None
