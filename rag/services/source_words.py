"""Puts the cited passage's own words in the place of a sentence that it contradicts, and takes them out again."""

from django.db import transaction

from core import audit
from core.models import User
from rag.domain.support import Verdict
from rag.models import Answer


@transaction.atomic
def put(actor: User, answer: Answer, ordinal: int) -> bool:
    """Shows the cited words instead of the sentence; whether that can be. The sentence is kept. The caller has checked whose it is."""
    fitting = answer.sentences.filter(ordinal=ordinal, verdict=Verdict.CONTRADICTED, citations__end__gt=0)
    return _change(actor, answer, list(fitting.values_list("pk", flat=True)), quoted=True)


@transaction.atomic
def take_back(actor: User, answer: Answer, ordinal: int) -> bool:
    """Shows the sentence again as it was written; whether it was replaced."""
    replaced = answer.sentences.filter(ordinal=ordinal, quoted=True)
    return _change(actor, answer, list(replaced.values_list("pk", flat=True)), quoted=False)


def _change(actor: User, answer: Answer, sentences: list[int], *, quoted: bool) -> bool:
    changed = answer.sentences.filter(pk__in=sentences, quoted=not quoted).update(quoted=quoted)
    if changed:
        action = "answer.words_put" if quoted else "answer.words_taken_back"
        audit.record(action, actor=actor, subject=answer)
    return bool(changed)
