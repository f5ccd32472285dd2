"""Questions that their askers let a collection keep: from an answer they found good, or from a citation that answers them.

Why a consent for each: a question is private (`Conversation`), and keeping it shows it to whoever manages the collection.
Nothing is kept by thumbs alone or by opening a page.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from core import audit
from core.models import User
from rag.access import Need, document_for
from rag.domain.errors import Permanent
from rag.domain.places import Stretch
from rag.models import Answer, Collection, Extraction, Feedback, JudgedPlace, KeptQuestion, Revision
from rag.models.ranking import QuestionOrigin
from rag.services import answer_view, kept_questions

_Place = tuple[UUID, str]  # a document and words of it


@transaction.atomic
def keep(actor: User, answer: Answer) -> int:
    """Keeps the question of an answer with a thumb up, in each collection that it cites; in how many that is.

    Its places are the cited words that the asker can see. Raises Permanent when there are none, or no thumb.
    """
    if not Feedback.objects.filter(answer=answer, helpful=True).exists():
        raise Permanent(_("Only a question whose answer was good can be kept."))
    view = answer_view.view_of(answer, actor)
    cited = {(quote.number, quote.text) for quote in view.quotes}
    cited |= {(chip.number, chip.quote) for sentence in view.sentences for chip in sentence.chips}
    # A file of the conversation alone teaches nobody else anything.
    shared = answer.sources.filter(document__collection__private=False)
    documents = dict(shared.values_list("number", "document_id"))
    places = [(documents[number], words) for number, words in sorted(cited) if number in documents]
    if not places:
        raise Permanent(_("This answer cites nothing, so there is nothing to learn from it."))
    return _kept(actor, answer, QuestionOrigin.THUMBS_UP, places)


@transaction.atomic
def keep_opened(actor: User, answer: Answer, document_id: UUID, stretch: Stretch) -> None:
    """Keeps the question with the passage that its asker opened and says that it answers; the document must be cited there.

    Raises Http404 for a document that they may not read, Permanent when the answer does not offer it.
    """
    source = answer.sources.filter(document_id=document_id).select_related("extraction").first()
    document = document_for(actor, document_id, need=Need.READ)
    words = _words(source.extraction, stretch) if source is not None and source.extraction is not None else ""
    if not words:
        raise Permanent(_("This passage is none of the answer's."))
    _kept(actor, answer, QuestionOrigin.OPENED, [(document.pk, words)])


def _words(extraction: Extraction, stretch: Stretch) -> str:
    rows = extraction.pages.filter(place__range=(stretch.first.page, stretch.last.page)).order_by("place")
    cut = []
    for place, text in rows.values_list("place", "text"):
        span = stretch.on(place, len(text))
        cut.append(text[slice(*span)] if span else "")
    return "\n".join(cut)[: kept_questions.QUOTE_MOST].strip()


def _kept(actor: User, answer: Answer, origin: QuestionOrigin, places: Iterable[_Place]) -> int:
    by_collection: defaultdict[Collection, list[_Place]] = defaultdict(list)
    for document_id, words in places:
        by_collection[document_for(actor, document_id, need=Need.READ).collection].append((document_id, words))
    text = answer.standalone or answer.question
    for collection, own in by_collection.items():
        question, is_new = KeptQuestion.objects.get_or_create(
            collection=collection, answer=answer, origin=origin, defaults={"text": text, "keeper": actor}
        )
        known = set(question.places.values_list("document_id", "quote"))
        JudgedPlace.objects.bulk_create(
            JudgedPlace(question=question, document_id=document_id, quote=words)
            for document_id, words in own
            if (document_id, words) not in known
        )
        if is_new:
            audit.record("question.kept", actor=actor, subject=collection, origin=str(origin))
    return len(by_collection)


@transaction.atomic
def take_back(actor: User, answer: Answer) -> None:
    """Nobody is shown the question any more, and nothing learns from it again."""
    for question in KeptQuestion.objects.filter(answer=answer).select_related("collection"):
        audit.record("question.taken_back", actor=actor, subject=question.collection)
        question.delete()


@dataclass(frozen=True, slots=True)
class Offer:
    """What the page of an opened passage asks of its reader: whether it answers their question and both may be kept."""

    url: str
    passage: str
    question: str
    kept: bool


def offer(answer: Answer, revision: Revision, passage: str) -> Offer | None:
    """The offer for a passage of this revision, or None where the answer does not offer the document as a source."""
    if not answer.sources.filter(document_id=revision.document_id, document__collection__private=False).exists():
        return None
    url = reverse("answer_keep_passage", args=[answer.pk, revision.document_id, revision.number])
    kept = KeptQuestion.objects.filter(answer=answer, places__document=revision.document_id).exists()
    return Offer(url, passage, answer.standalone or answer.question, kept)
