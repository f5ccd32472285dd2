"""Administrators see on the Models page which embedding models there are and how far they are, and choose among them."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client

from core.models import User
from rag import slots
from rag.config import rag_config
from rag.models import Collection, Document, EmbeddingModel
from rag.models.embedding_model import EmbeddingState
from rag.services import embedding_models

pytestmark = pytest.mark.django_db
AsUser = Callable[[User | None], Client]
AddText = Callable[..., Document]


@pytest.fixture
def other(db: None) -> EmbeddingModel:
    """A model whose files are elsewhere: the page needs none of them."""
    embedding_models._ensure_base()
    return EmbeddingModel.objects.create(
        name="granite", digest="f" * 64, folder="granite-ffff", dimension=384, max_tokens=1024, licence="apache-2.0"
    )


def page(client: Client) -> str:
    response = client.get("/models/")
    assert response.status_code == 200
    return response.content.decode()


def act(client: Client, act: str, name: str) -> str:
    response = client.post("/models/embedding/", {"act": act, "name": name}, follow=True)
    assert response.redirect_chain == [("/models/", 302)]
    return response.content.decode()


def test_the_one_that_came_with_footnote_stands_alone_at_first(dana: User, as_user: AsUser) -> None:
    shown = page(as_user(dana))
    assert "hashing" in shown
    assert "manage.py models import FOLDER" in shown
    assert not EmbeddingModel.objects.exists()  # looking writes nothing


def test_a_model_is_asked_to_embed_and_paused(
    dana: User, as_user: AsUser, other: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", "The notice period is three months.")
    client = as_user(dana)
    assert "none yet" in page(client)
    shown = act(client, "embed", "granite")
    assert "granite embeds every passage from now on" in shown
    assert "0 of 1" in shown
    assert 'value="pause"' in shown
    assert "granite is paused" in act(client, "pause", "granite")
    other.refresh_from_db()
    assert other.state == EmbeddingState.PAUSED


def test_what_cannot_be_done_is_said(dana: User, as_user: AsUser, other: EmbeddingModel) -> None:
    client = as_user(dana)
    assert "There is no embedding model “nobody”" in act(client, "embed", "nobody")
    assert "This cannot be done" in act(client, "remove", "granite")
    assert "is in use" in act(client, "pause", "hashing")
    other.refresh_from_db()
    assert other.state == EmbeddingState.IMPORTED


def test_a_model_that_failed_says_why_and_can_be_tried_again(
    dana: User, as_user: AsUser, other: EmbeddingModel
) -> None:
    EmbeddingModel.objects.filter(pk=other.pk).update(state=EmbeddingState.FAILED, message="Its files are gone.")
    shown = page(as_user(dana))
    assert "Its files are gone." in shown
    assert 'value="embed"' in shown


def test_nobody_else_can_do_anything(alice: User, as_user: AsUser, other: EmbeddingModel) -> None:
    assert as_user(alice).post("/models/embedding/", {"act": "embed", "name": "granite"}).status_code == 404
    other.refresh_from_db()
    assert other.state == EmbeddingState.IMPORTED


def test_where_the_environment_decides_nothing_is_offered(
    dana: User, as_user: AsUser, other: EmbeddingModel, settings: LazySettings
) -> None:
    settings.RAG = settings.RAG | {"EMBEDDER_FOLDER": "/models/mine"}
    rag_config.cache_clear()
    slots.forget_models()
    shown = page(as_user(dana))
    assert "FOOTNOTE_EMBEDDER names the embedding model" in shown
    assert not any(f'value="{act}"' in shown for act in ("embed", "pause", "switch"))
