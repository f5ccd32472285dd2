"""People and teams, for administrators."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from core import services
from core.forms import MemberForm, TeamForm, UserForm
from core.http import SignedIn, administrator_required
from core.models import Membership, Team, User


@dataclass(frozen=True, slots=True)
class TeamRow:
    team: Team
    members: list[Membership]
    add_form: MemberForm

    @property
    def id(self) -> int:
        return self.team.pk

    @property
    def name(self) -> str:
        return self.team.name


def _page(request: SignedIn, *, status: int = 200, **forms: object) -> HttpResponse:
    rows = [
        TeamRow(team, list(team.memberships.all()), MemberForm(auto_id=f"team-{team.pk}-%s"))
        for team in Team.objects.prefetch_related("memberships__user")
    ]
    context = {
        "teams": rows,
        "users": User.objects.order_by("-is_active", "username"),
        "user_form": forms.get("user_form") or UserForm(auto_id="user-%s"),
        "team_form": forms.get("team_form") or TeamForm(auto_id="team-%s"),
    }
    return render(request, "core/people.html", context, status=status)


@require_GET
def people(request: SignedIn) -> HttpResponse:
    """Every account and every team."""
    administrator_required(request)
    return _page(request)


@require_POST
def user_create(request: SignedIn) -> HttpResponse:
    """A new account."""
    administrator_required(request)
    form = UserForm(request.POST, auto_id="user-%s")
    if not form.is_valid():
        return _page(request, status=422, user_form=form)
    user = services.create_user(request.user, **form.cleaned_data)
    messages.success(request, _("%(name)s can sign in now.") % {"name": user.username})
    return redirect("people")


@require_POST
def user_deactivate(request: SignedIn, user_id: int) -> HttpResponse:
    """Ends an account and its sessions."""
    administrator_required(request)
    user = get_object_or_404(User, pk=user_id)
    try:
        services.deactivate_user(request.user, user)
    except services.Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("%(name)s can no longer sign in.") % {"name": user.username})
    return redirect("people")


@require_POST
def team_create(request: SignedIn) -> HttpResponse:
    """A new team; whoever makes it is its first manager."""
    administrator_required(request)
    form = TeamForm(request.POST, auto_id="team-%s")
    if not form.is_valid():
        return _page(request, status=422, team_form=form)
    services.create_team(request.user, name=form.cleaned_data["name"])
    return redirect("people")


@require_POST
def team_add_member(request: SignedIn, team_id: int) -> HttpResponse:
    """Puts a person into a team, or changes their role."""
    administrator_required(request)
    team = get_object_or_404(Team, pk=team_id)
    form = MemberForm(request.POST)
    if form.is_valid():
        services.add_member(request.user, team, **form.cleaned_data)
    else:
        messages.error(request, _("Choose a person and a role."))
    return redirect("people")


@require_POST
def team_remove_member(request: SignedIn, team_id: int, membership_id: int) -> HttpResponse:
    """Takes a person out of a team."""
    administrator_required(request)
    membership = get_object_or_404(Membership, pk=membership_id, team_id=team_id)
    services.remove_member(request.user, membership)
    return redirect("people")
