"""What the tests do in a thread: ask, wait, read what is on screen, and record how it came there."""

import re
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.scripted_ollama import ScriptedOllama, cited_answer

SECONDS = 60_000  # milliseconds, rather: the most that anything on a busy machine may take
LAST = "#thread > .answer:last-child"

# Every state of the thread and the evidence that a reader could have seen, at the end of each change.
_RECORD = """() => {
  window.seen = [];
  const look = () => {
    const article = document.querySelector("#thread > .answer:last-child");
    const words = article ? [...article.querySelectorAll("[data-prose] [data-text], [data-prose] .sentence__text")] : [];
    window.seen.push({
      sources: document.querySelectorAll("#evidence .source").length,
      quotes: article?.querySelectorAll(".quote").length ?? 0,
      chips: article?.querySelectorAll("[data-prose] a.chip").length ?? 0,
      text: words.map((element) => element.textContent).join(""),
    });
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One state of the page: how many sources, quotes and citations it showed, and the model's text."""

    sources: int
    quotes: int
    chips: int
    text: str


def record(page: Page) -> None:
    """Begins to record; `recorded` has what was seen since."""
    page.evaluate(_RECORD)


def recorded(page: Page) -> list[Seen]:
    states: list[dict[str, Any]] = page.evaluate("window.seen")
    return [Seen(**state) for state in states]


def ask(page: Page, question: str) -> Locator:
    """Types the question and sends it; the answer's article as soon as it is there."""
    before = page.locator("#thread > .answer").count()
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    expect(page.locator("#thread > .answer")).to_have_count(before + 1, timeout=SECONDS)
    return page.locator(LAST)


def wait_until_done(page: Page) -> Locator:
    """The last answer of the thread, once it has come to its end."""
    answer = page.locator(LAST)
    expect(answer.locator(".after")).to_be_visible(timeout=SECONDS)
    return answer


def wait_for_text(page: Page) -> None:
    """Returns when the first words of a model are on screen."""
    expect(page.locator(f"{LAST} [data-prose]")).to_have_text(re.compile(r"\w{3}"), timeout=SECONDS)


def written(answer: Locator) -> str:
    """The model's text on screen, without citations, marks and spaces."""
    return squeezed(
        "".join(answer.locator("[data-prose] [data-text], [data-prose] .sentence__text").all_text_contents())
    )


def expected(ollama: ScriptedOllama) -> str:
    """What the scripted model said to the last question, as `written` gives it."""
    return squeezed(re.sub(r"\[\d+\]", "", cited_answer(ollama.requests[-1]["messages"])))


def squeezed(text: str) -> str:
    """The text without white space."""
    return re.sub(r"\s+", "", text)
