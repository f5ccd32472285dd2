"""What the layout promises: who makes scopes, who reads the environment, what a web process never loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("core", "rag") for path in (ROOT / folder).rglob("*.py")]


def calls(path: Path) -> list[tuple[str, int]]:
    """Every plain call in a file: its name and line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            found.append((name, node.lineno))
    return found


def test_scopes_are_made_in_access_alone() -> None:
    makers = {path.relative_to(ROOT).as_posix() for path in SOURCES for name, _ in calls(path) if name == "Scope"}
    assert makers == {"rag/access.py"}


def test_audit_events_are_written_by_record_alone() -> None:
    makers = {path.relative_to(ROOT).as_posix() for path in SOURCES for name, _ in calls(path) if name == "AuditEvent"}
    assert makers == {"core/audit.py"}


def test_chunks_are_read_through_a_scope_or_loudly_for_upkeep() -> None:
    """`Chunk.objects.` is followed by visible_to, for_maintenance or bulk_create and by nothing else."""
    loud = {"visible_to", "for_maintenance", "bulk_create"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Attribute):
                continue
            manager = node.value
            if manager.attr == "objects" and isinstance(manager.value, ast.Name) and manager.value.id == "Chunk":
                assert node.attr in loud, f"{path}:{node.lineno}"


def test_upkeep_readings_stay_out_of_views() -> None:
    for path in (ROOT / "rag" / "views").glob("*.py"):
        assert "for_maintenance" not in path.read_text(), path


def test_views_are_short() -> None:
    """A view fetches and checks, calls one service, and renders."""
    for path in (ROOT / "rag" / "views").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 40, f"{path.name}: {node.name} has {length} lines"


def test_no_stream_is_made_of_a_plain_generator() -> None:
    """Under ASGI a plain generator sends nothing until it ends and does not notice that its reader left."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "StreamingHttpResponse":
                assert path.name in {"answers.py", "events.py"}, (
                    f"{path}: stream from an asynchronous generator, and list it here"
                )


@pytest.mark.once
def test_a_web_process_starts_without_torch_faiss_or_transformers() -> None:
    code = (
        "import sys, django; django.setup();"
        "import core.asgi, rag.tasks; from django.urls import get_resolver; get_resolver().url_patterns;"
        "heavy = {'torch', 'faiss', 'sentence_transformers', 'transformers', 'openvino', 'tantivy', 'pypdfium2'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=_environment())
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.once
def test_a_web_process_that_has_answered_still_has_no_torch() -> None:
    code = (
        "import sys, django; django.setup();"
        "from rag import slots; slots.vector_indexes(); slots.keyword_index();"
        "import rag.services.answering, rag.services.retrieve, rag.views.viewer;"
        "import rag.backends.embedders.openvino;"
        "print(sorted({'torch', 'sentence_transformers', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=_environment())
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "DJANGO_SETTINGS_MODULE": "core.settings"}


@pytest.mark.once
def test_nothing_in_the_product_names_a_host_to_fetch_from() -> None:
    """P8: no address of another machine in code, templates or scripts, comments and tests aside."""
    import re

    allowed = (
        "127.0.0.1",
        "localhost",
        "footnote.example",
        "gpu.example",
        "www.w3.org",
        "schemas.",
        "purl.org",
        "example.org",
        "ns.adobe.com",
        "openoffice.org/2001/registry",  # an XML vocabulary
        "www.idpf.org/2008/embedding",  # the name of a way to disguise fonts
        "iptc.org/",  # names of a mark that files carry
        "api.replicate.com",  # asked only where the operator names this very host
        "://{",
    )
    for folder, pattern in (("core", "*.py"), ("rag", "*.py"), ("templates", "*.html"), ("static", "*.[jc]s*")):
        for path in (ROOT / folder).rglob(pattern):
            if "samples" in path.parts:
                continue
            for address in re.findall(r"https?://[^\s\"'<>)`]+", path.read_text()):
                assert any(part in address for part in allowed), f"{path.relative_to(ROOT)}: {address}"
