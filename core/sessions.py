"""Where a person is signed in, and how a browser is signed out from elsewhere. Ending one is audited with it."""

import re
from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.db import transaction
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from core import audit
from core.models import User

# The first that fits: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
_BROWSERS = (
    (r"Edg(?:e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Chrom(?:e|ium)/|CriOS/", "Chrome"),
    (r"Safari/", "Safari"),
)
_SYSTEMS = (
    (r"iPhone|iPad", "iOS"),
    (r"Android", "Android"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "macOS"),
    (r"CrOS", "ChromeOS"),
    (r"Linux|X11", "Linux"),
)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A browser that is signed in. `address` is where it signed in from."""

    id: int
    browser: str
    address: str
    since: datetime
    current: bool


def of(user: User, *, current: str | None) -> list[SessionView]:
    """The browsers that are signed in as `user`, the one with the session key `current` first, then the newest."""
    found = [
        SessionView(
            id=row.pk,
            browser=described(row.user_agent),
            address=row.ip,
            since=row.created_at,
            current=row.session_key == current,
        )
        for row in UserSession.objects.purge_and_list(user)
    ]
    return sorted(found, key=lambda view: (not view.current, -view.since.timestamp()))


@transaction.atomic
def end(user: User, session_id: int) -> None:
    """Signs one of `user`'s browsers out; Http404 for anybody else's, and for one that is signed out already."""
    session = get_object_or_404(UserSession, pk=session_id, user=user)
    session.end()
    audit.record("session.ended", actor=user, subject=user, count=1)


@transaction.atomic
def end_others(user: User, *, current: str | None) -> int:
    """Signs all of `user`'s browsers out but the one with the session key `current`; how many those were."""
    others = [row for row in UserSession.objects.purge_and_list(user) if row.session_key != current]
    for row in others:
        row.end()
    if others:
        audit.record("session.ended", actor=user, subject=user, count=len(others))
    return len(others)


def described(user_agent: str) -> str:
    """ "Firefox on Windows", as far as the browser says so."""
    browser = next((name for pattern, name in _BROWSERS if re.search(pattern, user_agent)), _("A browser"))
    system = next((name for pattern, name in _SYSTEMS if re.search(pattern, user_agent)), "")
    return _("%(browser)s on %(system)s") % {"browser": browser, "system": system} if system else browser
