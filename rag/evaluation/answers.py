"""Measures what becomes of questions: refused or answered, whether the quotes hold the right answer, whether what is cited carries it.

Every question goes the way of a reader's: `services.retrieve.search`, `services.quoting`, and where a language model is named its
prompt, its stream and the check of each sentence. Only the replay log and the database's copy of the answer are left out.
"""

import asyncio
import string
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from asgiref.sync import async_to_sync

from rag.access import scope_for
from rag.backends.llms.base import LLM
from rag.config import rag_config
from rag.domain import prompting, support
from rag.domain.errors import RagError
from rag.domain.events import Event
from rag.domain.extracts import Quote
from rag.domain.followups import Turn
from rag.domain.metrics import interval
from rag.domain.thresholds import Estimate, Separation, separation
from rag.domain.types import Scope, Source
from rag.evaluation import datasets
from rag.evaluation.filling import VectorCache, as_given, fill
from rag.evaluation.kept import manager_of
from rag.models import Chunk, Collection
from rag.services import kept_questions, language_models, quoting, retrieve, thresholds
from rag.services.replay import Log
from rag.services.transcript import CheckedSentence, Transcript, Written, since

Told = Callable[[str], None]

# Where a right answer is looked for, widest last.
PLACES = ("first quote", "three quotes", "first five sources", "all sources")
_LEFT_OUT = str.maketrans(dict.fromkeys(string.punctuation + "–—’‘“”„", " "))
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: whether something answers it (None: not known), and right answers in words, where there are any."""

    id: str
    text: str
    answerable: bool | None
    answers: tuple[str, ...] = ()
    kind: str = ""
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question. `held` says in which of `PLACES` a right answer stands; it is empty where none is known.

    `sentences` are the answer's with what the check said; `problem` is why a model gave none.
    """

    question: Asked
    score: float
    refused: bool
    held: dict[str, bool]
    sentences: tuple["Sentence", ...]
    timings: dict[str, float]
    declined: bool = False  # the model itself said that the documents do not answer
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer: how many sources it cites, how many of these alone carry it, and what the check of all said."""

    text: str
    cited: int
    carrying: int
    verdict: str


@dataclass(frozen=True)
class Answers:
    """One set, asked. `model` is "" where answers are quotes."""

    name: str
    passages: int
    outcomes: tuple[Outcome, ...]
    model: str = ""

    def scores(self, *, answerable: bool) -> list[float]:
        """The evidence of the questions that are answerable, or of those that are not."""
        return [each.score for each in self.outcomes if each.question.answerable is answerable]

    @cached_property
    def separation(self) -> Separation | None:
        """How well the evidence tells the two kinds apart; None where one of them is missing."""
        kinds = self.scores(answerable=True), self.scores(answerable=False)
        return separation(*kinds) if all(kinds) else None

    def refused(self, *, answerable: bool) -> Estimate | None:
        """The share of one kind that was refused, by the threshold in force or by the model itself; None where there is none."""
        those = [each for each in self.outcomes if each.question.answerable is answerable and not each.problem]
        return _share([each.refused or each.declined for each in those])

    def holding(self, kind: str) -> dict[str, Estimate]:
        """For each of `PLACES` the share of this kind of question of which it holds a right answer, refused or not."""
        those = [each.held for each in self.outcomes if each.question.kind == kind and each.held]
        shares = {place: _share([held[place] for held in those]) for place in PLACES}
        return {place: share for place, share in shares.items() if share is not None}

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of questions of which right answers are known, in their order."""
        return list(dict.fromkeys(each.question.kind for each in self.outcomes if each.held))

    @cached_property
    def sentences(self) -> list[Sentence]:
        """All sentences that were shown as an answer."""
        return [
            sentence for each in self.outcomes if not (each.refused or each.declined) for sentence in each.sentences
        ]

    @cached_property
    def citation_precision(self) -> Estimate | None:
        """Of the citations, those whose passage carries their sentence by itself."""
        return _share([place < sentence.carrying for sentence in self.sentences for place in range(sentence.cited)])

    @cached_property
    def citation_recall(self) -> Estimate | None:
        """Of the sentences, those that their citations carry together."""
        return _share([sentence.verdict == support.Verdict.SUPPORTED for sentence in self.sentences])

    @cached_property
    def unsupported(self) -> Estimate | None:
        """Of the answers, those with a sentence that its citations contradict or do not carry at all, or that cites nothing."""
        bad = {support.Verdict.UNSUPPORTED, support.Verdict.CONTRADICTED}
        shown = [each for each in self.outcomes if each.sentences and not (each.refused or each.declined)]
        return _share([any(s.verdict in bad or not s.cited for s in each.sentences) for each in shown])

    @cached_property
    def timings(self) -> dict[str, tuple[float, float]]:
        """Half of the questions, and 95 of 100, needed at most so many milliseconds, by step."""
        steps = dict.fromkeys(step for each in self.outcomes for step in each.timings)
        columns = {step: [each.timings[step] for each in self.outcomes if step in each.timings] for step in steps}
        return {step: (float(np.percentile(c, 50)), float(np.percentile(c, 95))) for step, c in columns.items()}


