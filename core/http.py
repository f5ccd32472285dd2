"""Small things about requests and responses that several views share."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

from core.models import User


class SignedIn(HttpRequest):
    """A request behind the sign-in: `user` is a User. For annotations; Django makes plain requests."""

    user: User
    htmx: Any


def administrator_required(request: HttpRequest) -> None:
    """Raises Http404 unless an administrator asks: others need not know that the page exists."""
    user = request.user
    if not (user.is_authenticated and user.is_active and user.is_superuser):
        raise Http404("There is nothing here.")


class SeeOther(HttpResponseRedirect):
    """After a POST: look there, with a GET."""

    status_code = 303


def same_site_path(request: HttpRequest, target: str, default: str) -> str:
    """`target` if it is a path on this site, otherwise `default`: no form can send people elsewhere."""
    if target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None):
        return target
    return default


def sse(event: str, data: str, *, event_id: str = "") -> str:
    """One server-sent event. Every line break that a browser knows splits `data` into lines, so no text can end the event."""
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"


SSE_COMMENT = ": still here\n\n"
