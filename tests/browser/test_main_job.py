"""The main job, as a person does it: sign in, upload, wait, ask, follow a citation to the marked words."""

import re
import uuid
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, sign_in
from tests.browser.made import FACT, KEY, Area, chosen, house_rules, keys
from tests.browser.screens import LOOKS
from tests.browser.thread import SECONDS, ask, wait_until_done
from tests.installed import Installed

pytestmark = [pytest.mark.browser, pytest.mark.once]

SHARP = 1400  # pixels: twice the width of a page on screen
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def new_collection(page: Page) -> str:
    """Makes a collection of the test's own; its name. The page is the collection's then."""
    name = f"House {uuid.uuid4().hex[:8]}"
    page.goto("/collections/")
    form = page.locator("form.form")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Team").select_option(index=1)
    form.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    return name


def upload(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Chooses the files and waits until each of them can be asked."""
    page.locator("#files").set_input_files([chosen(*file) for file in files])
    for name, _kind, _content in files:
        row = page.locator("#rows tbody tr").filter(has_text=name)
        expect(row.locator(".tag--ok")).to_be_visible(timeout=SECONDS)


def ask_this_collection(page: Page, question: str) -> None:
    page.get_by_role("link", name="Ask this collection").click()
    page.wait_for_url("**/?collection=*")
    ask(page, question)


def test_a_pdf_and_a_word_file_are_uploaded_read_asked_and_their_words_found_again(open_page: Open) -> None:
    page = open_page(stranger=True)
    sign_in(page)
    new_collection(page)
    pdf, area = house_rules()
    page.locator("#files").set_input_files(
        [
            chosen("house-rules.pdf", "application/pdf", pdf),
            chosen("keys.docx", DOCX, keys()),
        ]
    )
    expect(page.locator(".upload-item--ok")).to_have_count(2, timeout=SECONDS)
    for item in page.locator(".upload-item").all():
        expect(item.locator("progress")).to_have_js_property("value", 100)
        expect(item.locator(".upload-item__status")).to_have_text(re.compile("was uploaded"))
    expect(page.locator("#rows .tag--ok")).to_have_count(2, timeout=SECONDS)

    ask_this_collection(page, "How often is the boiler descaled?")
    answer = wait_until_done(page)
    quote = answer.locator(".quote").filter(has_text=FACT)
    expect(quote.locator(".quote__text")).to_have_text(FACT)
    expect(page.locator("#evidence .source").first.locator("mark").first).to_be_visible()
    quote.locator("a.chip").click()
    expect(page.get_by_role("heading", level=1, name="House rules")).to_be_visible()
    expect(page.locator(".viewer__count")).to_have_text("2 of 2")
    assert_marked(page, area)

    page.get_by_role("link", name="Back to the answer").click()
    ask(page, "Where is the spare key of the archive?")
    wait_until_done(page).locator(".quote").filter(has_text=KEY).locator("a.chip").click()
    expect(page.get_by_role("heading", level=1, name="Keys and alarms")).to_be_visible()
    expect(page.locator("article.text mark")).to_have_text(KEY)
    expect(page.locator("article.text mark")).to_be_in_viewport()


def assert_marked(page: Page, area: Area) -> None:
    """The picture is there, and the marks on it cover the words that stand in `area`, and little else."""
    picture = page.locator(".sheet__picture")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("complete", value=True, timeout=SECONDS)
    assert picture.evaluate("picture => picture.naturalWidth") >= SHARP
    on_screen = picture.bounding_box()
    marks = [mark.bounding_box() for mark in page.locator(".sheet__marks path").all()]
    assert on_screen and marks and all(marks)
    expect(page.locator("#mark")).to_be_in_viewport()
    left, top, width, height = (on_screen[key] for key in ("x", "y", "width", "height"))
    boxes = [box for box in marks if box is not None]
    x0, x1 = min(box["x"] for box in boxes), max(box["x"] + box["width"] for box in boxes)
    y0, y1 = min(box["y"] for box in boxes), max(box["y"] + box["height"] for box in boxes)
    found = Area((x0 - left) / width, (y0 - top) / height, (x1 - left) / width, (y1 - top) / height)
    line = area.y1 - area.y0
    assert abs(found.x0 - area.x0) < 0.01 and abs(found.x1 - area.x1) < 0.01, (found, area)
    assert abs(found.y0 - area.y0) < line and abs(found.y1 - area.y1) < line, (found, area)
    middle = (area.y0 + area.y1) / 2
    assert found.y0 < middle < found.y1, (found, area)


def test_the_same_without_javascript_ends_on_a_page_with_the_answer(open_page: Open, site: Installed) -> None:
    page = open_page(LOOKS[3], stranger=True)
    sign_in(page)
    new_collection(page)
    pdf, _area = house_rules()
    page.locator("#files").set_input_files(
        [
            chosen("house-rules.pdf", "application/pdf", pdf),
            chosen("keys.docx", DOCX, keys()),
        ]
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#messages")).to_contain_text("“house-rules.pdf” was uploaded.")
    with httpx.Client(cookies={c["name"]: c["value"] for c in page.context.cookies()}, trust_env=False) as http:
        wait_without_scripts(http, urljoin(site.url, page.url))
    page.get_by_role("link", name="Ask this collection").click()
    page.get_by_label("Your question").fill("How often is the boiler descaled?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/answers/*/")
    expect(page.locator(".after")).to_be_visible(timeout=SECONDS)  # the page refreshes itself until then
    page.locator(".quote").filter(has_text=FACT).locator("a.chip").click()
    page.wait_for_url("**/pages/2/**")
    expect(page.locator(".sheet__marks path").first).to_be_visible()
    expect(page.locator(".sheet__picture")).to_be_visible()


def wait_without_scripts(http: httpx.Client, url: str) -> None:
    """Loads the collection's page until both of its documents are ready, as somebody who presses reload."""
    for _ in range(600):
        if http.get(url).raise_for_status().text.count("tag--ok") == 2:
            return
    raise AssertionError("the documents are not read")
