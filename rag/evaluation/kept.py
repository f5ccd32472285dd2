"""Measures a collection on its own kept questions, where it is and as somebody who manages it finds. Nothing is changed."""

from collections.abc import Sequence

from core.models import User
from rag.access import Need, may, scope_for
from rag.evaluation.retrieval import Asked, Measured, measure
from rag.models import Chunk, Collection
from rag.services import kept_questions
from rag.services.measurements import index_kinds


def measure_collection(collection: Collection) -> Measured:
    """A collection on its kept questions, where it is, as one who manages it finds; a place counts as found with the first
    passage that carries it. Raises ValueError with a sentence where there is nothing to measure."""
    scope = scope_for(manager_of(collection), asked=[collection.pk])
    questions = [as_asked(question) for question in kept_questions.judged(collection.pk, scope)]
    if not questions:
        raise ValueError(f"{collection.name} has no kept questions whose passages are known.")
    passages = Chunk.objects.visible_to(scope).count()
    return Measured(collection.name, passages, measure(questions, scope), indexes=index_kinds(collection.pk))


def manager_of(collection: Collection) -> User:
    """Somebody who manages the collection, as whom it is measured. Raises ValueError with a sentence where nobody does."""
    for user in User.objects.filter(is_active=True, memberships__team__grants__collection=collection).distinct():
        if may(user, collection, need=Need.MANAGE):
            return user
    raise ValueError(f"Nobody manages {collection.name}: a search is always somebody's.")


def as_asked(question: kept_questions.Judged) -> Asked:
    """A kept question: each of its places is found with the first passage that carries it, and only then."""

    def named(ids: Sequence[int]) -> list[str]:
        left = dict(enumerate(question.places))
        names: list[str] = []
        for number in ids:
            carried = [place for place, chunks in left.items() if number in chunks]
            names += [f"place {place}" for place in carried] or [str(number)]
            for place in carried:
                del left[place]
        return names

    return Asked(
        str(question.id), question.text, {f"place {place}": 1.0 for place in range(len(question.places))}, named
    )
