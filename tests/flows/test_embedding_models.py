"""Another embedding model is imported, embeds beside the one in use, takes its place without a restart, and can be taken back."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.utils import timezone

from core.models import AuditEvent, User
from rag import samples, slots
from rag.access import scope_for
from rag.backends.embedders.hashing import HashingEmbedder
from rag.config import rag_config
from rag.domain.errors import Permanent
from rag.domain.naming import Meant
from rag.domain.types import Allowed, Everything, Hit, Vectors
from rag.models import Collection, Document, EmbeddingModel, IndexGeneration, Vector
from rag.models.embedding_model import EmbeddingState
from rag.models.index import IndexKind
from rag.services import (
    comparison,
    embedding,
    embedding_models,
    indexing,
    ingest,
    library,
    preparation,
    reembedding,
    retrieve,
    steps,
)
from rag.services.embedding_models import Unfit
from rag.services.leases import LeaseLost
from tests import tiny_models
from tests.tiny_models import PROMPTS

pytestmark = pytest.mark.django_db
AddText = Callable[..., Document]
BASE = "hashing"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("models") / "tiny", prompts=PROMPTS)


@pytest.fixture
def data(settings: LazySettings, tmp_path: Path) -> Path:
    """A data folder of this test's own."""
    settings.DATA_DIR = tmp_path / "data"
    rag_config.cache_clear()
    slots.forget_models()
    return tmp_path / "data"


