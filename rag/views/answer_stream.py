"""A running answer as server-sent events: pieces of the page, rendered as this reader may see them now."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.db import in_db
from core.http import SSE_COMMENT, SignedIn, sse
from rag.access import answer_for
from rag.domain import events
from rag.services import answer_view, answering, turns
from rag.services.answer_view import AnswerView, LiveSources


async def pieces(request: SignedIn, answer_id: UUID, *, after: str) -> AsyncIterator[str]:
    """The stream's text. Without `after`, the answer so far comes first, so that a new connection needs nothing from the old.

    Named events: snapshot, evidence, quotes, text, chip, sentence, status, done. Ends after `done`.
    """
    page = _Page(request, answer_id)
    if not after:
        yield sse("snapshot", await page.part("answer_body"))
        yield sse("evidence", await page.part("evidence"))
    async for entry in answering.follow(answer_id, after=after):
        if entry is None:
            yield SSE_COMMENT
            continue
        entry_id, event = entry
        if isinstance(event, events.LAST):
            break
        for name, data in await page.rendered(event):
            yield sse(name, data, event_id=entry_id)
    yield sse("evidence", await page.part("evidence"))
    yield sse("done", await page.part("answer_body"))


_PARTS = {
    "answer_body": "rag/article.html#body",
    "evidence": "rag/evidence.html",
    "quotes": "rag/sentence.html#quotes",
    "chip": "rag/sentence.html#chip",
    "sentence": "rag/sentence.html#sentence",
}


_AT_WORK = {
    "loading": gettext_lazy("The model is being loaded into memory; that takes a while the first time …"),
    "thinking": gettext_lazy("The model is thinking; its answer follows …"),
}


class _Page:
    """Renders what the stream shows. Sources are read from the database once, when they are first needed."""

    def __init__(self, request: SignedIn, answer_id: UUID) -> None:
        self._request, self._answer_id = request, answer_id
        self._sources: LiveSources | None = None
        self._pending = ""  # text since the last settled sentence
        self._queued = events.Queued(position=0)  # its place, as told last

    async def part(self, name: str) -> str:
        """A part of the Ask page for the answer as it is stored now; access is checked again each time."""
        return await in_db(self._render, name)

    def _render(self, name: str) -> str:
        answer = answer_for(self._request.user, self._answer_id)
        view: AnswerView = answer_view.view_of(answer, self._request.user)
        return self._template(name, {"answer": view, "conversation": answer.conversation})

    def _template(self, name: str, context: Mapping[str, Any]) -> str:
        return render_to_string(_PARTS[name], dict(context), request=self._request)

    async def rendered(self, event: events.Event) -> list[tuple[str, str]]:
        """The named pieces that an event becomes."""
        match event:
            case events.Queued():
                self._queued = event
                return [("status", escape(turns.in_words(event)))]
            case events.Working(step=step):
                return [("status", escape(_AT_WORK[step]))]
            case events.Sources():
                return [
                    ("evidence", await self.part("evidence")),
                    ("status", escape(_("Choosing the best sentences …"))),
                ]
            case events.Extract():
                status = escape(turns.in_words(self._queued))
                quotes, evidence = await self.part("quotes"), await self.part("evidence")
                return [("quotes", quotes), ("evidence", evidence), ("status", status)]
            case events.Token(text=text):
                self._pending += text
                return [("text", escape(text))]
            case events.Cited(number=number):
                sources = await self._live()
                return [("chip", self._template("chip", {"chip": chip})) for chip in sources.chips((number,))]
            case events.Checked():
                return await self._settled(event)
        return []

    async def _settled(self, event: events.Checked) -> list[tuple[str, str]]:
        """The finished sentence, and again what was written after it: it takes the place of the whole piece."""
        sources = await self._live()
        found = [("sentence", self._template("sentence", {"sentence": sources.sentence(event)}))]
        at = self._pending.find(event.text)
        self._pending = self._pending[at + len(event.text) :] if at >= 0 else ""
        if self._pending.strip():
            found.append(("text", escape(self._pending)))
        return found

    async def _live(self) -> LiveSources:
        if self._sources is None:
            self._sources = await in_db(answer_view.live_sources, self._answer_id, self._request.user)
        return self._sources
