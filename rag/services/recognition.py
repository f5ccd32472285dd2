"""Pages that are pictures: recognised one by one, each kept as soon as it is read, so that a killed run goes on behind it."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from django.utils import timezone

from core.sealing import unseal
from rag.backends.sandbox_messages import page_message, read_page
from rag.config import rag_config
from rag.domain.types import Page, Reading
from rag.models import IngestRun, PageDraft
from rag.models.index import RunState
from rag.services import coverage
from rag.services.leases import Lease
from rag.services.queues import Turn, TurnOver
from rag.services.steps import step
from rag.slots import sandbox

PAGE_SECONDS = 120.0  # for one page: thirty times what one takes


def to_recognise(pages: Sequence[Page]) -> list[int]:
    """The numbers of the pages whose pictures hold what was not read."""
    return [page.number for page in pages if page.reading is Reading.UNREAD and page.number is not None]


def recognised(run: IngestRun, file: Path, name: str, pages: Sequence[Page], lease: Lease, turn: Turn) -> list[Page]:
    """The pages with what is on their pictures, as far as it could be read.

    Raises TurnOver when others go first: the run is to be queued again, and goes on behind the last page.
    """
    wanted = to_recognise(pages)
    drafts = _drafts(run)
    waiting = [number for number in wanted if number not in drafts]
    done = len(wanted) - len(waiting)
    began = {} if run.state == RunState.RECOGNISING else {"started": timezone.now()}
    lease.write(state=RunState.RECOGNISING, done=done, total=len(wanted), **began)
    step("recognise:begun")

    def keep(page: Page) -> None:
        nonlocal done
        number = page.number or 0
        done += 1
        with lease.guarded():
            PageDraft.objects.get_or_create(revision=run.revision, number=number, defaults={"data": _packed(page)})
            # What was tried so often came one page further: only a page that breaks it three times ends it.
            lease.write(done=done, failures=0)
        drafts[number] = page
        step("recognise:page-kept")
        if turn.over() and done < len(wanted):
            raise TurnOver

    if waiting:
        config = rag_config()
        language = coverage.language(pages)
        sandbox().recognise(
            file,
            name=name,
            numbers=waiting,
            seconds=min(PAGE_SECONDS, config.parse_seconds),
            memory=config.parse_memory,
            password=unseal(run.revision.secret),
            languages=(language,) if language else (),
            on_page=keep,
            progress=lambda done, total: lease.write(),  # a cancelled run stops within seconds
        )
    return [_merged(page, drafts.get(page.number or 0)) for page in pages]


def _merged(page: Page, draft: Page | None) -> Page:
    """The page as recognised; what the file itself said of it stays where nothing better was read."""
    if draft is None or page.reading is not Reading.UNREAD:
        return page
    if draft.reading is Reading.OCR:
        return replace(draft, label=page.label)
    if draft.reading is Reading.BLANK:
        return replace(page, reading=Reading.TEXT if page.text.strip() else Reading.BLANK, gap="")
    return replace(page, gap=draft.gap or page.gap)


def _drafts(run: IngestRun) -> dict[int, Page]:
    found = PageDraft.objects.filter(revision=run.revision).values_list("number", "data")
    return {number: _unpacked(bytes(data)) for number, data in found}


def _packed(page: Page) -> bytes:
    return zlib.compress(json.dumps(page_message(page)).encode())


def _unpacked(data: bytes) -> Page:
    return read_page(json.loads(zlib.decompress(data)))
