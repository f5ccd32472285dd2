"""How long the server takes for pages that have much to show: `.venv/bin/python -m tests.benchmarks.pages`.

A collection of 50,000 documents and a conversation of 200 answers, in an empty installation of its own, are asked for through the whole
of Django (middleware, session, rights, template) without a network between. On a busy machine only the processor time tells something.
"""

import argparse
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import django
import numpy as np

if TYPE_CHECKING:
    from core.models import Team, User
    from rag.models import Collection, Conversation

DOCUMENTS, ANSWERS, TIMES = 50_000, 200, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--answers", type=int, default=ANSWERS)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
    django.setup()
    from django.conf import settings
    from django.test.utils import override_settings

    from rag.evaluation.temporary import temporary_installation

    plain = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    here = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}  # no Redis runs beside this
    with (
        temporary_installation(),
        override_settings(STORAGES=plain, CACHES=here, ALLOWED_HOSTS=["testserver"]),
    ):
        print(f"{arguments.documents:,} documents, {arguments.answers} answers; {TIMES} times each, milliseconds")
        print(f"{'page':<44} {'p50':>6} {'p95':>6} {'CPU':>6} {'kB':>6}")
        for name, ask in _pages(arguments.documents, arguments.answers):
            print(_measured(name, ask), flush=True)


def _pages(documents: int, answers: int) -> Iterator[tuple[str, Callable[[], int]]]:
    from django.test import Client
    from django.urls import reverse

    from core.models import Membership, Role, Team, User

    alice = User.objects.create_user("alice", password="correct horse battery staple")
    team = Team.objects.create(name="Clinic")
    Membership.objects.create(user=alice, team=team, role=Role.MANAGER)
    client = Client()
    client.force_login(alice)
    collection = _collection(alice, team, documents)
    conversation = _conversation(alice, collection, answers)

    def get(address: str) -> Callable[[], int]:
        def ask() -> int:
            response = client.get(address, secure=True)
            assert response.status_code == 200, (address, response.status_code)
            return len(response.content)

        return ask

    place = reverse("collection", args=[collection.pk])
    yield "documents", get(place)
    yield "documents, sorted by title", get(f"{place}?sort=title")
    yield "documents, sorted by size", get(f"{place}?sort=-size")
    yield "documents, page 400", get(f"{place}?page=400")
    yield "documents, found by a word", get(f"{place}?q=4711")
    yield "documents, failed ones", get(f"{place}?state=failed")
    yield "collections", get(reverse("collections"))
    yield "ask", get(reverse("ask"))
    yield "a conversation", get(reverse("conversation", args=[conversation.pk]))
    yield "quality", get(reverse("quality", args=[collection.pk]))


def _collection(alice: "User", team: "Team", count: int) -> "Collection":
    from django.utils import timezone

    from rag.models import Document, Extraction, IngestRun, Revision
    from rag.models.index import RunState
    from rag.services import library

    chance = random.Random(1)
    collection = library.create_collection(alice, name="Archive", description="", team=team)
    now = timezone.now()
    for start in range(0, count, 5_000):
        numbers = range(start, min(start + 5_000, count))
        made = [
            Document(collection=collection, path=f"folder {n % 97}/letter {n}.pdf", title=f"Letter {n}", owner=alice)
            for n in numbers
        ]
        Document.objects.bulk_create(made)
        revisions = Revision.objects.bulk_create(
            Revision(
                document=document,
                number=1,
                sha256=f"{start + place:064x}",
                size=chance.randrange(1_000, 9_000_000),
                media_type="application/pdf",
                file=f"{start + place}",
                uploader=alice,
            )
            for place, document in enumerate(made)
        )
        states = chance.choices([RunState.READY, RunState.FAILED, RunState.QUEUED], [95, 3, 2], k=len(made))
        IngestRun.objects.bulk_create(
            IngestRun(revision=revision, state=state, message="The file is damaged." if state == "failed" else "")
            for revision, state in zip(revisions, states, strict=True)
        )
        Extraction.objects.bulk_create(
            Extraction(revision=revision, parser="pdf/1", pages_in_all=chance.randrange(1, 90))
            for revision in revisions
        )
        for document, revision in zip(made, revisions, strict=True):
            document.latest = document.current = revision
            document.created = now - timedelta(minutes=revision.pk)
        Document.objects.bulk_update(made, ["latest", "current", "created"], batch_size=1_000)
    return collection


def _conversation(alice: "User", collection: "Collection", count: int) -> "Conversation":
    from rag.models import (
        Answer,
        AnswerSource,
        Citation,
        Conversation,
        Document,
        Extraction,
        Page,
        Sentence,
    )
    from rag.models.conversation import AnswerState

    thread = Conversation.objects.create(owner=alice, title="A long one")
    thread.collections.set([collection])
    words = "The notice period is three months to the end of a quarter. " * 10
    documents = list(Document.objects.live().filter(collection=collection, current__isnull=False)[:50])
    readings = {e.revision_id: e for e in Extraction.objects.filter(revision__in=[d.current_id for d in documents])}
    Page.objects.bulk_create(Page(extraction=e, place=0, number=1, text=words) for e in readings.values())
    for number in range(count):
        answer = Answer.objects.create(
            conversation=thread, question=f"What is the notice period of contract {number}?", state=AnswerState.FINISHED
        )
        sources = AnswerSource.objects.bulk_create(
            AnswerSource(
                answer=answer,
                number=place + 1,
                document=document,
                extraction=readings[document.current_id or 0],
                revision=1,
                chunk_id=place,
                page_from=0,
                page_to=0,
                start=0,
                end=300,
                sha256=hashlib.sha256(words[:300].encode()).hexdigest(),
                score=1.0,
            )
            for place, document in enumerate(random.Random(number).sample(documents, 8))
        )
        for ordinal in range(3):
            sentence = Sentence.objects.create(
                answer=answer, ordinal=ordinal, text="It is three months to the end of a quarter.", verdict="supported"
            )
            Citation.objects.create(sentence=sentence, source=sources[ordinal], start=0, end=58)
    return thread


def _measured(name: str, ask: Callable[[], int]) -> str:
    size = ask()
    walls, processor = [], time.process_time()
    for _ in range(TIMES):
        started = time.perf_counter()
        ask()
        walls.append(1000 * (time.perf_counter() - started))
    cpu = 1000 * (time.process_time() - processor) / TIMES
    p50, p95 = np.percentile(walls, [50, 95])
    return f"{name:<44} {p50:>6.0f} {p95:>6.0f} {cpu:>6.0f} {size / 1000:>6.0f}"


if __name__ == "__main__":
    main()
