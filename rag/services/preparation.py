"""What has to be there before the first question, and what doctor says of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
from django.conf import settings

from core.registry import Finding, State
from rag import samples
from rag.backends.embedders.weights import Weights, find_weights
from rag.config import rag_config
from rag.domain.errors import RagError
from rag.models import Collection, IndexGeneration
from rag.models.index import IndexKind
from rag.slots import embedding_model, question_embedder, sandbox, token_counter

log = structlog.get_logger(__name__)

_SELF_TEST_TOKENS = 120  # of one passage: many short ones tell more about the order of finding than few long ones


def prepare_embedding() -> None:
    """Exports the weights for embedding without torch and measures how passages are embedded fastest here, where that was not done.

    Takes some twenty-five seconds once, and ten again on another processor; longer for imported models that are larger. In a
    process of its own: torch would otherwise stay in this one. Raises RagError with what went wrong.
    """
    if not _to_prepare():
        return
    command = [sys.executable, "manage.py", "prepare_embedding"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RagError(f"The embedding model could not be prepared: {last}")


def prepare_all() -> None:
    """What prepare_embedding() does, in this process: imports torch. An imported model that does not run keeps nothing from starting:
    whoever uses it is told."""
    for found, export_folder in _to_prepare():
        if export_folder == rag_config().export_folder:
            _prepare(found, export_folder)
            continue
        try:
            prepare_imported(found, export_folder)
        except RagError as error:
            log.warning("embedding_model.not_prepared", model=found.name, reason=error.message)


def prepare_imported(found: Weights, export_folder: Path) -> str:
    """Makes an imported model ready to run, and gives the reason where only torch can run it, otherwise "". Imports torch."""
    from rag.backends.embedders.openvino import NotExportable

    try:
        _prepare(found, export_folder)
    except NotExportable as error:
        export_folder.parent.mkdir(parents=True, exist_ok=True)
        torch_only(export_folder).write_text(f"{error.message}\n")  # not to be tried again at every start
        return error.message
    return ""


def torch_only(export_folder: Path) -> Path:
    """Where it is noted that only torch can run a model, which then has no `export_folder`."""
    return export_folder.with_name(f"{export_folder.name}.torch")


def _to_prepare() -> list[tuple[Weights, Path]]:
    """The weights, and where their export belongs, that were not exported or not measured here. Asks no database: an image is built
    without one."""
    from rag.backends.embedders.openvino import is_exported
    from rag.backends.embedders.selftest import chosen

    config = rag_config()
    found = [(find_weights(config.embedder_folder), config.export_folder), *_imported()]
    return [
        (weights, place)
        for weights, place in found
        if not is_exported(weights, place) or chosen(weights, place, config.embed_threads) is None
    ]


def _imported() -> Iterator[tuple[Weights, Path]]:
    """The imported models that are not for torch alone, each with the place of its export."""
    config = rag_config()
    folders = config.imported_folder.iterdir() if config.imported_folder.is_dir() else ()
    for folder in sorted(folders):
        place = config.exports_folder / folder.name
        if folder.name.startswith(".") or torch_only(place).exists():  # one that is just being copied, for example
            continue
        try:
            yield find_weights(str(folder)), place
        except RagError as error:
            log.warning("embedding_model.damaged", folder=folder.name, reason=error.message)


def _prepare(found: Weights, export_folder: Path) -> None:
    from rag.backends.embedders.openvino import export
    from rag.backends.embedders.selftest import choose, chosen

    threads = rag_config().embed_threads
    export(found, export_folder)
    if chosen(found, export_folder, threads) is None:
        passages, questions = self_test_texts()
        choose(found, export_folder, threads, passages=passages, questions=questions)


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
    model = embedding_model()
    try:
        found = find_weights(model.folder)
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py up")
    if model.imported and found.digest != model.identity.digest:
        return Finding(State.FAIL, f"{model.identity.name} has been altered", "python3 manage.py models back")
    return Finding(State.OK, f"{model.identity.name}, {found.dimension} dimensions, {found.digest[:12]}")


def question_model() -> Finding:
    """Whether questions can be embedded."""
    try:
        vector = question_embedder().embed_question("Is anybody there?")
    except RagError as error:
        return Finding(State.FAIL, error.message, "python3 manage.py prepare")
    return Finding(State.OK, f"{len(vector)} dimensions, {'without' if embedding_model().exported else 'with'} torch")


def passage_model() -> Finding:
    """How passages are embedded on this machine."""
    from rag.backends.embedders.selftest import chosen

    model = embedding_model()
    if not model.exported:
        return Finding(State.OK, "torch: the model cannot be exported")
    try:
        way = chosen(find_weights(model.folder), Path(model.export_folder), rag_config().embed_threads)
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
