"""The living page that shows every part of the look in every state, with invented content."""

from dataclasses import replace
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from core.http import SignedIn
from rag.domain.highlight import mark_spans, mark_words
from rag.models.conversation import AnswerState
from rag.services.answer_view import AnswerView, Chip, QuoteView, SentenceView, SourceView

_TEXT = (
    "The monthly fee is €1,450, payable by the tenth day of the following month. It is reviewed each year in January. "
    "Invoices name the period that they are for."
)
_CHIP = Chip(1, "#", "Services agreement", "page 3", "The monthly fee is €1,450, payable by the tenth day.")
_UNSURE = "“changes” is not in the cited passage"
_WRONG = "The cited passage says the tenth."
_NONE = "No source is cited."
_SENTENCES = (
    SentenceView(0, "The monthly fee is €1,450.", paragraph=True, chips=(_CHIP,), verdict="supported", reason=""),
    SentenceView(1, "It changes every January.", paragraph=False, chips=(_CHIP,), verdict="partly", reason=_UNSURE),
    SentenceView(
        2,
        "It is due on the fifth.",
        paragraph=True,
        chips=(replace(_CHIP, repaired=True),),
        verdict="contradicted",
        reason=_WRONG,
        parts=mark_spans("It is due on the fifth.", [(17, 22)]),
        replaceable=True,
    ),
    SentenceView(3, "A deposit is asked for.", paragraph=False, chips=(), verdict="unsupported", reason=_NONE),
    SentenceView(4, "", paragraph=False, chips=(), verdict="unchecked", reason="", hidden=True),
    SentenceView(
        5,
        "Invoices name the period that they are for.",
        paragraph=True,
        chips=(_CHIP,),
        verdict="quoted",
        reason="",
        replaceable=True,
        written="Invoices name no period.",
    ),
)


def _answer(number: int) -> AnswerView:
    question = "What is the monthly fee, and when is it due?"
    source = SourceView(
        number=1,
        title="Services agreement",
        collection="Contracts",
        heading=("4. Fees",),
        page_label="page 3",
        url="#",
        parts=mark_words(_TEXT, question),
        score=0.9,
    )
    return AnswerView(
        id=UUID(int=number),
        conversation_id=UUID(int=0),
        question=question,
        state=AnswerState.FINISHED,
        is_running=False,
        quotes_only=False,
        sentences=_SENTENCES,
        quotes=(QuoteView(1, _TEXT.split(". ")[0] + ".", "#", "Services agreement", "page 3"),),
        sources=(source, SourceView(number=2, hidden=True)),
        message="",
        notice="",
        model_name="example:8b",
        took_seconds=3.2,
        created=timezone.now(),
    )


@require_GET
def components(request: SignedIn) -> HttpResponse:
    """All parts; nothing on this page is anybody's data."""
    whole = _answer(1)
    nothing = replace(whole, sentences=(), quotes=(), sources=())
    answers = [
        whole,
        replace(whole, id=UUID(int=2), quotes_only=True, model_name="", sentences=_SENTENCES[:1]),
        replace(nothing, id=UUID(int=3), state=AnswerState.REFUSED, sources=whole.sources),
        replace(nothing, id=UUID(int=4), state=AnswerState.FAILED, message="Ollama does not answer. Is it running?"),
        replace(whole, id=UUID(int=5), state=AnswerState.STOPPED, sentences=_SENTENCES[:2], notice="This is cut off."),
        replace(nothing, id=UUID(int=6), state=AnswerState.ANSWERING, is_running=True),
    ]
    return render(request, "core/components.html", {"demo": {"answers": answers}})
