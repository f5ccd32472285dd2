"""What the templates compute for themselves: icons, excerpts, which sources an answer cites. No database is read."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language_info, ngettext
from django.utils.translation import gettext as _

from rag.models.conversation import AnswerState, FeedbackKind

register = template.Library()

BEFORE_MARK = 100  # characters shown before the first marked word: about two lines of the evidence panel
BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
SECTIONS = {
    **dict.fromkeys(("ask", "conversation", "conversations", "conversation_share", "shared", "answer"), "ask"),
    **dict.fromkeys(("collections", "collection", "collection_delete", "collection_act"), "collections"),
    **dict.fromkeys(("import", "uploads_waiting", "document", "document_delete", "page"), "collections"),
    **dict.fromkeys(("reviews", "fields", "fields_set", "fields_csv", "field_delete"), "collections"),
    **dict.fromkeys(("document_fields", "document_validity", "readings", "reading"), "collections"),
    **dict.fromkeys(("people", "user_create", "team_create"), "people"),
    "models": "models",
    "search": "search",
}
EXCERPT = 300  # characters shown of a passage until the reader asks for the rest: about six lines


def _value(thing: Any, name: str) -> Any:
    """A field of a dataclass or a key of a dict, as templates do; AttributeError or KeyError if it is missing."""
    return thing[name] if isinstance(thing, Mapping) else getattr(thing, name)


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """The drawing `name` of static/icons.svg, silent for screen readers: the words stand beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        extra,
        static("icons.svg"),
        name,
    )


@register.filter
def cited(answer: Any) -> frozenset[int]:
    """The numbers of the sources that the visible text and the quotes of an answer point to."""
    numbers = {_value(quote, "number") for quote in _value(answer, "quotes")}
    for sentence in _value(answer, "sentences"):
        if not _value(sentence, "hidden"):
            numbers.update(_value(chip, "number") for chip in _value(sentence, "chips"))
    return frozenset(numbers)


@register.filter
def verdicts(answer: Any) -> list[dict[str, str]]:
    """How many sentences carry which verdict, in words, the worst first; unchecked sentences are left out."""
    counts = dict.fromkeys(("contradicted", "unsupported", "partly", "supported"), 0)
    for sentence in _value(answer, "sentences"):
        verdict = str(_value(sentence, "verdict"))
        verdict = "supported" if verdict == "quoted" else verdict  # the passage's own words took its place
        if verdict in counts and not _value(sentence, "hidden"):
            counts[verdict] += 1
    words = {
        "contradicted": ngettext("%d sentence contradicted", "%d sentences contradicted", counts["contradicted"]),
        "unsupported": ngettext(
            "%d sentence not found in its source", "%d sentences not found in their sources", counts["unsupported"]
        ),
        "partly": ngettext("%d sentence partly supported", "%d sentences partly supported", counts["partly"]),
        "supported": ngettext(
            "%d sentence supported by its source", "%d sentences supported by their sources", counts["supported"]
        ),
    }
    return [{"verdict": name, "label": words[name] % count} for name, count in counts.items() if count]


@register.filter
def replaceable(answer: Any) -> bool:
    """Whether its reader may put a passage's own words in the place of one of its sentences, or take them back."""
    return any(_value(sentence, "replaceable") for sentence in _value(answer, "sentences"))


@register.filter
def excerpt(parts: Iterable[Any], begins: int = 0) -> list[dict[str, Any]]:
    """The window of a passage with most of its marked words, cut at spaces, with an ellipsis where words are left out; the one
    from the character `begins` on, where no other has more of them."""
    parts = list(parts)
    whole = "".join(str(_value(part, "text")) for part in parts)
    marks: list[tuple[int, int]] = []
    position = 0
    for part in parts:
        length = len(_value(part, "text"))
        if _value(part, "mark"):
            marks.append((position, position + length))
        position += length
    start, end = _window(whole, marks, begins)
    shown: list[dict[str, Any]] = []
    position = 0
    for part in parts:
        text = str(_value(part, "text"))
        piece = text[max(0, start - position) : max(0, end - position)]
        position += len(text)
        if piece:
            shown.append({"text": piece, "mark": bool(_value(part, "mark"))})
    before = [{"text": "… ", "mark": False}] if start else []
    after = [{"text": " …", "mark": False}] if end < len(whole) else []
    return before + shown + after


