"""Indexes stay small and right over the years: removals are forgotten, large generations are not written for every change."""

from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np
import pytest

from core.models import User
from rag.domain.types import Everything
from rag.models import Chunk, Collection, Document, IndexGeneration, Removal
from rag.models.index import IndexKind
from rag.services import indexing, library
from rag.slots import question_embedder

pytestmark = pytest.mark.django_db
AddText = Callable[..., Document]


@pytest.fixture
def add(alice: User, policies: Collection, add_text: AddText) -> Callable[[str], Document]:
    return lambda name: add_text(alice, policies, f"{name}.txt", f"The {name} is kept in the cellar for ten years.")


def by_meaning(collection_id: UUID, words: str) -> list[int]:
    hits = indexing.reader(collection_id).dense(
        question_embedder().embed_question(words), limit=50, allowed=Everything()
    )
    return [hit.chunk_id for hit in hits]


def by_words(collection_id: UUID, words: str) -> list[int]:
    return [hit.chunk_id for hit in indexing.reader(collection_id).keywords(words, limit=50, allowed=Everything())]


def chunks(documents: Sequence[Document]) -> set[int]:
    return set(Chunk.objects.for_maintenance().filter(document__in=documents).values_list("pk", flat=True))


def generation(collection: Collection, kind: IndexKind) -> IndexGeneration:
    return IndexGeneration.objects.get(collection=collection, kind=kind, current=True)


def test_removals_are_kept_as_long_as_an_index_or_a_reader_needs_them(
    alice: User, policies: Collection, add: Callable[[str], Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [add(name) for name in ("ledger", "atlas", "seal", "charter")]
    monkeypatch.setattr(indexing, "TAIL_MOST", 1)
    indexing.sync(policies.pk)
    monkeypatch.undo()
    library.delete_document(alice, documents[0])
    assert indexing.forget_removals(policies.pk) == 0  # the keywords have not followed yet
    indexing.sync(policies.pk)
    assert indexing.forget_removals(policies.pk) == 0  # a reader may not have either
    monkeypatch.setattr(indexing, "REMOVALS_KEPT", 0)
    policies.refresh_from_db()
    if generation(policies, IndexKind.VECTORS).version < policies.version:
        assert indexing.forget_removals(policies.pk) == 0  # the vectors' generation still holds it
        monkeypatch.setattr(indexing, "BARRED_MOST", 0)
        indexing.sync(policies.pk)
    assert indexing.forget_removals(policies.pk) == 1
    assert not Removal.objects.exists()
    assert set(by_meaning(policies.pk, "ledger cellar")) == chunks(documents[1:])
    assert set(by_words(policies.pk, "cellar")) == chunks(documents[1:])


def test_a_reader_that_slept_through_forgotten_removals_begins_anew(
    alice: User, policies: Collection, add: Callable[[str], Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [add(name) for name in ("ledger", "atlas", "seal")]
    assert set(by_meaning(policies.pk, "cellar")) == chunks(documents)  # this process's reader is open from now on
    gone = chunks(documents[:1])
    monkeypatch.setattr(indexing, "REMOVALS_KEPT", 0)
    library.delete_document(alice, documents[0])
    indexing.sync_all()
    assert not Removal.objects.exists()
    found = set(by_meaning(policies.pk, "cellar"))
    assert found == chunks(documents[1:])
    assert not found & gone


def test_an_index_of_words_is_written_in_bounded_pieces(
    policies: Collection, add: Callable[[str], Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [add(name) for name in ("ledger", "atlas", "seal", "charter", "map")]
    monkeypatch.setattr(indexing, "BATCH", 2)
    indexing.rebuild(policies.pk)
    assert set(by_words(policies.pk, "cellar")) == chunks(documents)
    assert generation(policies, IndexKind.KEYWORDS).count == len(chunks(documents))


def test_a_large_generation_is_written_anew_only_when_a_share_of_it_is_new(
    policies: Collection, add: Callable[[str], Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 2)
    documents = [add("ledger"), add("atlas")]
    first = generation(policies, IndexKind.VECTORS)
    IndexGeneration.objects.filter(pk=first.pk).update(count=1000)
    documents += [add("seal"), add("charter"), add("map")]
    assert generation(policies, IndexKind.VECTORS) == first
    assert set(by_meaning(policies.pk, "cellar")) == chunks(documents)  # from the tail
    monkeypatch.setattr(indexing, "TAIL_SHARE", 0.003)
    indexing.sync(policies.pk)
    assert generation(policies, IndexKind.VECTORS) != first
    assert set(by_meaning(policies.pk, "cellar")) == chunks(documents)


def test_vectors_that_stand_in_a_generation_are_those_of_the_database(
    policies: Collection, add: Callable[[str], Document]
) -> None:
    documents = [add(name) for name in ("ledger", "atlas")]
    indexing.rebuild(policies.pk)
    reader = indexing.reader(policies.pk)
    assert reader._base is not None
    assert reader._base.ids() == chunks(documents)
    question = question_embedder().embed_question("The ledger is kept in the cellar")
    assert np.isfinite([hit.score for hit in reader.dense(question, limit=5, allowed=Everything())]).all()
