"""A model's answer as it arrives on screen: evidence first, whole pieces only, and never lost, whatever the reader does."""

import re
import time
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from rag import samples
from tests.browser.conftest import Open
from tests.browser.screens import LOOKS
from tests.browser.thread import (
    LAST,
    SECONDS,
    ask,
    expected,
    record,
    recorded,
    squeezed,
    wait_for_text,
    wait_until_done,
    written,
)
from tests.scripted_ollama import GO_ON, ScriptedOllama
from tests.site import UseModel

pytestmark = [pytest.mark.browser, pytest.mark.once]

QUESTION = samples.SUGGESTED[0]


def test_sources_are_on_screen_before_the_first_word_and_no_marker_is_ever_in_pieces(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama
) -> None:
    use_model("slowly")
    page = open_page()
    page.goto("/")
    record(page)
    ask(page, QUESTION)
    answer = wait_until_done(page)
    states = recorded(page)
    first_source = next(place for place, state in enumerate(states) if state.sources)
    first_word = next(place for place, state in enumerate(states) if state.text.strip())
    assert first_source < first_word
    assert states[-1].quotes, "the exact words stand above what a model writes"
    texts = [squeezed(state.text) for state in states[first_word:]]
    assert len(set(texts)) >= 10, "the text comes in pieces"
    rewritten = [(old, new) for old, new in pairwise(texts) if not (old.startswith(new) or new.startswith(old))]
    assert rewritten == []
    torn = [state.text for state in states if re.search(r"[\[\]]", state.text)]
    assert torn == []
    assert written(answer) == expected(ollama)
    assert_cited(page, answer)


def assert_cited(page: Page, answer: Locator) -> None:
    """Every sentence has chips, each of a source in the panel, and one of them opens its words, marked."""
    offered = {item.get_attribute("data-source-number") for item in page.locator("#evidence .source").all()}
    sentences = answer.locator(".sentence").all()
    assert sentences
    for sentence in sentences:
        chips = [chip.get_attribute("data-source-number") for chip in sentence.locator("a.chip").all()]
        assert chips and set(chips) <= offered
    chip = answer.locator(".sentence a.chip").first
    chip.hover()
    card = answer.locator(".sentence .card").first
    expect(card).to_be_visible()
    quoted = squeezed(card.locator(".card__quote").text_content() or "")
    chip.click()
    page.wait_for_url("**/documents/**")
    marked = squeezed("".join(page.locator("article.text mark").all_text_contents()))
    assert quoted and marked.startswith(quoted)


def test_the_evidence_stands_while_a_model_has_not_begun_and_escape_ends_the_wait(
    open_page: Open, use_model: UseModel
) -> None:
    use_model("slow_first_token")
    page = open_page()
    page.goto("/")
    answer = ask(page, QUESTION)
    expect(answer.locator(".quote").first).to_be_visible(timeout=SECONDS)
    expect(page.locator("#evidence .source").first).to_be_visible()
    expect(answer.locator("[data-status]")).to_have_text("The model is reading the passages …")
    assert written(answer) == ""
    page.keyboard.press("Escape")
    expect(answer).to_contain_text("Stopped. What was written so far is kept.", timeout=SECONDS)
    expect(answer.locator(".quote").first).to_be_visible()


@pytest.mark.parametrize("way", ["Escape", "button", "without JavaScript"])
def test_stop_ends_the_model_within_two_seconds_and_keeps_what_was_written(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama, way: str
) -> None:
    use_model("hang")
    page = open_page(LOOKS[3] if way == "without JavaScript" else LOOKS[0])
    page.goto("/")
    aborted = ollama.aborted
    if way == "without JavaScript":
        page.get_by_label("Your question").fill(QUESTION)
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(f"{LAST} .quote").first).to_be_visible(timeout=SECONDS)
    else:
        ask(page, QUESTION)
        wait_for_text(page)
    pressed = time.monotonic()
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Stop").click()
    while ollama.aborted == aborted and time.monotonic() < pressed + 2:
        page.wait_for_timeout(10)
    assert ollama.aborted == aborted + 1, "the model was still read after two seconds"
    answer = wait_until_done(page)
    expect(answer).to_contain_text("Stopped. What was written so far is kept.")
    assert written(answer) == squeezed("The answer begins")
    page.reload()
    assert written(page.locator(LAST)) == squeezed("The answer begins")


def test_a_reload_while_it_is_written_shows_what_there_is_and_then_the_whole_answer(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama
) -> None:
    use_model("held")
    page = open_page()
    page.goto("/")
    ask(page, QUESTION)
    wait_for_text(page)
    page.reload()
    wait_for_text(page)
    expect(page.locator("#evidence .source").first).to_be_visible()
    half = written(page.locator(LAST))
    GO_ON.set()
    whole = written(wait_until_done(page))
    assert whole == expected(ollama)
    assert whole.startswith(half) and half != whole


def test_a_closed_tab_stops_nothing_and_coming_back_shows_the_whole_answer(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama
) -> None:
    use_model("held")
    first = open_page()
    first.goto("/")
    ask(first, QUESTION)
    wait_for_text(first)
    address = first.url
    assert "/conversations/" in address
    first.close()
    GO_ON.set()
    later = open_page()
    later.goto(address)
    assert written(wait_until_done(later)) == expected(ollama)


def test_two_tabs_see_the_same_answer_grow(open_page: Open, use_model: UseModel, ollama: ScriptedOllama) -> None:
    use_model("held")
    first = open_page()
    first.goto("/")
    ask(first, QUESTION)
    wait_for_text(first)
    second = open_page()
    second.goto(first.url)
    wait_for_text(second)
    GO_ON.set()
    whole = expected(ollama)
    assert written(wait_until_done(first)) == written(wait_until_done(second)) == whole


def test_without_javascript_the_page_refreshes_itself_until_the_model_has_ended(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama
) -> None:
    use_model("held")
    page = open_page(LOOKS[3])
    page.goto("/")
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/answers/*/")
    expect(page.locator("#evidence .source").first).to_be_visible(timeout=SECONDS)
    expect(page.locator(f"{LAST} [data-status]")).to_be_visible()
    GO_ON.set()
    answer = wait_until_done(page)
    assert written(answer) == expected(ollama)
    assert answer.locator(".sentence a.chip").count() >= 2
