"""What documents and models write is shown as words and never runs."""

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from rag import samples
from tests.browser.conftest import Open
from tests.browser.made import chosen
from tests.browser.test_main_job import new_collection, upload
from tests.browser.thread import ask, wait_until_done
from tests.site import UseModel

pytestmark = [pytest.mark.browser, pytest.mark.once]

WORD = f"zyxo{uuid.uuid4().hex[:8]}"
ATTACK = f"""
<script>window.CANARY = "script"</script>
<img src="x" onerror="window.CANARY = 'image'"><svg onload="window.CANARY = 'svg'"></svg>
<iframe srcdoc="<script>parent.CANARY = 'frame'</script>"></iframe>
<a href="javascript:window.CANARY = 'link'">press</a>
<div hx-get="/sign-out/" hx-trigger="load" hx-on:click="window.CANARY = 'htmx'">more</div>
<style>@import url("http://elsewhere.example/a.css"); body {{ display: none }}</style>
<img src="http://elsewhere.example/pixel.gif">
<p>The {WORD} valve is opened by hand twice a day &lt;script&gt;window.CANARY = "escaped"&lt;/script&gt; and never more.</p>
"""
FILES = (
    ("attack.html", "text/html", f"<!doctype html><title>Valve <script>window.CANARY=1</script></title>{ATTACK}"),
    (
        "attack.md",
        "text/markdown",
        f"# Valve <script>window.CANARY = 'title'</script>\n{ATTACK}\n\n[x](javascript:alert(1))",
    ),
    ("attack.txt", "text/plain", ATTACK),
)
# Everything that a sentence, its chips and its marks are made of.
ALLOWED = {"P", "SPAN", "A", "SVG", "USE", "STRONG", "MARK"}


def nothing_ran(page: Page) -> None:
    assert [frame.evaluate("window.CANARY === undefined") for frame in page.frames] == [True]
    expect(page.locator("body")).to_be_visible()


def test_a_document_full_of_scripts_is_read_asked_and_shown_without_running_any(open_page: Open) -> None:
    page = open_page()
    new_collection(page)
    upload(page, *((name, kind, content.encode()) for name, kind, content in FILES))
    nothing_ran(page)
    collection = page.url
    for name, _kind, _content in FILES:
        page.goto(collection)
        page.locator("#rows tbody tr").filter(has_text=name).locator("a.doc").click()
        page.wait_for_url("**/documents/**")
        nothing_ran(page)
        document = re.sub(r"revisions/.*", "", page.url)
        page.goto(document)
        nothing_ran(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="Original").click()
        assert download.value.suggested_filename == name
    page.goto(collection)
    page.get_by_role("link", name="Ask this collection").click()
    ask(page, f"When is the {WORD} valve opened?")
    answer = wait_until_done(page)
    quote = answer.locator(".quote").filter(has_text=WORD)
    expect(quote).to_be_visible()
    nothing_ran(page)
    quote.locator("a.chip").click()
    page.wait_for_url("**/documents/**")
    expect(page.locator("article.text mark").first).to_contain_text(WORD)
    nothing_ran(page)


def test_an_original_opened_by_its_address_is_a_download_and_never_a_page(open_page: Open) -> None:
    page = open_page()
    new_collection(page)
    upload(page, ("attack.html", "text/html", FILES[0][2].encode()))
    page.locator("#rows tbody tr a.doc").click()
    page.wait_for_url("**/documents/**")
    address = re.sub(r"pages/.*", "original/", page.url)
    answer = page.context.request.get(address)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    page.goto("/collections/")
    with page.expect_download():
        page.evaluate("address => window.location.assign(address)", address)
    nothing_ran(page)


def test_a_picture_with_scripts_is_refused_by_name(open_page: Open) -> None:
    page = open_page(expected=("422",))
    new_collection(page)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.CANARY=1"><script>window.CANARY=2</script></svg>'
    page.locator("#files").set_input_files(chosen("logo.svg", "image/svg+xml", svg))
    refused = page.locator(".upload-item--bad")
    expect(refused).to_contain_text("logo.svg")
    expect(refused.locator(".upload-item__status")).not_to_be_empty()
    nothing_ran(page)


def test_a_model_that_writes_html_is_shown_writing_it(open_page: Open, use_model: UseModel) -> None:
    use_model("xss")
    page = open_page()
    page.goto("/")
    ask(page, samples.SUGGESTED[0])
    answer = wait_until_done(page)
    for _ in range(2):  # as it was streamed, and as it was stored
        prose = answer.locator("[data-prose]")
        expect(prose).to_contain_text('<script>document.title="owned"</script>')
        expect(prose).to_contain_text("javascript:alert(1)")
        names = set(
            prose.evaluate("element => [...element.querySelectorAll('*')].map((one) => one.tagName.toUpperCase())")
        )
        assert names <= ALLOWED, names - ALLOWED
        attributes = prose.evaluate(
            "element => [...element.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
        )
        assert not [name for name in attributes if name.startswith(("on", "hx-", "style"))]
        assert all((link.get_attribute("href") or "").startswith("/documents/") for link in prose.locator("a").all())
        assert "owned" not in page.title()
        page.reload()
