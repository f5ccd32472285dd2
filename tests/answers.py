"""An answer's page, read as a program: what it says, which passages it shows, and where its citations lead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lxml import html

_CLASS = "contains(concat(' ', normalize-space(@class), ' '), ' {} ')"


@dataclass(frozen=True, slots=True)
class Shown:
    """A citation: the number on its chip, where it leads, and the words it shows of its source."""

    number: int
    url: str
    quote: str


@dataclass(frozen=True, slots=True)
class AnswerPage:
    """`sources` are whole passages, best first; `citations` holds one list for each sentence of a model, in order."""

    refused: bool
    failure: str
    sources: Sequence[str]
    quotes: Sequence[Shown]
    sentences: Sequence[str]
    citations: Sequence[Sequence[Shown]]


def read(page: str) -> AnswerPage:
    """The only answer of the page."""
    tree = html.fromstring(page)
    (article,) = _found(tree, "//article[@data-answer]")
    sentences = [one for one in _all(article, "sentence") if one.xpath("ancestor::*[@data-prose]")]
    return AnswerPage(
        refused=bool(_all(article, "refusal")),
        failure=" ".join(one.text_content() for one in _all(article, "callout--bad")),
        sources=[_passage(item) for item in _all(tree, "source")],
        quotes=[_quote(figure) for figure in _all(article, "quote")],
        sentences=[_text(one, "sentence__text") for one in sentences],
        citations=[[_chip(cite) for cite in _all(one, "cite")] for one in sentences],
    )


def marked(page: str) -> str:
    """The marked words of a viewer's page."""
    return "".join(str(mark.text_content()) for mark in _found(html.fromstring(page), "//article//mark"))


def _all(element: html.HtmlElement, name: str) -> list[html.HtmlElement]:
    return _found(element, f".//*[{_CLASS.format(name)}]")


def _found(element: html.HtmlElement, path: str) -> list[html.HtmlElement]:
    """The elements at `path`, which names nothing else."""
    found: Any = element.xpath(path)
    return list(found)


def _text(element: html.HtmlElement, name: str) -> str:
    found: str = _all(element, name)[0].text_content()
    return found


def _passage(item: html.HtmlElement) -> str:
    """All of the passage: behind "Whole passage" where an excerpt is shown first."""
    return str(_all(item, "words")[-1].text_content())


def _quote(figure: html.HtmlElement) -> Shown:
    (chip,) = _all(figure, "chip")
    return Shown(int(chip.get("data-source-number")), chip.get("href"), _text(figure, "quote__text"))


def _chip(cite: html.HtmlElement) -> Shown:
    (chip,) = _all(cite, "chip")
    return Shown(int(chip.get("data-source-number")), chip.get("href"), _text(cite, "card__quote"))
