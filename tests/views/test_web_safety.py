"""W2-W5, W7, W9, W11: what browsers are told, what uploads may do, how much a request may send, what refuses to start."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import LazySettings
from django.http import FileResponse
from django.test import Client
from django.urls import reverse

from core.body_limit import limit_bodies
from core.models import User
from rag.models import Collection, Document

ROOT = Path(__file__).resolve().parents[2]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
AddText = Callable[..., Document]
SignIn = Callable[[User | None], Client]


def directives(policy: str) -> set[str]:
    return {part.strip() for part in policy.split(";")}


@pytest.mark.parametrize(
    "address", ["/sign-in/", "/", "/collections/", "/no-such-page/", "/components/", "/health/live/"]
)
def test_every_page_carries_the_exact_policy(alice: User, as_user: SignIn, address: str) -> None:
    for client in (Client(), as_user(alice)):
        response = client.get(address)
        assert directives(response["Content-Security-Policy"]) == directives(POLICY)
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response["X-Frame-Options"] == "DENY"
        assert "no-store" in response["Cache-Control"]


def test_https_sites_get_host_cookies_and_strict_transport(tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); from django.conf import settings as s;"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.SECURE_HSTS_SECONDS >= 31536000)"
    )
    run = run_python(code, FOOTNOTE_URL="https://footnote.example")
    assert run.stdout.split() == ["__Host-session", "__Host-csrf", "True", "True"], run.stderr


def test_plain_http_in_a_local_network_still_signs_in(alice: User) -> None:
    client = Client()
    response = client.post("/sign-in/", {"login": "alice", "password": "correct horse battery staple"})
    assert response.status_code == 302
    cookie = client.cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


@pytest.mark.django_db
@pytest.mark.parametrize(("host", "said"), [("127.0.0.1:8000", False), ("localhost", False), ("testserver", True)])
def test_sign_in_over_plain_http_says_that_it_is_not_encrypted(host: str, *, said: bool) -> None:
    page = Client(headers={"Host": host}).get("/sign-in/").content.decode()
    assert ("not encrypted" in page) is said
    assert "not encrypted" not in Client(headers={"Host": host}).get("/sign-in/", secure=True).content.decode()


def run_python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    base = {**os.environ, "DJANGO_SETTINGS_MODULE": "core.settings"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=base | environment
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"FOOTNOTE_SECRET_KEY": "changeme"}, "secret key is too short"),
        ({"FOOTNOTE_SECRET_KEY": "django-insecure-" + "x1y2z3a4b5" * 6}, "secret key is too short or a placeholder"),
        ({"FOOTNOTE_HOSTS": "*"}, "must name the hosts"),
        ({"FOOTNOTE_DEBUG": "true", "FOOTNOTE_URL": "https://footnote.example"}, "FOOTNOTE_DEBUG must be off"),
        ({"FOOTNOTE_UPLOAD_MB": "many"}, "must be a whole number"),
        ({"FOOTNOTE_URL": "footnote"}, "must look like"),
    ],
)
def test_unsafe_settings_refuse_to_start(environment: dict[str, str], sentence: str) -> None:
    run = run_python("import core.asgi", **environment)
    assert run.returncode != 0
    assert sentence in run.stderr


# --- W5


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("page.html", b"<!doctype html><html><body><p>Words</p><script>window.CANARY = 1</script></body></html>"),
        ("notes.md", b"# Words\n\n<script>window.CANARY = 1</script>"),
        ("words.txt", b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.CANARY=1'/> words"),
    ],
)
def test_originals_are_only_ever_downloads(
    alice: User, policies: Collection, add_text: AddText, as_user: SignIn, name: str, body: bytes
) -> None:
    document = add_text(alice, policies, name, body)
    response = as_user(alice).get(reverse("original", args=[document.pk, 1]))
    assert isinstance(response, FileResponse)
    assert response.getvalue() == body
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"].startswith("sandbox")


def test_a_stored_script_is_shown_as_words(
    alice: User, policies: Collection, add_text: AddText, as_user: SignIn
) -> None:
    document = add_text(alice, policies, "words.txt", "Words <script>window.CANARY = 1</script> & more")
    page = as_user(alice).get(reverse("page", args=[document.pk, 1, 1])).content.decode()
    assert "&lt;script&gt;window.CANARY" in page
    assert "<script>window.CANARY" not in page


# --- W9


async def _swallow(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the whole body, as Django does."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})


@contextmanager
def small_limits(settings: LazySettings) -> Iterator[None]:
    settings.UPLOAD_FORM_LIMIT, settings.PIECE_LIMIT, settings.FORM_LIMIT = 1_000_000, 500_000, 100_000
    yield


def post(path: str, pieces: int, *, declared: int | None = None) -> tuple[int, int]:
    """The status, and how many pieces of 10,000 bytes were taken before it came."""
    taken, statuses = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": taken < pieces}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    scope = {"type": "http", "path": path, "headers": headers}
    async_to_sync(limit_bodies(_swallow))(scope, receive, send)
    return statuses[0], taken


COLLECTION = "/collections/00000000-0000-0000-0000-000000000000/"
UPLOAD = f"{COLLECTION}upload/"
PIECE = "/uploads/00000000-0000-0000-0000-000000000000/"


def test_a_body_is_ended_at_its_limit_whoever_sends_it(settings: LazySettings) -> None:
    with small_limits(settings):
        assert post("/sign-in/", 5) == (200, 5)
        assert post("/sign-in/", 1000) == (413, 11)
        assert post("/sign-in/", 1000, declared=10_000_000) == (413, 0)
        assert post(UPLOAD, 100) == (200, 100)
        assert post(UPLOAD, 1000)[0] == 413
        assert post(UPLOAD, 1000)[1] < 110
        for piece in (PIECE, f"{COLLECTION}uploads/"):
            assert post(piece, 50) == (200, 50)
            assert post(piece, 1000) == (413, 51)
        assert post(f"{COLLECTION}uploads/existing/", 1000) == (413, 11)


def test_a_request_that_the_disk_has_no_room_for_is_answered_in_words() -> None:
    async def no_room(scope: Any, receive: Any, send: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "path": PIECE, "headers": []}
    async_to_sync(limit_bodies(no_room))(scope, receive, send)
    assert sent[0]["status"] == 507
    assert b"What was sent before is kept" in sent[1]["body"]
    with pytest.raises(OSError, match="Input/output"):
        async_to_sync(limit_bodies(broken))(scope, receive, send)


# --- W3, W10


def test_sign_in_does_not_tell_who_exists(alice: User) -> None:
    pages = []
    for name in ("alice", "nobody-of-this-name"):
        response = Client().post("/sign-in/", {"login": name, "password": "wrong"})
        pages.append(response.content.decode().replace(name, "NAME"))
    import re

    masked = [re.sub(r'csrfmiddlewaretoken" value="[^"]+"', "", page) for page in pages]
    assert masked[0] == masked[1]


def test_nobody_can_register_by_themselves() -> None:
    from django.urls import NoReverseMatch

    with pytest.raises(NoReverseMatch):
        reverse("account_signup")


def test_repeated_failures_are_slowed_down(alice: User) -> None:
    codes = [Client().post("/sign-in/", {"login": "alice", "password": "wrong"}).status_code for _ in range(12)]
    assert codes[0] == 200
    response = Client().post("/sign-in/", {"login": "alice", "password": "correct horse battery staple"})
    assert response.status_code != 302, "after twelve failures even the right password has to wait"


def test_the_form_cannot_send_people_to_another_site(alice: User, as_user: SignIn) -> None:
    response = as_user(alice).post(reverse("theme"), {"theme": "dark", "next": "//evil.example/"})
    assert response["Location"] == "/"
    assert response.cookies["theme"].value == "dark"
