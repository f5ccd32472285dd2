"""A model's pieces become told events and checked sentences, as they come."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError

from rag.domain import citations, events, support
from rag.domain.proper_names import names
from rag.domain.repair import Cited, Offered, cited
from rag.domain.types import Delta, Source, StopReason
from rag.services.replay import Log
from rag.slots import entailment

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A finished sentence with the sources it cites, and what the check against them said."""

    text: str
    numbers: tuple[int, ...]
    paragraph: bool
    check: support.Support
    repaired: bool = False  # the model cited another source or none


@dataclass
class Written:
    """What has been written so far; kept whatever the ending is."""

    text: str = ""
    sentences: list[CheckedSentence] = field(default_factory=list)
    cut_off: bool = False


class Transcript:
    """Turns a model's pieces into told events and checked sentences as they come."""

    def __init__(
        self,
        sources: Sequence[Source],
        writer: Log,
        written: Written,
        timings: dict[str, float],
        *,
        question: str = "",
    ) -> None:
        self._offered = {
            source.number: Offered(source.text, "\n".join((source.title, *source.heading))) for source in sources
        }
        # Whom the question names an answer may name too; its numbers prove nothing.
        self._known = "\n".join(name.text for name in names(question))
        # The model knows the sources by their places in its prompt.
        self._numbers = {place: source.number for place, source in enumerate(sources, start=1)}
        self._scanner = citations.CitationScanner(self._numbers)
        self._builder = citations.AnswerBuilder()
        self._writer, self._written, self._timings = writer, written, timings
        self._asked = time.perf_counter()
        self._thinks = False

    async def take(self, delta: Delta) -> None:
        """The next piece."""
        if delta.thinking and not self._thinks:
            self._thinks = True
            await tell(self._writer, events.Working("thinking"))
        if delta.text:
            await self._tell(self._scanner.feed(delta.text))
        if delta.stop is StopReason.LENGTH:
            self._written.cut_off = True

    async def finish(self) -> None:
        """What the scanner and the builder still held back; the model has ended, however it did."""
        await self._tell(self._scanner.finish())
        for sentence in self._builder.finish():  # not in a thread: whoever stops it does not wait
            await self._tell_checked(sentence, self._cited(sentence))
        self._timings["model"] = since(self._asked)

    async def _tell(self, found: Sequence[events.Event]) -> None:
        for event in found:
            if isinstance(event, events.Cited):
                event = events.Cited(self._numbers[event.number])
            if isinstance(event, events.Token):
                self._timings.setdefault("model_first_token", since(self._asked))
                self._written.text += event.text
            elif isinstance(event, events.Cited):
                self._written.text += f"[{event.number}]"
            await tell(self._writer, event)
            await self._settle(self._builder.feed([event]))

    async def _settle(self, finished: Sequence[citations.AnswerSentence]) -> None:
        for sentence in finished:
            # In a thread: where a citation is to be mended, every passage is read.
            await self._tell_checked(sentence, await asyncio.to_thread(self._cited, sentence))

    def _cited(self, sentence: citations.AnswerSentence) -> Cited:
        model = entailment()
        return cited(
            sentence.text, sentence.citations, self._offered, known=self._known, judge=model.judge if model else None
        )

    async def _tell_checked(self, sentence: citations.AnswerSentence, found: Cited) -> None:
        before = self._builder.text[: sentence.start]
        paragraph = "\n" in before[len(before.rstrip()) :] or not before.strip()
        checked = CheckedSentence(sentence.text, found.numbers, paragraph, found.check, found.repaired)
        self._written.sentences.append(checked)
        await tell(self._writer, _checked(len(self._written.sentences) - 1, checked))


def _checked(ordinal: int, sentence: CheckedSentence) -> events.Checked:
    check = sentence.check
    number = 0 if check.passage is None else sentence.numbers[check.passage]
    return events.Checked(
        ordinal=ordinal,
        text=sentence.text,
        paragraph=sentence.paragraph,
        numbers=sentence.numbers,
        verdict=check.verdict.value,
        reason=check.reason,
        number=number,
        start=check.start,
        end=check.end,
        missing=check.missing,
        repaired=sentence.repaired,
    )


async def tell(writer: Log, event: events.Event) -> None:
    """Writes to the replay log; without it the answer still comes to its end, and readers see it whole then."""
    try:
        await writer.write(event)
    except RedisError as error:
        log.warning("answer.not_told", kind=event.kind, error=type(error).__name__)


def since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
