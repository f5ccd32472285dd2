"""The people of every test: alice owns, bob is a member, charlie is a stranger, dana runs the site."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.test import Client

from core.models import Membership, Role, Team, User
from rag import slots
from rag.config import rag_config
from rag.models import Collection, Document, Grant, IngestRun
from rag.models.index import RunState
from rag.services import embedding, indexing, ingest, library

pytest_plugins = ["tests.site"]
PASSWORD = "correct horse battery staple"


_DATABASE = {"db", "transactional_db", "django_db_setup", "live_server"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what cannot reach the database: a second database would tell nothing of it."""
    for item in items:
        if not item.get_closest_marker("django_db") and _DATABASE.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("once")


@pytest.fixture(autouse=True)
def _fresh_process_state(settings: LazySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees what another one cached: configuration, open indexes, throttles. Words embed by hashing unless said."""
    settings.RAG = settings.RAG | {
        "PASSAGE_EMBEDDER": "rag.backends.embedders.hashing.HashingEmbedder",
        "QUESTION_EMBEDDER": "rag.backends.embedders.hashing.HashingEmbedder",
    }
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    # Hashing a password is slow on purpose; tests sign in hundreds of times.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    forget_everything()
    yield
    forget_everything()


def forget_everything() -> None:
    """Empties what this process has cached."""
    rag_config.cache_clear()
    slots.forget_models()
    made: Any
    for made in (slots.reranker, slots.entailment):
        made.cache_clear()
    indexing.close_readers()
    cache.clear()


def _user(name: str, **more: Any) -> User:
    return User.objects.create_user(username=name, password=PASSWORD, **more)


@pytest.fixture
def alice(db: None) -> User:
    """Manages the team Clinic."""
    return _user("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Reads in the team Clinic."""
    return _user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """Is in no team of alice's."""
    return _user("charlie")


@pytest.fixture
def dana(db: None) -> User:
    """Administers the site and is in no team."""
    return _user("dana", is_superuser=True, is_staff=True)


@pytest.fixture
def clinic(alice: User, bob: User) -> Team:
    team = Team.objects.create(name="Clinic")
    Membership.objects.create(team=team, user=alice, role=Role.MANAGER)
    Membership.objects.create(team=team, user=bob, role=Role.READER)
    return team


@pytest.fixture
def policies(clinic: Team) -> Collection:
    """A collection that the team Clinic may use."""
    collection = Collection.objects.create(name="Policies")
    Grant.objects.create(collection=collection, team=clinic, role=Role.MANAGER)
    return collection


@pytest.fixture
def secrets(charlie: User) -> Collection:
    """A collection of charlie's own, which nobody of the team Clinic may use."""
    team = Team.objects.create(name="Charlie's")
    Membership.objects.create(team=team, user=charlie, role=Role.MANAGER)
    collection = Collection.objects.create(name="Secrets")
    Grant.objects.create(collection=collection, team=team, role=Role.MANAGER)
    return collection


AddText = Callable[..., Document]


@pytest.fixture
def add_text() -> AddText:
    """Adds a text document and brings it all the way, in this process: read, embedded, indexed."""

    def add(actor: User, collection: Collection, name: str, text: str | bytes) -> Document:
        body = text if isinstance(text, bytes) else text.encode()
        added = library.add_document(actor, collection, ContentFile(body), path=name, replaces=True)
        document = added.document
        document.refresh_from_db()
        assert document.latest is not None
        ingest.read(document.latest.pk)
        unread = IngestRun.objects.filter(revision=document.latest, state=RunState.RECOGNISING, lease_until=None)
        while unread.exists():  # its turn was over: a slow machine takes several for pictures
            ingest.read(document.latest.pk)
        embedding.embed(document.latest.pk)
        document.refresh_from_db()
        return document

    return add


@pytest.fixture
def as_user() -> Callable[[User | None], Client]:
    """A browser in which this person is signed in (nobody: None)."""

    def browser(user: User | None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    return browser


@pytest.fixture
def upload_file() -> Callable[[str, bytes], BytesIO]:
    """A named file as a test client posts it."""

    def make(name: str, body: bytes) -> BytesIO:
        file = BytesIO(body)
        file.name = name
        return file

    return make
