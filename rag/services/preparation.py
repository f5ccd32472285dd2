"""What has to be there before the first question, and what doctor says of it."""

import subprocess
import sys

from django.conf import settings

from core.registry import Finding, State
from rag import samples
from rag.backends.embedders.weights import find_weights
from rag.config import rag_config
from rag.domain.errors import RagError
from rag.models import Collection, IndexGeneration
from rag.models.index import IndexKind
from rag.slots import question_embedder, sandbox, token_counter

_SELF_TEST_TOKENS = 120  # of one passage: many short ones tell more about the order of finding than few long ones


def prepare_embedding() -> None:
    """Exports the weights for embedding without torch and measures how passages are embedded fastest here, where that was not done.

    Takes some twenty-five seconds once, and ten again on another processor. In a process of its own: torch would otherwise
    stay in this one. Raises RagError with what went wrong.
    """
    from rag.backends.embedders.openvino import is_exported
    from rag.backends.embedders.selftest import chosen

    config = rag_config()
    found = find_weights(config.embedder_folder)
    if is_exported(found, config.export_folder) and chosen(found, config.export_folder, config.embed_threads):
        return
    command = [sys.executable, "manage.py", "prepare_embedding"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RagError(f"The embedding model could not be prepared: {last}")


def self_test_texts() -> tuple[list[str], list[str]]:
    """Passages and questions of the sample collection, on which the ways of embedding are compared."""
    spans_of = token_counter().offsets
    passages = []
    for source in samples.sources():
        spans = spans_of(source)
        for start in range(0, len(spans), _SELF_TEST_TOKENS):
            last = min(start + _SELF_TEST_TOKENS, len(spans)) - 1
            passages.append(source[spans[start][0] : spans[last][1]])
    asked = samples.questions()
    return passages, [each.question for each in asked] + [each.passage for each in asked if each.passage]


def weights() -> Finding:
    """Whether the embedding weights are there and unaltered."""
    try:
        found = find_weights(rag_config().embedder_folder)
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py up")
    return Finding(State.OK, f"{found.name}, {found.dimension} dimensions, {found.digest[:12]}")


def question_model() -> Finding:
    """Whether questions can be embedded."""
    try:
        vector = question_embedder().embed_question("Is anybody there?")
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py prepare")
    return Finding(State.OK, f"{len(vector)} dimensions, without torch")


def passage_model() -> Finding:
    """How passages are embedded on this machine."""
    from rag.backends.embedders.selftest import chosen

    config = rag_config()
    try:
        way = chosen(find_weights(config.embedder_folder), config.export_folder, config.embed_threads)
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py up")
    if way is None:
        return Finding(State.WARN, "float32; what is fastest here was not measured", "python3 manage.py prepare")
    streams = f" in {way.streams} streams" if way.streams > 1 else ""
    return Finding(
        State.OK,
        f"{way.backend} {way.precision}, {way.threads} threads{streams}, {way.speed:.0f} short passages a second, "
        f"{way.agreement:.1%} of the nearest ten as with float32",
    )


def sandbox_limits() -> Finding:
    """How parsers are held."""
    report = sandbox().limits_report()
    weak = report["network"].startswith("not taken away")
    text = ", ".join(f"{name}: {value}" for name, value in report.items())
    return Finding(
        State.WARN if weak else State.OK, text, "Run on Linux with user namespaces or seccomp." if weak else ""
    )


def recognition() -> Finding:
    """What reads text in pictures."""
    report = sandbox().engines_report()
    if not report["rapidocr"]:
        return Finding(State.FAIL, "pictures cannot be read: the models are missing", "python3 manage.py up")
    found = f"RapidOCR {report['rapidocr']} for Latin letters, Chinese and Japanese"
    languages = [code for code in report["languages"].split() if code != "osd"]
    if not report["tesseract"] or not languages:
        return Finding(State.OK, f"{found}; other scripts need Tesseract, which is not installed")
    return Finding(State.OK, f"{found}; Tesseract {report['tesseract']} for {', '.join(languages)}")


def indexes() -> Finding:
    """Whether every collection's indexes follow the database."""
    behind = [
        collection.pk
        for collection in Collection.objects.filter(deleted__isnull=True, version__gt=0)
        if not IndexGeneration.objects.filter(
            collection=collection, kind=IndexKind.KEYWORDS, current=True, version__gte=collection.version
        ).exists()
    ]
    count = Collection.objects.filter(deleted__isnull=True).count()
    if behind:
        return Finding(State.WARN, f"{len(behind)} of {count} collections are behind", "python3 manage.py reindex")
    return Finding(State.OK, f"{count} collections, all up to date")
