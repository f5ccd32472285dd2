"""Every page in every look: nothing sticks out, nothing is missing, nothing is complained about."""

import re
import uuid
from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from rag import samples
from tests.access.matrix import MATRIX
from tests.browser.conftest import Open
from tests.browser.screens import LOOKS, Look, barriers, overflow
from tests.browser.thread import ask, wait_until_done
from tests.installed import Installed, Person
from tests.site import new_collection

pytestmark = [pytest.mark.browser, pytest.mark.once]

# For programs, or no HTML; and the page that asks before any deletion, which needs a field here.
NO_PAGES = {
    *("health_live", "health_ready", "answer_stream", "collection_events", "original", "page_picture", "fields_csv"),
    *("import_csv", "field_delete", "answer_export", "conversation_export", "private_files"),
    "model_jobs",
}
SIGNED_OUT = {"account_login"}
# From the smallest phone that is sold to a wide screen.
WINDOWS = (*LOOKS[:3], Look("phone dark", width=320, height=640, scheme="dark"), Look("tablet", width=820, height=1180))


@pytest.fixture(scope="module")
def addresses(site: Installed, person: Person) -> dict[str, str]:
    """An address for each page of the site, by its name; a page without one here fails the test."""
    answer = conversation = ""
    for name, data in person.ask(samples.SUGGESTED[1]):
        if name == "done":
            found = re.search(r"/answers/([0-9a-f-]{36})/", data)
            assert found is not None
            answer = found[1]
    whole = person.page(reverse("answer", args=[answer]))
    conversation = _first(r"/conversations/([0-9a-f-]{36})/", whole)
    collection = _first(r"/collections/([0-9a-f-]{36})/", person.collection())
    cited = re.search(r'href="(/documents/([0-9a-f-]{36})/revisions/\d+/pages/\d+/\?[^"]+)"', whole)
    assert cited is not None
    person.post(reverse("readings"), {"question": samples.SUGGESTED[1], "document": cited[2]})
    known = imported(person) | {
        "reading": _first(r"(/readings/[0-9a-f-]{36}/)", person.page(reverse("document", args=[cited[2]]))),
        "conversation": reverse("conversation", args=[conversation]),
        "conversation_share": reverse("conversation_share", args=[conversation]),
        "shared": reverse("shared", args=[conversation]),
        "answer": reverse("answer", args=[answer]),
        "collection": reverse("collection", args=[collection]),
        "collection_delete": reverse("collection_delete", args=[collection]),
        "reviews": reverse("reviews", args=[collection]),
        "fields": reverse("fields", args=[collection]),
        "quality": reverse("quality", args=[collection]),
        "sources": reverse("sources", args=[collection]),
        "document": reverse("document", args=[cited[2]]),
        "document_fields": reverse("document_fields", args=[cited[2]]),
        "document_validity": reverse("document_validity", args=[cited[2]]),
        "document_delete": reverse("document_delete", args=[cited[2]]),
        "page": cited[1].replace("&amp;", "&"),
    }
    pages = [name for name, rows in MATRIX.items() if any(method == "GET" for method, _codes in rows)]
    return {name: known.get(name) or reverse(name) for name in pages if name not in NO_PAGES}


def imported(person: Person) -> dict[str, str]:
    """Where an import is shown, and where it is asked what becomes of a file whose place is taken."""
    name = f"Waiting {uuid.uuid4().hex[:8]}"
    new_collection(person, name)
    place = _first(rf'href="(/collections/[0-9a-f-]{{36}}/)">(?:(?!</a>).)*{name}</a>', person.page("/collections/"))
    for words in (b"The first words.", b"Other words."):
        person.upload(place, "waiting for an answer.txt", words)
    receipt = _first(r"(/collections/[0-9a-f-]{36}/imports/[0-9a-f-]{36}/)", person.page(place))
    return {"import": receipt, "uploads_waiting": f"{place}uploads/waiting/"}


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found[1]


@pytest.mark.parametrize("look", WINDOWS, ids=lambda look: look.name)
def test_no_page_is_too_wide_or_complains_or_keeps_anybody_out(
    open_page: Open, addresses: dict[str, str], look: Look
) -> None:
    page, stranger = open_page(look), open_page(look, stranger=True)
    too_wide, kept_out = {}, {}
    for name, address in addresses.items():
        window = stranger if name in SIGNED_OUT else page
        response = window.goto(address)
        assert response is not None and response.ok, (name, address)
        assert window.title(), name
        expect(window.locator("h1")).to_have_count(1)
        if wider := overflow(window):
            too_wide[name] = wider
        if look in LOOKS and (found := barriers(window)):
            kept_out[name] = found
    assert too_wide == {}
    assert kept_out == {}


def test_a_picture_without_words_would_be_found(open_page: Open) -> None:
    page = open_page()
    page.goto("/")
    page.evaluate("document.querySelector('main').append(new Image())")
    assert any(line.startswith("image-alt") for line in barriers(page))


def test_the_page_of_an_address_that_leads_nowhere_fits_too(open_page: Open) -> None:
    page = open_page(LOOKS[2], expected=("404",))
    response = page.goto("/documents/00000000-0000-4000-8000-000000000000/")
    assert response is not None and response.status == 404
    assert overflow(page) == 0
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("main").get_by_role("link").first).to_be_visible()


def test_asking_on_a_phone_leaves_the_evidence_one_touch_away(open_page: Open) -> None:
    page = open_page(LOOKS[2])
    page.goto("/")
    ask(page, samples.SUGGESTED[2])
    answer = wait_until_done(page)
    assert overflow(page) == 0
    expect(page.locator("#evidence-panel")).to_be_hidden()
    answer.get_by_role("link", name=re.compile("^Sources")).click()
    expect(page.locator("#evidence .source").first).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#evidence-panel")).to_be_hidden()


Key = Callable[[str], None]


def test_everything_that_matters_is_done_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page(stranger=True)
    page.goto("/sign-in/")
    press = page.keyboard.press
    _tab_to(page.keyboard.press, lambda: bool(page.evaluate("document.activeElement?.name === 'login'")))
    page.keyboard.type("admin")
    press("Tab")
    page.keyboard.type("correct horse battery")
    press("Enter")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type(samples.SUGGESTED[1])
    press("Enter")
    wait_until_done(page)
    expect(page.get_by_label("Your question")).to_be_focused()
    press("Shift+Tab")
    chip = "document.activeElement?.matches('.answer a.chip')"
    _tab_to(press, lambda: bool(page.evaluate(chip)), key="Shift+Tab")
    press("Enter")
    page.wait_for_url("**/documents/**")
    expect(page.locator("mark").first).to_be_attached()
    press("Escape")
    page.wait_for_url("**/conversations/**")
    press("/")
    expect(page.get_by_label("Your question")).to_be_focused()
    press("Escape")
    press("?")
    expect(page.locator("#keys")).to_be_visible()
    press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def _tab_to(press: Key, there: Callable[[], bool], *, key: str = "Tab", most: int = 60) -> None:
    for _ in range(most):
        if there():
            return
        press(key)
    raise AssertionError(f"{most} presses of {key} did not lead there")
