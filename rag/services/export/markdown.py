"""Markdown with footnotes and a front matter that programs read. Whatever documents and models wrote is text, and nothing but."""

import json
import re

from django.utils.translation import gettext as _

from rag.services.export.pages import GENERATOR, Note, Pages, Said, Turn

# Each of these means something somewhere in a line, in CommonMark or in GitHub's dialect (tables, strikethrough, footnotes, mentions,
# formulas); a backslash makes it a character. The colon and the at sign would make a link of an address.
_MEANT = re.compile(r"[\\`*_{}\[\]<>()#|~^&!$:@]")
_WWW = re.compile(r"(?i)\bwww\.")
# At the beginning of a line: lists, and what underlines a heading.
_START = re.compile(r"^(\d{1,9})([.)])|^([-+=])")


def write(pages: Pages) -> bytes:
    """The pages as UTF-8."""
    lines = ["---", f"title: {_quoted(pages.title)}", f"date: {_quoted(pages.exported.isoformat(timespec='seconds'))}"]
    lines += [f"generator: {_quoted(GENERATOR)}", f"digital_source_type: {_quoted(pages.source_type)}"]
    lines += [
        f"note: {_quoted(pages.note)}",
        "---",
        "",
        f"# {escaped(pages.title)}",
        "",
        f"> {escaped(pages.note)}",
        "",
    ]
    for turn in pages.turns:
        lines += _turn(turn)
    return ("\n".join(lines).rstrip("\n") + "\n").encode()


def escaped(text: str) -> str:
    """A line of text that Markdown shows as it is; it must hold no line break."""
    text = _WWW.sub(lambda found: found.group()[:3] + "\\.", _MEANT.sub(r"\\\g<0>", text))
    return _START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", text)


def _quoted(text: str) -> str:
    """A YAML string: JSON's double-quoted form is one."""
    return json.dumps(text, ensure_ascii=False)


def _turn(turn: Turn) -> list[str]:
    lines = [f"## {escaped(turn.question)}", ""]
    for quote in turn.quotes:
        lines += [f"> {_said(quote)}", ""]
    for paragraph in turn.paragraphs:
        lines += [" ".join(_said(said) for said in paragraph), ""]
    for remark in turn.remarks:
        lines += [f"*{escaped(remark)}*", ""]
    lines += [f"- {escaped(name)}: {escaped(value)}" for name, value in turn.facts]
    lines += [f"- {escaped(turn.notice)}", ""]
    lines += [_note(note) for note in turn.notes]
    return [*lines, ""]


def _said(said: Said) -> str:
    marks = "".join(f"[^{note.number}]" for note in said.notes)
    remark = f" *({escaped(said.remark)})*" if said.remark else ""
    return f"{escaped(said.text)}{marks}{remark}"


def _note(note: Note) -> str:
    where = ", ".join(escaped(part) for part in (note.title, note.version, note.page) if part)
    return _("[^%(number)d]: %(where)s: “%(quote)s”") % {
        "number": note.number,
        "where": where,
        "quote": escaped(note.quote),
    }
