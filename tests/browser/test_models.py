"""Choosing a model in the browser, and what is on screen when the chosen one fails."""

import pytest
from playwright.sync_api import expect

from rag import samples
from tests.browser.conftest import Open
from tests.browser.thread import SECONDS, ask, expected, wait_until_done, written
from tests.scripted_ollama import ScriptedOllama
from tests.site import UseModel

pytestmark = [pytest.mark.browser, pytest.mark.once]

QUESTION = samples.SUGGESTED[0]
# Words that say what happened, in what each failure says.
SENTENCES = {
    "missing": "not installed",
    "queue_full": "busy",
    "no_memory": "free memory",
    "error_mid_stream": "in the middle of its answer",
    "no_done": "broke off",
}


def test_an_administrator_connects_a_model_asks_it_and_goes_back_to_exact_words(
    open_page: Open, use_model: UseModel, ollama: ScriptedOllama
) -> None:
    page = open_page()
    page.goto("/")
    expect(page.locator(".ask__note")).to_contain_text("No language model is connected")
    page.get_by_role("link", name="Connect a model").click()
    expect(page.get_by_text("connected", exact=True)).to_be_visible()
    page.get_by_role("button", name=f"Use {ollama.model}").click()
    row = page.locator("tr.is-chosen").filter(has_text=ollama.model)
    expect(row).to_contain_text(ollama.digest[:12])
    page.goto("/")
    expect(page.locator(".ask__note")).to_have_count(0)
    ask(page, QUESTION)
    answer = wait_until_done(page)
    assert written(answer) == expected(ollama)
    expect(answer.locator(".origin__model")).to_contain_text(ollama.model)
    page.goto("/models/")
    page.get_by_role("button", name="Use exact words").click()
    expect(page.locator("#messages")).to_contain_text("Answers are exact words from now on.")
    asked = len(ollama.requests)
    page.goto("/")
    ask(page, QUESTION)
    expect(wait_until_done(page).locator(".quote").first).to_be_visible()
    assert len(ollama.requests) == asked


def test_each_failure_of_a_model_says_what_it_was_and_keeps_the_quotes(open_page: Open, use_model: UseModel) -> None:
    page = open_page()
    page.goto("/")
    said: dict[str, str] = {}
    for mood, words in SENTENCES.items():
        name = use_model(mood)
        ask(page, QUESTION)
        answer = wait_until_done(page)
        failure = answer.locator(".callout--bad")
        expect(failure).to_be_visible(timeout=SECONDS)
        expect(failure).to_contain_text(words)
        said[mood] = failure.locator("p").first.inner_text()
        expect(answer.locator(".quote").first).to_be_visible()
        expect(page.locator("#evidence .source").first).to_be_visible()
        expect(answer.locator(".origin__model")).to_contain_text(name)  # nobody else took its place
    assert len(set(said.values())) == len(said), said
