"""What every embedder promises, asked of each one found in rag/backends/embedders."""

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from rag.backends import embedders
from rag.backends.embedders.base import Embedder
from rag.backends.embedders.openvino import LEAST_AGREEMENT, OpenVinoEmbedder, export
from rag.backends.embedders.samples import SAMPLES
from rag.backends.embedders.sentence_transformers import SentenceTransformersEmbedder
from rag.backends.embedders.weights import find_weights
from rag.domain.ranking import FLUENT
from tests.contracts.discovery import backends_of

FOUND = backends_of(embedders, Embedder)  # type: ignore[type-abstract]
REPOSITORY = Path(__file__).resolve().parents[2]
Maker = Callable[[type[Embedder]], Embedder]


@pytest.fixture(scope="module")
def export_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "question"
    export(find_weights(), folder)
    return folder


@pytest.fixture(scope="module")
def made(export_folder: Path) -> Maker:
    @lru_cache
    def make(kind: type[Embedder]) -> Embedder:
        return kind(folder="", export_folder=str(export_folder), threads=2)  # type: ignore[call-arg]

    return make


def test_those_that_are_used_are_found() -> None:
    names = {embedder.__name__ for embedder in FOUND}
    assert {"SentenceTransformersEmbedder", "OpenVinoEmbedder", "HashingEmbedder"} <= names


@pytest.mark.parametrize("kind", FOUND)
class TestEmbedder:
    def test_vectors_are_float32_of_unit_length(self, kind: type[Embedder], made: Maker) -> None:
        embedder = made(kind)
        vectors = embedder.embed_passages(SAMPLES)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(SAMPLES), embedder.dimension)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        question = embedder.embed_question("How long is the notice period?")
        assert question.dtype == np.float32
        assert question.shape == (embedder.dimension,)
        assert np.linalg.norm(question) == pytest.approx(1, abs=1e-5)

    def test_no_passages_give_no_vectors(self, kind: type[Embedder], made: Maker) -> None:
        assert made(kind).embed_passages([]).shape == (0, made(kind).dimension)

    def test_a_passage_has_the_same_vector_alone_and_in_any_company(self, kind: type[Embedder], made: Maker) -> None:
        embedder = made(kind)
        together = embedder.embed_passages(SAMPLES)
        order = np.random.default_rng(0).permutation(len(SAMPLES))
        shuffled = embedder.embed_passages([SAMPLES[place] for place in order])
        np.testing.assert_allclose(shuffled, together[order], atol=1e-4)
        for text, vector in zip(SAMPLES[::5], together[::5], strict=True):
            np.testing.assert_allclose(embedder.embed_passages([text])[0], vector, atol=1e-4)

    def test_a_long_text_is_cut_and_not_a_crash(self, kind: type[Embedder], made: Maker) -> None:
        embedder = made(kind)
        long = "The tenant pays the rent. " * 20_000
        vectors = embedder.embed_passages([long, long + "And something else entirely: blood samples.", "short"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)
        np.testing.assert_allclose(embedder.embed_question(long), vectors[0], atol=1e-4)

    def test_what_belongs_together_is_closer(self, kind: type[Embedder], made: Maker) -> None:
        embedder = made(kind)
        near, far = embedder.embed_passages(
            ["The notice period for a tenant is three months.", "Blood samples are stored at four degrees."]
        )
        question = embedder.embed_question("notice period for the tenant")
        assert question @ near > question @ far + 0.2

    def test_its_identity_is_known_without_loading_it(self, kind: type[Embedder], made: Maker) -> None:
        embedder, identity = made(kind), kind.identity("")
        assert (identity.name, identity.digest, identity.dimension) == (
            embedder.name,
            embedder.digest,
            embedder.dimension,
        )

    def test_threads_get_the_vectors_that_they_asked_for(self, kind: type[Embedder], made: Maker) -> None:
        embedder = made(kind)
        texts = SAMPLES[:12]
        wanted = {text: embedder.embed_question(text) for text in texts}
        faults: list[object] = []

        def ask(texts: list[str]) -> None:
            try:
                for text in texts:
                    np.testing.assert_allclose(embedder.embed_question(text), wanted[text], atol=1e-4)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=ask, args=(list(texts[start::4]) * 3,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


@pytest.mark.parametrize("kind", FOUND)
def test_embedders_of_one_digest_agree(kind: type[Embedder], made: Maker) -> None:
    torch = made(SentenceTransformersEmbedder)
    embedder = made(kind)
    if embedder is torch or embedder.digest != torch.digest:
        pytest.skip("it has vectors of its own")
    wanted = torch.embed_passages(SAMPLES)
    assert (wanted * embedder.embed_passages(SAMPLES)).sum(axis=1).min() >= LEAST_AGREEMENT
    for text in SAMPLES[::4]:
        assert torch.embed_question(text) @ embedder.embed_question(text) >= LEAST_AGREEMENT


ALONE = """
import os, sys
asked = []
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        asked.append((event, arguments))
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        asked.append((event, arguments[1]))
sys.addaudithook(watch)
from importlib import import_module
kind = getattr(import_module(sys.argv[1]), sys.argv[2])
embedder = kind(folder="", export_folder=sys.argv[3], threads=1)
embedder.embed_question("How long is the notice period?")
embedder.embed_passages(["The notice period is three months."])
import time
time.sleep(0.5)  # telemetry is sent by a thread
unwanted = {"torch", "transformers", "openvino_telemetry"} & {name for name in sys.modules if sys.modules[name]}
print(asked, os.listdir(os.environ["HOME"]), sorted(unwanted))
"""


@pytest.mark.parametrize("kind", [OpenVinoEmbedder, SentenceTransformersEmbedder])
def test_the_bundled_model_reads_english_fluently_german_less_and_spells_what_it_does_not_know(
    kind: type[Embedder], made: Maker
) -> None:
    fluency = made(kind).fluency
    assert fluency("How long is the notice period of the agreement?") > 4
    assert 2 < fluency("Wie lang ist die Kündigungsfrist des Vertrages?") < 4
    # Rows of single letters; the Thai one is a single piece, and unknown.
    for spelled in (
        "كم مدة الإشعار؟",
        "合同的通知期限是多长？",
        "Каков срок уведомления?",
        "ระยะเวลาแจ้งล่วงหน้านานเท่าใด",
    ):
        assert fluency(spelled) < 0.5
    assert fluency("2024, is it?") == math.inf
    # Short words are no spelling.
    assert fluency("Who do I ring when I wake up ill, and by what time?") >= FLUENT


@pytest.mark.parametrize("kind", FOUND)
def test_it_asks_no_host_and_leaves_nothing_at_home(kind: type[Embedder], export_folder: Path, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    child = subprocess.run(
        [sys.executable, "-c", ALONE, kind.__module__, kind.__name__, str(export_folder)],
        cwd=REPOSITORY,
        env={**inherited, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    uses_torch = kind is SentenceTransformersEmbedder
    loaded = ["torch", "transformers"] if uses_torch else []
    assert child.stdout.strip() == f"[] [] {loaded}", child.stderr
