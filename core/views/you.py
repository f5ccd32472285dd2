"""One's own account: teams, where one is signed in."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from core import sessions
from core.http import SignedIn


@require_GET
def you(request: SignedIn) -> HttpResponse:
    """Who one is here, and every browser that is signed in as oneself."""
    context = {
        "memberships": request.user.memberships.select_related("team").order_by("team__name"),
        "sessions": sessions.of(request.user, current=request.session.session_key),
    }
    return render(request, "core/you.html", context)


@require_POST
def end_session(request: SignedIn, session_id: int) -> HttpResponse:
    """Signs one other browser out."""
    sessions.end(request.user, session_id)
    messages.success(request, _("That browser is signed out."))
    return redirect("you")


@require_POST
def end_others(request: SignedIn) -> HttpResponse:
    """Signs every browser out but this one."""
    ended = sessions.end_others(request.user, current=request.session.session_key)
    sentence = ngettext("%d other browser is signed out.", "%d other browsers are signed out.", ended)
    messages.success(request, sentence % ended if ended else _("No other browser was signed in."))
    return redirect("you")
