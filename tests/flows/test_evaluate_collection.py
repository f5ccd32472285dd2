"""`manage.py evaluate retrieval COLLECTION` measures a collection on its own questions and changes nothing in it."""

from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from core.models import User
from rag.evaluation import kept as kept_evaluation
from rag.models import Collection, Document, JudgedPlace, KeptQuestion
from rag.models.ranking import QuestionOrigin
from rag.services import measurements
from rag.services.kept_questions import Judged
from tests.flows.test_evaluate_retrieval import PASSAGES, QUESTIONS


def test_a_collection_is_measured_on_its_kept_questions(
    alice: User, policies: Collection, add_text: Callable[..., Document], capsys: pytest.CaptureFixture[str]
) -> None:
    for own, text in PASSAGES.items():
        add_text(alice, policies, f"{own}.txt", text)
    for question, own in QUESTIONS.values():
        kept = KeptQuestion.objects.create(collection=policies, text=question, origin=QuestionOrigin.UPLOADED)
        document = Document.objects.get(path=f"{own}.txt")
        JudgedPlace.objects.create(question=kept, document=document, quote=PASSAGES[own][:20])
    call_command("evaluate", "retrieval", "Policies")
    assert "| Policies | 2 | 4 | words | 1.0000 |" in capsys.readouterr().out
    (kept_figures,) = measurements.history(policies)
    assert kept_figures.questions == 2
    assert measurements.history(None) == []


def test_a_place_counts_once_however_many_passages_carry_it() -> None:
    kept = Judged(7, "When?", (frozenset({1, 2}), frozenset({3})))
    asked = kept_evaluation.as_asked(kept)
    assert asked.grades == {"place 0": 1.0, "place 1": 1.0}
    assert asked.named([9, 2, 1, 3]) == ["9", "place 0", "1", "place 1"]


def test_a_collection_without_kept_questions_is_refused_with_a_sentence(alice: User, policies: Collection) -> None:
    with pytest.raises(CommandError, match="Policies has no kept questions"):
        call_command("evaluate", "retrieval", str(policies.pk))
    with pytest.raises(CommandError, match="no folder and no collection"):
        call_command("evaluate", "retrieval", "Nowhere")
