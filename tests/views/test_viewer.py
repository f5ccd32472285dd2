"""The viewer shows the pages of PDFs and images as they look, and says how each was read."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image

from core.models import User
from rag.models import Collection, Revision
from tests.pdfs import picture

pytestmark = pytest.mark.django_db(transaction=True)
Browser = Callable[[User | None], Client]


def image(*pages: str, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    first, *more = map(picture, pages)
    first.save(buffer, kind, **({"save_all": True, "append_images": more} if more else {}))
    return buffer.getvalue()


def address(name: str, revision: Revision | None, page: int = 1) -> str:
    assert revision is not None
    return reverse(name, args=[revision.document_id, revision.number, page])


def test_an_image_is_shown_with_the_cited_words_marked(
    alice: User, policies: Collection, add_text: Any, as_user: Browser
) -> None:
    document = add_text(alice, policies, "sign.png", image("Parking costs forty"))
    browser = as_user(alice)
    shown = browser.get(address("page", document.latest), {"passage": "1.0-1.7"})
    assert "This page was read from its picture, with" in shown.content.decode()
    assert "<mark>Parking</mark>" in shown.content.decode()
    assert 'class="sheet__marks"' in shown.content.decode()
    drawn = Image.open(BytesIO(browser.get(address("page_picture", document.latest)).content))
    assert drawn.size == (900, 200)


def test_a_page_without_text_says_why(alice: User, policies: Collection, add_text: Any, as_user: Browser) -> None:
    document = add_text(alice, policies, "scan.tiff", image("Parking costs forty", "", kind="TIFF"))
    shown = as_user(alice).get(address("page", document.latest, 2))
    assert "Nothing is on this page." in shown.content.decode()