@pytest.fixture
def tiny(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingModel:
    """The tiny model, imported. What is fastest here is measured in a test of its own."""
    from rag.backends.embedders import selftest
    from rag.backends.embedders._runner import precisions

    monkeypatch.setattr(
        selftest, "_measure", lambda *_args: [selftest.Measured("openvino", precisions()[0], 1, 1, 1.0, 1.0)]
    )
    return embedding_models.add(None, folder)


def texts(count: int, of: str = "rule") -> str:
    return "\n\n".join(
        f"{of} {number} " + f"the notice period of the tenant is {number} months. " * 12 for number in range(count)
    )


def run(row: EmbeddingModel) -> EmbeddingModel:
    """Does what the worker does until nothing is left."""
    reembedding.run(row.pk)
    row.refresh_from_db()
    return row


def embedded(row: EmbeddingModel) -> set[int]:
    """The chunks that have a vector of the model, each of the right length."""
    rows = Vector.objects.filter(digest=indexing.vector_digest(row.digest)).values_list("chunk_id", "data")
    assert all(len(data) == 4 * row.dimension for _chunk, data in rows)
    return {chunk for chunk, _data in rows}


def chunks() -> set[int]:
    return set(reembedding.finished_passages().values_list("pk", flat=True))


# --- Importing


def test_an_imported_model_is_copied_and_embeds_nothing_yet(
    tiny: EmbeddingModel, data: Path, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(3))
    assert (tiny.name, tiny.dimension, tiny.state, tiny.exported) == ("tiny", 32, EmbeddingState.IMPORTED, True)
    assert tiny.licence == "apache-2.0, file LICENSE"
    assert tiny.facts["question_prompt"] == "query: "
    assert (data / "models" / "imported" / tiny.folder / "model.safetensors").is_file()
    assert (data / "models" / "exported" / tiny.folder / "model.xml").is_file()
    assert embedded(tiny) == set()
    assert slots.embedding_identity().name == BASE
    assert AuditEvent.objects.filter(action="embedding_model.imported", facts__digest=tiny.digest).count() == 1
    assert [each.row.name for each in embedding_models.standings()] == [BASE, "tiny"]


def test_the_same_model_and_the_same_name_are_taken_once(tiny: EmbeddingModel, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="there already, as “tiny”"):
        embedding_models.add(None, folder, name="another")
    other = tiny_models.make(tmp_path / "other" / "tiny", seed=1)
    with pytest.raises(Permanent, match="Another model is called “tiny”"):
        embedding_models.add(None, other)


def test_files_that_a_backup_did_not_hold_are_put_back_by_importing_again(
    tiny: EmbeddingModel, folder: Path, data: Path, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(2))
    embedding_models.embed(None, "tiny")
    run(tiny)
    embedding_models.switch(None, "tiny")
    shutil.rmtree(data / "models")
    slots.forget_models()
    scope = scope_for(alice, asked=[policies.pk])
    with pytest.raises(Permanent, match="files of the embedding model tiny are missing"):
        retrieve.search("the notice period", scope)
    assert embedding_models.add(None, folder, name="whatever").name == "tiny"
    assert retrieve.search("the notice period", scope).sources


def test_a_damaged_model_that_is_not_in_use_keeps_nothing_from_starting(
    tiny: EmbeddingModel, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "models" / "imported" / tiny.folder / "config.json").write_text("{")
    prepared: list[Path] = []
    monkeypatch.setattr(preparation, "_prepare", lambda _weights, place: prepared.append(place))
    preparation.prepare_all()
    assert prepared == [data / "models" / "question"]


def test_what_stands_against_a_folder_is_said_and_nothing_is_left(data: Path, tmp_path: Path) -> None:
    short = tiny_models.make(tmp_path / "short", reads=128)
    with pytest.raises(
        Unfit, match=f"reads at most 128 tokens; the passages of Footnote have up to {embedding_models.LEAST_TOKENS}"
    ):
        embedding_models.add(None, short)
    (short / "model.safetensors").rename(short / "pytorch_model.bin")
    with pytest.raises(CommandError, match="a pickle"):
        call_command("models", "import", str(short), stdout=StringIO())
    assert not (data / "models" / "imported").exists()
    assert not EmbeddingModel.objects.exclude(name=BASE).exists()


def test_a_copy_that_breaks_off_leaves_nothing(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag.services import preparation

    def no_space(*_args: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "prepare_imported", no_space)
    with pytest.raises(OSError, match="No space"):
        embedding_models.add(None, folder)
    assert list((data / "models" / "imported").iterdir()) == []
    assert not EmbeddingModel.objects.filter(name="tiny").exists()


def test_a_model_that_cannot_be_exported_is_run_by_torch(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, alice: User, policies: Collection, add_text: AddText
) -> None:
    from rag.backends.embedders import openvino
    from rag.backends.embedders.sentence_transformers import SentenceTransformersEmbedder

    def refuse(*_args: object) -> None:
        raise openvino.NotExportable("It cannot be traced.")

    monkeypatch.setattr(openvino, "_convert", refuse)
    row = embedding_models.add(None, folder)
    assert not row.exported
    add_text(alice, policies, "rules.txt", texts(2))
    embedding_models.embed(None, "tiny")
    assert embedded(run(row)) == chunks()
    embedding_models.switch(None, "tiny")
    assert isinstance(slots.question_embedder(), SentenceTransformersEmbedder)
    assert retrieve.search("the notice period", scope_for(alice, asked=[policies.pk])).sources


def test_cosines_of_another_model_mean_what_those_of_the_first_one_mean(tiny: EmbeddingModel) -> None:
    passages, asked = preparation.self_test_texts()
    passages, questions = passages[: embedding_models.PASSAGES_COMPARED], asked[: len(samples.questions())]
    model, first = slots.model_of(tiny), slots.base_model()
    theirs, ours = (
        embedding_models._likenesses(slots.question_embedder(each), passages, questions) for each in (model, first)
    )
    assert theirs[0] > ours[1]  # everything is alike for it: without a common scale everything would be found
    for raw, common in zip(theirs, ours, strict=True):
        assert model.identity.likeness(raw) == pytest.approx(common, abs=0.01)
    assert first.identity == HashingEmbedder.identity("")  # its own scale stays as it is


# --- Embedding beside the one in use


def test_every_passage_is_embedded_and_the_search_goes_on_as_before(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(4))
    scope = scope_for(alice, asked=[policies.pk])
    before = [source.chunk_id for source in retrieve.search("rule 2 notice period", scope).sources]
    embedding_models.embed(None, "tiny")
    assert embedded(run(tiny)) == chunks()
    assert embedding_models.standing("tiny").complete
    assert [source.chunk_id for source in retrieve.search("rule 2 notice period", scope).sources] == before
    model = slots.model_of(tiny)
    reader = indexing.Reader(policies.pk, model.identity)
    reader.refresh()
    vector = slots.question_embedder(model).embed_question("rule 2")
    assert {hit.chunk_id for hit in reader.dense(vector, limit=100, allowed=Everything())} == chunks()


def test_what_is_uploaded_meanwhile_is_embedded_by_both(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    embedding_models.embed(None, "tiny")
    run(tiny)
    add_text(alice, policies, "rules.txt", texts(3))
    assert reembedding.sweep_stale() == 1
    assert embedded(run(tiny)) == chunks() != set()
    assert reembedding.sweep_stale() == 0


def test_passages_of_a_document_on_its_way_wait_for_the_model_in_use(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "first.txt", texts(1))
    body = ContentFile(texts(2, of="fee").encode())
    document = library.add_document(alice, policies, body, path="second.txt", replaces=True).document
    document.refresh_from_db()
    assert document.latest is not None
    ingest.read(document.latest.pk)
    embedding_models.embed(None, "tiny")
    assert len(embedded(run(tiny))) == len(chunks())
    embedding.embed(document.latest.pk)
    assert len(embedded(run(tiny))) == len(chunks()) > 1


def test_a_new_revision_carries_the_vectors_of_both_over(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(8))
    embedding_models.embed(None, "tiny")
    run(tiny)
    changed = texts(8).replace("rule 7", "amended rule 7")
    document = library.add_document(
        alice, policies, ContentFile(changed.encode()), path="rules.txt", replaces=True
    ).document
    document.refresh_from_db()
    assert document.latest is not None
    ingest.read(document.latest.pk)
    assert len(embedded(tiny)) >= 6
    embedding.embed(document.latest.pk)
    assert embedded(run(tiny)) == chunks()


def test_a_pause_keeps_what_is_done_and_stops_whoever_works(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "EMBED_BATCH", 2)
    add_text(alice, policies, "rules.txt", texts(9))
    embedding_models.embed(None, "tiny")
    stored = 0

    def pause(name: str) -> None:
        nonlocal stored
        stored += name == "reembed:batch-stored"
        if name == "reembed:batch-computed" and stored == 2:
            embedding_models.pause(None, "tiny")

    monkeypatch.setattr(steps, "_observers", [pause])
    assert run(tiny).state == EmbeddingState.PAUSED
    assert len(embedded(tiny)) == 4  # the batch that was on its way is not stored any more
    monkeypatch.setattr(steps, "_observers", [])
    assert len(embedded(run(tiny))) == 4
    assert reembedding.sweep_stale() == 0
    embedding_models.embed(None, "tiny")
    assert embedded(run(tiny)) == chunks()


def test_a_killed_worker_s_successor_goes_on_after_the_last_batch(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "EMBED_BATCH", 2)
    add_text(alice, policies, "rules.txt", texts(9))
    embedding_models.embed(None, "tiny")
    kept: list[set[int]] = []

    def die(name: str) -> None:
        if name == "reembed:batch-stored":
            kept.append(embedded(tiny))
            if len(kept) == 2:
                raise LeaseLost

    monkeypatch.setattr(steps, "_observers", [die])
    run(tiny)
    monkeypatch.setattr(steps, "_observers", [])
    # As after a kill: the lease is still held, and runs out.
    EmbeddingModel.objects.filter(pk=tiny.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    reembedding.run(tiny.pk)
    assert embedded(tiny) == kept[-1]  # the sweeper counts the death before anybody tries again
    reembedding.sweep_stale()
    assert embedded(run(tiny)) == chunks() > kept[-1]
    assert tiny.failures == 0


def test_the_third_death_is_a_failure_with_a_sentence(tiny: EmbeddingModel, alice: User, policies: Collection) -> None:
    embedding_models.embed(None, "tiny")
    for _ in range(3):
        EmbeddingModel.objects.filter(pk=tiny.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        reembedding.sweep_stale()
    tiny.refresh_from_db()
    assert tiny.state == EmbeddingState.FAILED
    assert "three times" in tiny.message
    embedding_models.embed(None, "tiny")
    tiny.refresh_from_db()
    assert (tiny.state, tiny.failures, tiny.message) == (EmbeddingState.EMBEDDING, 0, "")


def test_an_altered_file_of_the_model_is_noticed_before_it_embeds(
    tiny: EmbeddingModel, data: Path, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(2))
    weights = data / "models" / "imported" / tiny.folder / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    embedding_models.embed(None, "tiny")
    assert run(tiny).state == EmbeddingState.FAILED
    assert embedded(tiny) == set()
    with pytest.raises(Permanent):
        embedding_models.switch(None, "tiny")


# --- Switching


@pytest.fixture
def ready(tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText) -> EmbeddingModel:
    """The tiny model, with a vector of every passage."""
    add_text(alice, policies, "rules.txt", texts(6))
    embedding_models.embed(None, "tiny")
    return run(tiny)


def test_a_model_that_lacks_passages_is_not_switched_to(
    tiny: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    add_text(alice, policies, "rules.txt", texts(3))
    with pytest.raises(Permanent, match="passages are not embedded by “tiny” yet"):
        embedding_models.switch(None, "tiny")
    assert slots.embedding_identity().name == BASE


def test_a_switch_needs_no_restart_and_back_is_at_once(
    ready: EmbeddingModel, alice: User, policies: Collection
) -> None:
    scope = scope_for(alice, asked=[policies.pk])
    before = [(source.chunk_id, source.cosine) for source in retrieve.search("rule 2 notice period", scope).sources]
    embedding_models.switch(alice, "tiny")
    assert slots.embedding_identity() == slots.model_of(ready).identity
    during = [(source.chunk_id, source.cosine) for source in retrieve.search("rule 2 notice period", scope).sources]
    assert len(during) > 0
    assert during != before
    vectors = Vector.objects.count()
    assert embedding_models.back(alice).name == BASE
    assert [
        (source.chunk_id, source.cosine) for source in retrieve.search("rule 2 notice period", scope).sources
    ] == before
    assert embedding_models.back(alice).name == "tiny"
    assert Vector.objects.count() == vectors
    assert AuditEvent.objects.filter(action="embedding_model.switched").count() == 3


def test_after_a_switch_new_passages_are_embedded_by_the_new_one_first_and_the_old_one_is_kept_up(
    ready: EmbeddingModel, alice: User, policies: Collection, add_text: AddText
) -> None:
    embedding_models.switch(None, "tiny")
    base = EmbeddingModel.objects.get(name=BASE)
    add_text(alice, policies, "fees.txt", texts(3, of="fee"))
    assert embedded(ready) == chunks()
    assert embedded(base) < chunks()
    with pytest.raises(Permanent, match="passages are not embedded"):
        embedding_models.back(None)
    assert embedded(run(base)) == chunks()
    assert embedding_models.back(None).name == BASE


def test_a_document_that_was_being_embedded_during_the_switch_gets_the_new_vectors_too(
    ready: EmbeddingModel, alice: User, policies: Collection, add_text: AddText, monkeypatch: pytest.MonkeyPatch
) -> None:
    def switch(name: str) -> None:
        if name == "embed:batch-computed":
            monkeypatch.setattr(steps, "_observers", [])
            embedding_models.switch(None, "tiny")

    monkeypatch.setattr(steps, "_observers", [switch])
    add_text(alice, policies, "fees.txt", texts(3, of="fee"))
    assert slots.embedding_identity().name == "tiny"
    assert embedded(ready) < chunks()
    assert reembedding.sweep_stale() == 2
    assert embedded(run(ready)) == chunks()


class Watched:
    """Notes with which model's vectors each question was compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int]] = []  # the question's length, and that of the vectors it met
        self.digests: list[tuple[str, str]] = []
        dense, refresh = indexing.Reader.dense, indexing.Reader._follow_vectors

        def watched_dense(reader: indexing.Reader, vector: Vectors, *, limit: int, allowed: Allowed) -> list[Hit]:
            self.asked.append((len(vector), reader.model.dimension))
            return dense(reader, vector, limit=limit, allowed=allowed)

        def watched_refresh(reader: indexing.Reader, target: int) -> None:
            refresh(reader, target)
            tail = reader._tail
            ids = list(tail.ids()) if tail is not None else []
            stored = Vector.objects.filter(chunk__in=ids, digest=indexing.vector_digest(reader.model.digest)).count()
            assert stored == len(ids)

        monkeypatch.setattr(indexing.Reader, "dense", watched_dense)
        monkeypatch.setattr(indexing.Reader, "_follow_vectors", watched_refresh)


@pytest.mark.parametrize("named", [False, True], ids=["plain", "naming a document"])
def test_no_question_meets_the_vectors_of_another_model_whenever_the_switch_comes(
    ready: EmbeddingModel, alice: User, policies: Collection, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    watched = Watched(monkeypatch)
    if named:  # then what it asks of the document is embedded too, after the first search
        monkeypatch.setattr(retrieve, "meant", lambda _question, called: Meant("notice", dict.fromkeys(called, 1.0)))
    scope = scope_for(alice, asked=[policies.pk])
    readers, moments = indexing.readers, 0

    def switching(*args: Any) -> Any:
        nonlocal moments  # between the embedding of a question and its search
        moments += 1
        if embedding_models.named("tiny").in_use:
            embedding_models.back(None)
        else:
            embedding_models.switch(None, "tiny")
        return readers(*args)

    monkeypatch.setattr(retrieve, "readers", switching)
    for _ in range(4):
        assert retrieve.search("rule 2 notice period", scope).sources
    assert moments >= 4
    assert len({question for question, _vectors in watched.asked}) == 2
    assert all(question == vectors for question, vectors in watched.asked)


def test_an_index_is_written_for_each_model_that_is_kept(
    ready: EmbeddingModel, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 2)
    indexing.sync(policies.pk)
    written = IndexGeneration.objects.filter(kind=IndexKind.VECTORS, current=True)
    assert {(row.digest, row.dimension) for row in written} == {
        (indexing.vector_digest("hashing-1"), 256),
        (indexing.vector_digest(ready.digest), 32),
    }


def test_the_environment_decides_before_a_choice(
    ready: EmbeddingModel, settings: LazySettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding_models.switch(None, "tiny")
    settings.RAG = settings.RAG | {"EMBEDDER_FOLDER": str(folder)}
    rag_config.cache_clear()
    slots.forget_models()
    assert slots.embedding_identity().name == BASE  # the tests' embedder, whatever the folder
    with pytest.raises(Permanent, match="FOOTNOTE_EMBEDDER"):
        embedding_models.back(None)


# --- Comparing and removing


def test_two_models_are_compared_by_the_same_questions(
    ready: EmbeddingModel, alice: User, policies: Collection
) -> None:
    found = comparison.compare("tiny", questions=20)
    assert (found.now.name, found.then.name) == (BASE, "tiny")
    assert len(found.overlap) == len(found.now.milliseconds) == len(found.then.milliseconds) > 0
    assert all(0 <= share <= 1 for share in found.overlap)
    assert found.judged == 0
    assert "is not known" in "\n".join(comparison.lines(found))
    with pytest.raises(Permanent, match="is in use"):
        comparison.compare(BASE)


def test_gains_of_a_ranking() -> None:
    assert comparison.ndcg([1, 2, 3], {1}) == 1
    assert comparison.ndcg([2, 1, 3], {1}) == pytest.approx(0.6309, abs=1e-4)
    assert comparison.ndcg([2, 3], {1}) == 0
    assert comparison.ndcg(list(range(20)), set(range(20))) == pytest.approx(1)


def test_a_removed_model_leaves_neither_vectors_nor_files(
    ready: EmbeddingModel, data: Path, policies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "TAIL_MOST", 2)
    indexing.sync(policies.pk)
    others = Vector.objects.exclude(digest=indexing.vector_digest(ready.digest)).count()
    deleted = embedding_models.remove(None, "tiny")
    assert deleted > 0
    assert Vector.objects.count() == others
    assert not EmbeddingModel.objects.filter(name="tiny").exists()
    assert list((data / "models" / "imported").iterdir()) == list((data / "models" / "exported").iterdir()) == []
    assert IndexGeneration.objects.filter(kind=IndexKind.VECTORS).count() == 1
    assert len(list((data / "index" / str(policies.pk)).glob("vectors-*"))) == 1
    with pytest.raises(Permanent, match="There is no embedding model “tiny”, only: hashing"):
        embedding_models.standing("tiny")


def test_the_one_in_use_is_not_removed_and_the_first_one_can_come_back(ready: EmbeddingModel, alice: User) -> None:
    embedding_models.switch(None, "tiny")
    with pytest.raises(Permanent, match="is in use"):
        embedding_models.remove(None, "tiny")
    assert embedding_models.remove(None, BASE) > 0
    with pytest.raises(Permanent, match="No other embedding model was in use before"):
        embedding_models.back(None)
    embedding_models.embed(None, BASE)
    base = run(EmbeddingModel.objects.get(name=BASE))
    assert embedded(base) == chunks()
    assert embedding_models.switch(None, BASE).name == BASE


def test_the_command_says_what_there_is(ready: EmbeddingModel) -> None:
    def said(*arguments: str) -> str:
        out = StringIO()
        call_command("models", *arguments, stdout=out)
        return out.getvalue()

    assert "tiny" in said("list")
    assert "ready: " in said()
    assert "in use" in said("switch", "tiny")
    assert f"{BASE}: in use" in said("back")
    assert "Of the ten nearest passages" in said("compare", "tiny", "--questions", "5")
    assert "paused" in said("pause", "tiny")
    assert "tiny is removed" in said("remove", "tiny")
    with pytest.raises(CommandError, match="There is no embedding model"):
        said("embed", "tiny")
