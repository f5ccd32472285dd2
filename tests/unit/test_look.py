"""The stylesheet, the script and the template filters: colours that can be read, nothing inline, no word lost."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.template.loader import get_template
from hypothesis import given
from hypothesis import strategies as st

from rag.templatetags import footnote

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
CSS = (ROOT / "static" / "app.css").read_text()
TOKENS = dict(re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}, #[0-9a-f]{6})\)", CSS))
PLAIN_TOKENS = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", CSS))
GROUNDS = ("paper", "sunk", "surface")
SCRIPT_MOST = 40 * 1024


@dataclass(frozen=True)
class Part:
    text: str
    mark: bool
    heading: int = 0


def _colour(name: str, theme: int) -> tuple[int, int, int]:
    text = TOKENS[name].split(", ")[theme] if name in TOKENS else PLAIN_TOKENS[name]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str, theme: int) -> float:
    """The contrast ratio of two tokens in the light (0) or dark (1) theme."""
    lights = sorted((_luminance(_colour(one, theme)), _luminance(_colour(other, theme))), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


TEXT_ON_GROUND = [
    (text, ground) for text in ("ink", "ink-2", "ink-3", "accent", "ok", "warn", "bad") for ground in GROUNDS
]
TEXT_ON_COLOUR = [
    ("accent", "accent-soft"),
    ("ink", "accent-soft"),
    ("ok", "ok-soft"),
    ("warn", "warn-soft"),
    ("bad", "bad-soft"),
    ("ink", "bad-soft"),
    ("on-mark", "mark"),
    ("on-mark", "mark-lit"),
    ("on-fill", "accent-fill"),
    ("on-fill", "accent-fill-hover"),
    ("on-fill", "bad-fill"),
    ("ink-2", "line"),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND + TEXT_ON_COLOUR)
def test_text_has_the_contrast_that_wcag_asks_for(text: str, ground: str, theme: int) -> None:
    assert contrast(text, ground, theme) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", GROUNDS)
def test_the_edge_of_a_field_can_be_seen(ground: str, theme: int) -> None:
    assert contrast("control", ground, theme) >= 3


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_template_compiles_and_has_nothing_that_the_content_policy_forbids(path: Path) -> None:
    get_template(str(path.relative_to(ROOT / "templates")))
    text = path.read_text()
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\bsrc=)|javascript:|data:|hx-on|https?://", text)


def test_the_script_stays_small_and_stores_nothing() -> None:
    script = (ROOT / "static" / "app.js").read_text()
    assert len(script.encode()) <= SCRIPT_MOST
    # htmx leaves an address in the session's storage; the script takes it out again.
    script = script.replace("sessionStorage.removeItem(", "")
    assert not re.search(r"localStorage|sessionStorage|indexedDB|\beval\(|new Function|https?://", script)


def test_every_icon_that_a_template_asks_for_is_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="(\w+)"', (ROOT / "static" / "icons.svg").read_text()))
    asked = {name for path in TEMPLATES for name in re.findall(r'{% icon "(\w+)"', path.read_text())}
    assert asked <= drawn


def test_every_colour_that_the_stylesheet_uses_is_defined() -> None:
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) <= set(re.findall(r"^\s*--([\w-]+):", CSS, re.MULTILINE))


def test_an_excerpt_shows_where_most_words_are_marked() -> None:
    parts = [
        Part("fee", True),
        Part(" word" * 200 + " ", False),
        Part("the monthly fee", True),
        Part(" word" * 200, False),
    ]
    shown = footnote.excerpt(parts)
    assert [part["text"] for part in shown if part["mark"]] == ["the monthly fee"]
    assert (shown[0]["text"], shown[-1]["text"]) == ("… ", " …")


def test_an_excerpt_without_marks_begins_where_the_passage_was_found() -> None:
    before = "Read around it. " * 40
    shown = footnote.excerpt([Part(f"{before}Found here. {before}", False)], len(before))
    assert shown[0]["text"] == "… "
    assert shown[1]["text"].startswith("Found here. ")


def test_a_short_passage_is_shown_whole() -> None:
    parts = [Part("Leave is ", False), Part("28 days", True)]
    assert footnote.excerpt(parts) == [{"text": "Leave is ", "mark": False}, {"text": "28 days", "mark": True}]
    assert not footnote.is_excerpt(parts)


PARTS = st.lists(st.builds(Part, st.text("ab \n.é", max_size=300), st.booleans(), st.integers(0, 6)), max_size=12)


@given(PARTS)
def test_an_excerpt_is_a_stretch_of_the_passage_as_it_stands(parts: list[Part]) -> None:
    whole = "".join(part.text for part in parts)
    shown = [part["text"] for part in footnote.excerpt(parts)]
    if shown and shown[0] == "… ":
        shown.pop(0)
    if shown and shown[-1] == " …":
        shown.pop()
    assert "".join(shown) in whole
    assert len("".join(shown)) <= footnote.EXCERPT


@given(PARTS)
def test_no_word_of_a_page_is_lost_between_its_paragraphs(parts: list[Part]) -> None:
    found = footnote.blocks(parts)
    shown = "".join(piece["text"] for block in found for piece in block["parts"])
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", "".join(part.text for part in parts))
    assert all(block["heading"] == 0 or 2 <= block["heading"] <= 6 for block in found)


def test_a_mark_that_runs_over_a_blank_line_stays_marked_on_both_sides() -> None:
    found = footnote.blocks([Part("Before. ", False), Part("One.\n\nTwo.", True), Part(" After.", False)])
    assert [[(piece["text"], piece["mark"]) for piece in block["parts"]] for block in found] == [
        [("Before. ", False), ("One.", True)],
        [("Two.", True), (" After.", False)],
    ]


def test_a_hidden_sentence_cites_nothing() -> None:
    answer = {
        "quotes": [{"number": 3}],
        "sentences": [
            {"hidden": False, "chips": [{"number": 1}], "verdict": "supported"},
            {"hidden": True, "chips": [{"number": 2}], "verdict": "contradicted"},
        ],
    }
    assert footnote.cited(answer) == {1, 3}
    assert [entry["verdict"] for entry in footnote.verdicts(answer)] == ["supported"]
