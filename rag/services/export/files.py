"""An export as a file to hand out, written and audited in one go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.utils.text import slugify

from core import audit
from core.models import User
from rag.models import Answer, Conversation
from rag.services.export.pages import Pages, of_answers, of_branch


@dataclass(frozen=True, slots=True)
class Export:
    """A file: the name it is offered under, its media type, its bytes."""

    name: str
    media_type: str
    data: bytes


def _markdown(pages: Pages) -> bytes:
    from rag.services.export import markdown

    return markdown.write(pages)


def _word(pages: Pages) -> bytes:
    from rag.services.export import word

    return word.write(pages)


def _pdf(pages: Pages) -> bytes:
    from rag.services.export import pdf

    return pdf.write(pages)


# By the word in the address: the file's ending, its media type, and who writes it. Word and PDF bring libraries that a web process
# needs for this alone, so each is imported when it is first asked for.
FORMATS: Mapping[str, tuple[str, str, Callable[[Pages], bytes]]] = {
    "markdown": ("md", "text/markdown; charset=utf-8", _markdown),
    "word": ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", _word),
    "pdf": ("pdf", "application/pdf", _pdf),
}


@transaction.atomic
def export_answer(reader: User, answer: Answer, form: str) -> Export:
    """One answer as `reader` may see it now, in one of FORMATS. The caller has checked that it is theirs."""
    audit.record("answer.exported", actor=reader, subject=answer, format=form)
    return _export(of_answers(answer.question, [answer], reader), form)


@transaction.atomic
def export_branch(reader: User, conversation: Conversation, branch: list[UUID], form: str) -> Export:
    """A branch of a conversation, likewise."""
    audit.record("conversation.exported", actor=reader, subject=conversation, answers=len(branch), format=form)
    return _export(of_branch(conversation, branch, reader), form)


def _export(pages: Pages, form: str) -> Export:
    ending, media_type, write = FORMATS[form]
    name = slugify(pages.title)[:60].strip("-") or "answer"
    return Export(f"{name}.{ending}", media_type, write(pages))