def _share(found: Sequence[bool]) -> Estimate | None:
    if not found:
        return None
    values = [float(each) for each in found]
    return Estimate(float(np.mean(values)), *interval(values))


# --- Asking


def ask(questions: Sequence[Asked], scope: Scope, *, model: LLM | None, told: Told) -> tuple[Outcome, ...]:
    """What became of each question under `scope`: answered by `model`, or by quotes."""
    if questions:
        _outcome(
            questions[0], scope, None
        )  # opens the indexes and loads the weights: nobody is to be charged with that
    found = []
    for number, question in enumerate(questions, start=1):
        found.append(_outcome(question, scope, model))
        told(f"{number} of {len(questions)} asked")
    return tuple(found)


def _outcome(question: Asked, scope: Scope, model: LLM | None) -> Outcome:
    timings: dict[str, float] = {}
    started = time.perf_counter()
    found = retrieve.search(question.text, scope, turns=question.turns)
    timings["sources"] = since(started)
    chosen = quoting.quoted(found.standalone, found.sources)
    timings["quotes"] = since(started)
    refused = chosen.likelihood < thresholds.threshold_for(found.sources)
    texts = {source.number: source.text for source in found.sources}
    written, problem = Written(), ""
    if not refused and model is None:
        for quote in chosen.quotes:
            check = support.check(quote.text, [texts[quote.number]])
            written.sentences.append(CheckedSentence(quote.text, (quote.number,), paragraph=True, check=check))
    elif not refused and model is not None:
        try:
            async_to_sync(_write)(model, found, written, timings)
        except RagError as error:
            problem = error.message
    return Outcome(
        question,
        score=chosen.likelihood,
        refused=refused,
        held=_held(question.answers, found.sources, chosen.quotes),
        sentences=tuple(_sentence(sentence, texts) for sentence in written.sentences),
        timings=timings,
        declined=prompting.is_refusal(written.text),
        problem=problem,
    )


class _Unheard(Log):
    """A replay log that nobody follows."""

    def __init__(self) -> None:
        pass

    async def write(self, event: Event) -> None:
        """Forgets the event."""


async def _write(model: LLM, found: retrieve.Retrieved, written: Written, timings: dict[str, float]) -> None:
    """The model's answer, sentence by sentence, as a reader's would be written and checked."""
    prompt = await asyncio.to_thread(
        prompting.build_prompt,
        found.standalone,
        found.sources,
        (),
        context_tokens=model.context_tokens,
        answer_tokens=rag_config().answer_tokens,
        count_tokens=model.count_tokens,
        profile=language_models.profile(model),
    )
    transcript = Transcript(prompt.sources, _Unheard(), written, timings, question=found.standalone)
    stream = model.stream(prompt, max_tokens=rag_config().answer_tokens)
    try:
        async for delta in stream:
            await transcript.take(delta)
    finally:
        await stream.aclose()
        await transcript.finish()