def _window(whole: str, marks: list[tuple[int, int]], begins: int) -> tuple[int, int]:
    """Where the excerpt of `whole` starts and ends; the first of several windows with as many marked characters wins."""
    if len(whole) <= EXCERPT:
        return 0, len(whole)
    wanted = [begins, *(start - BEFORE_MARK for start, _end in marks)]
    starts = [min(max(0, start), len(whole) - EXCERPT) for start in wanted]
    gains = [sum(max(0, min(end, at + EXCERPT) - max(start, at)) for start, end in marks) for at in starts]
    start = starts[gains.index(max(gains))]
    if start > 0 and not whole[start - 1].isspace():
        start = whole.find(" ", start) + 1
    end = min(start + EXCERPT, len(whole))
    if end < len(whole):
        end = max(whole.rfind(" ", start, end), start + 1)
    return start, end


@register.filter
def is_excerpt(parts: Iterable[Any]) -> bool:
    """Whether `excerpt` leaves some of this passage out."""
    return sum(len(str(_value(part, "text"))) for part in parts) > EXCERPT


@register.filter
def language(code: str) -> str:
    """The language's name, or its code where Django knows none."""
    try:
        return _(str(get_language_info(code)["name"]))
    except KeyError:
        return code


@register.filter
def dated(facets: Iterable[Any]) -> bool:
    """Whether one of these filters has a day to begin or to end with."""
    return any(facet.since or facet.until for facet in facets)


@register.filter
def asked_of(collections: Iterable[Any]) -> str:
    """Which collections a question will be asked of, in a few words: "All collections", "Policies", "2 collections"."""
    collections = list(collections)
    chosen = [collection for collection in collections if _value(collection, "selected")]
    if not collections:
        return _("No collections")
    if len(chosen) == len(collections):
        return str(_value(chosen[0], "name")) if len(chosen) == 1 else _("All collections")
    if len(chosen) == 1:
        return str(_value(chosen[0], "name"))
    if not chosen:
        return _("Choose collections")
    return ngettext("%d collection", "%d collections", len(chosen)) % len(chosen)


@register.filter
def why_nots(answer: Any) -> list[tuple[str, str]]:
    """What may have been wrong with the answer, in words: that the documents do answer it is asked of refusals alone."""
    refused = _value(answer, "state") == AnswerState.REFUSED
    kinds = [FeedbackKind.REFUSED, FeedbackKind.SOURCES, FeedbackKind.OTHER] if refused else list(FeedbackKind)
    return [(kind.value, str(kind.label)) for kind in kinds if refused or kind is not FeedbackKind.REFUSED]


@register.filter
def duration(milliseconds: float) -> str:
    """A time for people: "84 ms", "2.4 s"."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


@register.filter
def longest(timings: Iterable[tuple[str, float]]) -> int:
    """The longest of these (stage, milliseconds), at least 1: the full width of a bar."""
    return max([1, *(round(milliseconds) for _stage, milliseconds in timings)])


@register.filter
def words(text: str) -> list[str]:
    """The words of `text`, for loops over a few fixed names."""
    return text.split()


@register.filter
def blocks(parts: Iterable[Any]) -> list[dict[str, Any]]:
    """A page's text as headings and paragraphs to be shown, each with its marked and unmarked pieces.

    `heading` is 0 for a paragraph, else the level for HTML, from 2: the page's own title is the first.
    """
    found: list[dict[str, Any]] = []
    fresh = True
    for part in parts:
        level, mark = int(_value(part, "heading")), bool(_value(part, "mark"))
        heading = min(level + 1, 6) if level else 0
        for number, text in enumerate(BLANK_LINE.split(str(_value(part, "text")))):
            fresh = fresh or number > 0
            if not text.strip():
                continue
            if fresh or found[-1]["heading"] != heading:
                found.append({"heading": heading, "parts": []})
            found[-1]["parts"].append({"text": text, "mark": mark})
            fresh = False
    return found


@register.simple_tag(takes_context=True)
def section(context: template.Context) -> str:
    """The part of the site that the current address belongs to, for the navigation; "" for none."""
    match = getattr(context.get("request"), "resolver_match", None)
    return SECTIONS.get(match.url_name, "") if match is not None else ""
