"""Which documents a person wants asked, by their own fields: as chosen, stored and said aloud. Pure.

A condition names a field by its key, because the same field (client, date) may exist in several collections. Which fields that
comes to is decided by `rag.access` at each question.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
CONDITIONS_MOST = 20
VALUES_MOST = 50
_NAME = re.compile(r"f\.([-\w]{1,40})(?:\.(since|until))?")


@dataclass(frozen=True, slots=True)
class Condition:
    """The field `key` has one of `values`, or a date from `since` to `until` (ISO 8601, both included)."""

    key: str
    values: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


def from_form(posted: Mapping[str, Sequence[str]]) -> tuple[Condition, ...]:
    """The conditions in a posted form: `f.client` with each chosen value, `f.date.since` and `f.date.until`; in order of keys."""
    values: dict[str, list[str]] = {}
    days: dict[str, dict[str, str]] = {}
    for name, given in posted.items():
        match = _NAME.fullmatch(name)
        chosen = [value.strip()[:200] for value in given if value.strip()]
        if match is None or not chosen:
            continue
        key, bound = match.groups()
        if bound is None:
            values.setdefault(key, []).extend(chosen)
        elif DAY.fullmatch(chosen[-1]):
            days.setdefault(key, {})[bound] = chosen[-1]
    found = [
        Condition(
            key=key,
            values=tuple(dict.fromkeys(values.get(key, ())))[:VALUES_MOST],
            since=days.get(key, {}).get("since", ""),
            until=days.get(key, {}).get("until", ""),
        )
        for key in sorted(values.keys() | days.keys())
    ]
    return tuple(found[:CONDITIONS_MOST])


def to_json(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """As they are stored with a conversation and an answer."""
    return [
        {"key": each.key, "values": list(each.values), "since": each.since, "until": each.until} for each in conditions
    ]


def from_json(stored: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """What `to_json` gave."""
    return tuple(Condition(row["key"], tuple(row["values"]), row["since"], row["until"]) for row in stored)