def _sentence(sentence: CheckedSentence, texts: Mapping[int, str]) -> Sentence:
    alone = [support.check(sentence.text, [texts[number]]).verdict for number in sentence.numbers]
    carrying = sum(verdict is support.Verdict.SUPPORTED for verdict in alone)
    return Sentence(sentence.text, len(alone), carrying, sentence.check.verdict)


def _held(answers: Sequence[str], sources: Sequence[Source], quotes: Sequence[Quote]) -> dict[str, bool]:
    """In which of `PLACES` one of the answers stands, word for word but for case, marks and articles; nothing without answers."""
    if not answers:
        return {}
    wanted = [_plain(answer) for answer in answers]
    places: tuple[Sequence[Quote | Source], ...] = (quotes[:1], quotes, sources[: quoting.PASSAGES], sources)
    return {
        name: any(answer in _plain(each.text) for each in place for answer in wanted)
        for name, place in zip(PLACES, places, strict=True)
    }


def _plain(text: str) -> str:
    words = text.casefold().translate(_LEFT_OUT).split()
    return f" {' '.join(word for word in words if word not in _ARTICLES)} "


# --- What is measured


def measure_set(
    dataset: datasets.Dataset, *, cache: VectorCache, told: Told, model: LLM | None = None, most: int | None = None
) -> Answers:
    """A public set, its passages as given, of whose questions at most `most` of each kind are asked, evenly taken. Belongs into a
    temporary installation. Questions of which the set does not say whether anything answers them are left out."""
    filled = fill(
        as_given(dataset.corpus),
        name=dataset.name,
        vectors=cache,
        told=lambda done, of: told(f"{dataset.name}: {done} of {of} passages embedded"),
    )
    questions = [_asked(question) for question in dataset.questions if question.answerable is not None]
    if most is not None:
        kinds = dict.fromkeys((question.kind, question.answerable) for question in questions)
        questions = [
            each for kind in kinds for each in _spread([q for q in questions if (q.kind, q.answerable) == kind], most)
        ]
    outcomes = ask(questions, filled.scope, model=model, told=lambda text: told(f"{dataset.name}: {text}"))
    return Answers(dataset.name, len(dataset.corpus), outcomes, model.name if model else "")


def _spread(questions: Sequence[Asked], most: int) -> list[Asked]:
    step = max(1, -(-len(questions) // most))
    return list(questions[::step])


def _asked(question: datasets.Question) -> Asked:
    turns = tuple(Turn(*turn) for turn in question.history)
    return Asked(question.id, question.text, question.answerable, question.answers, question.kind, turns)


def measure_collection(collection: Collection, *, told: Told, model: LLM | None = None) -> Answers:
    """A collection on its kept questions, where it is, as one who manages it finds. Raises ValueError with a sentence where there
    is nothing to measure."""
    scope = scope_for(manager_of(collection), asked=[collection.pk])
    answerable = [
        Asked(str(each.id), each.text, answerable=True) for each in kept_questions.judged(collection.pk, scope)
    ]
    others = [Asked(text, text, answerable=False) for text in kept_questions.unanswered(collection.pk)]
    if not answerable and not others:
        raise ValueError(f"{collection.name} has no kept questions.")
    passages = Chunk.objects.visible_to(scope).count()
    return Answers(
        collection.name,
        passages,
        ask([*answerable, *others], scope, model=model, told=told),
        model.name if model else "",
    )


def as_lines(answers: Answers) -> Iterator[dict[str, Any]]:
    """A line for each question: its evidence, what became of it, and the milliseconds."""
    for each in answers.outcomes:
        yield {
            "set": answers.name,
            "question": each.question.id,
            "answerable": each.question.answerable,
            "likelihood": round(each.score, 5),
            "refused": each.refused,
            "declined": each.declined,
            "held": each.held,
            "sentences": [[s.text, s.cited, s.carrying, str(s.verdict)] for s in each.sentences],
            "problem": each.problem,
            "milliseconds": each.timings,
        }
