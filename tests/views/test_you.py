"""One's own page: teams, and the browsers that are signed in."""

import pytest
from django.test import Client
from django.urls import reverse

from core import sessions
from core.models import AuditEvent, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"


def signed_in(user: User, agent: str) -> Client:
    client = Client(headers={"user-agent": agent})
    response = client.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
    assert response.status_code == 302
    return client


def test_a_browser_sees_itself_first_and_the_others_after_it(alice: User) -> None:
    here, _there = signed_in(alice, FIREFOX), signed_in(alice, CHROME)
    found = here.get(reverse("you")).context["sessions"]
    assert [(each.browser, each.current) for each in found] == [
        ("Firefox on Windows", True),
        ("Chrome on Linux", False),
    ]
    assert all(each.address == "127.0.0.1" for each in found)


def test_a_browser_that_is_signed_out_from_elsewhere_gets_nothing_more(alice: User) -> None:
    here, there = signed_in(alice, FIREFOX), signed_in(alice, CHROME)
    other = next(each for each in here.get(reverse("you")).context["sessions"] if not each.current)
    assert here.post(reverse("session_end", args=[other.id])).status_code == 302
    assert there.get(reverse("ask")).status_code == 302
    assert here.get(reverse("ask")).status_code == 200
    assert AuditEvent.objects.get(action="session.ended").facts == {"count": 1}


def test_all_others_are_signed_out_at_once(alice: User, bob: User) -> None:
    here = signed_in(alice, FIREFOX)
    others = [signed_in(alice, CHROME) for _ in range(3)]
    foreign = signed_in(bob, CHROME)
    here.post(reverse("sessions_end_others"))
    assert [client.get(reverse("ask")).status_code for client in others] == [302] * 3
    assert (here.get(reverse("ask")).status_code, foreign.get(reverse("ask")).status_code) == (200, 200)
    assert [each.current for each in here.get(reverse("you")).context["sessions"]] == [True]


def test_nobody_signs_anybody_else_out(alice: User, bob: User) -> None:
    hers, his = signed_in(alice, FIREFOX), signed_in(bob, CHROME)
    (session,) = sessions.of(alice, current=None)
    assert his.post(reverse("session_end", args=[session.id])).status_code == 404
    assert hers.get(reverse("ask")).status_code == 200
    assert not AuditEvent.objects.filter(action="session.ended").exists()


def test_a_session_that_ended_by_itself_is_listed_no_more(alice: User) -> None:
    here, there = signed_in(alice, FIREFOX), signed_in(alice, CHROME)
    there.session.flush()
    assert len(here.get(reverse("you")).context["sessions"]) == 1


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile/15E148 Safari/604.1",
            "Safari on iOS",
        ),
        (CHROME + " Edg/150.0", "Edge on Linux"),
        ("curl/8.0", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_browser_is_called_what_people_call_it(agent: str, words: str) -> None:
    assert sessions.described(agent) == words
