"""Why an answer is as it is: everything that was weighed, and the prompt as its reader may see it now."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from core.models import Membership, Role, Team, User
from rag.models import Collection, Document, Grant
from rag.services import answer_why, answering
from tests.flows.test_one_question import LEAVE, produced, use
from tests.scripted_ollama import ScriptedOllama

pytestmark = pytest.mark.django_db(transaction=True)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]


def test_every_passage_that_was_weighed_is_shown_with_its_ranks_and_what_may_not_be_read_any_more_is_left_out(
    alice: User, bob: User, policies: Collection, add_text: AddText, settings: LazySettings, as_user: SignIn
) -> None:
    pay = Collection.objects.create(name="Pay")
    office = Team.objects.create(name="Pay office")
    Membership.objects.create(team=office, user=bob, role=Role.READER)
    Grant.objects.create(collection=pay, team=office, role=Role.READER)
    add_text(alice, policies, "leave.md", LEAVE)
    add_text(alice, pay, "MARZIPAN.md", "# Marzipan scheme\n\nFull-time staff have a bonus for paid leave: MARZIPAN.")
    for number in range(12):
        add_text(alice, policies, f"note {number}.md", f"# Note {number}\n\nRoom {number * 7} is for staff on leave.")
    with ScriptedOllama(mood="ok") as server:
        use(settings, server)
        opened = answering.open_answer(
            bob, question="How much paid leave have full-time staff?", conversation=None, collections=[policies, pay]
        )
        answer = produced(opened)
        sent = server.requests[-1]["messages"]
    why = answer_why.why(answer, bob)
    assert why is not None
    rows = why["considered"]
    assert len(rows) > answer.sources.count()
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(row.dense_rank or row.keyword_rank for row in rows)
    assert {row.source for row in rows if row.source} == set(answer.sources.values_list("number", flat=True))
    assert all(row.offered == bool(row.source) for row in rows)
    assert (why["prompt"], why["left_out"]) == (sent, 0)
    assert ("num_ctx", "4096") in why["parameters"]
    page = as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    assert page.count("MARZIPAN") > 1
    assert answer.sources.all()[0].sha256 in page
    assert as_user(bob).get(rows[-1].url).status_code == 200

    Membership.objects.filter(user=bob, team=office).delete()
    why = answer_why.why(answer, bob)
    assert why is not None
    assert len(why["considered"]) == len(rows) - 1
    assert why["left_out"] == 1
    page = as_user(bob).get(reverse("answer", args=[answer.pk])).content.decode()
    assert "MARZIPAN" not in page.replace(answer.question, "")
    assert "arzipan" not in page
    assert "1 passage is left out here" in page
