"""Makes people and teams; every act is audited in its own transaction."""

from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils.translation import gettext as _

from core import audit
from core.models import Membership, Role, Team, User


class Refused(Exception):
    """An administrator asked for something that would lock people out; the message says what."""


@transaction.atomic
def create_user(actor: User | None, *, username: str, password: str, administrator: bool = False) -> User:
    """A new account that can sign in."""
    user = User.objects.create_user(
        username=username, password=password, is_superuser=administrator, is_staff=administrator
    )
    audit.record("user.created", actor=actor, subject=user, administrator=administrator)
    return user


@transaction.atomic
def deactivate_user(actor: User, user: User) -> None:
    """Ends the account and every session of it; what it wrote stays. Raises Refused for the last administrator."""
    others = User.objects.select_for_update().filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not others.exists():
        raise Refused(_("This is the last administrator. Make another one first."))
    User.objects.filter(pk=user.pk).update(is_active=False)
    for session in Session.objects.iterator():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()
    audit.record("user.deactivated", actor=actor, subject=user)


@transaction.atomic
def create_team(actor: User, *, name: str) -> Team:
    """A new team with `actor` as its first manager."""
    team = Team.objects.create(name=name)
    audit.record("team.created", actor=actor, subject=team, name=name)
    add_member(actor, team, user=actor, role=Role.MANAGER)
    return team


@transaction.atomic
def add_member(actor: User, team: Team, *, user: User, role: Role) -> Membership:
    """Puts a person into a team, or changes their role in it. From the next request on they may use its collections."""
    membership, _created = Membership.objects.update_or_create(team=team, user=user, defaults={"role": role})
    audit.record("team.member_added", actor=actor, subject=team, user=user.pk, role=int(role))
    return membership


@transaction.atomic
def remove_member(actor: User, membership: Membership) -> None:
    """Takes a person out of a team; their next request no longer sees its collections."""
    audit.record("team.member_removed", actor=actor, subject=membership.team, user=membership.user_id)
    membership.delete()
