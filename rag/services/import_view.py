"""An import as its receipt shows it."""

from collections.abc import Iterator
from typing import Any

from django.db.models import F

from rag.models import Batch
from rag.models.index import RunState
from rag.services import document_view, imports

SHOWN = 200  # failed and refused files on the page; the table for a spreadsheet has all of them


def page(batch: Batch) -> dict[str, Any]:
    """The receipt, what failed, what was refused and which pages were not read."""
    runs = imports.runs_of(batch).select_related("revision__document").order_by("revision__document__path")
    failed, gaps = runs.filter(state=RunState.FAILED), runs.filter(state=RunState.READY, gaps__gt=0)
    readings = document_view.newest_readings(gaps.values_list("revision", flat=True)[:SHOWN])
    refused = [entry for entry in batch.refused if entry[0]]
    return {
        "batch": batch,
        "receipt": imports.receipt(batch),
        "failed": [_line(run) for run in failed[:SHOWN]],
        "failed_total": failed.count(),
        "can_retry": failed.filter(needs_password=False, revision=F("revision__document__latest")).exists(),
        "refused": [{"path": path, "sentence": sentence} for path, sentence in refused[:SHOWN]],
        "refused_total": imports.refused_count(batch),
        "unread": document_view.unread(readings),
    }


def _line(run: Any) -> dict[str, Any]:
    document = run.revision.document
    return {"id": document.pk, "title": document.title, "path": document.path} | document_view.state_of(run)


def lines(batch: Batch) -> Iterator[tuple[str, str, int, str]]:
    """Every file of the import: its path, its state in words, its unread pages, and why it is so."""
    runs = imports.runs_of(batch).select_related("revision__document").order_by("revision__document__path")
    for run in runs.iterator(chunk_size=2000):
        state = document_view.state_of(run)
        yield run.revision.document.path, state["state_label"], run.gaps, run.message
    for path, sentence in batch.refused:
        if path:
            yield path, "refused", 0, sentence
