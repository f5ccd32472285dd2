"""People, teams, and the record of what they did."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _


class User(AbstractUser):
    """Somebody who can sign in. `is_superuser` makes an administrator, who runs the site and reads no team's documents by that."""

    class Meta:
        ordering = ("username",)


class Role(models.IntegerChoices):
    """What a member may do with the collections of a team. A larger number includes the smaller ones."""

    READER = 10, _("reader")
    CONTRIBUTOR = 20, _("contributor")
    MANAGER = 30, _("manager")


class Team(models.Model):
    """People who share collections."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    created = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in a team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.PositiveSmallIntegerField(_("role"), choices=Role.choices, default=Role.READER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("team", "user"), name="one_membership_per_team"),)
        indexes = (models.Index(fields=("user", "team", "role"), name="membership_of_user"),)

    def __str__(self) -> str:
        return f"{self.user_id} in {self.team_id}: {self.get_role_display()}"


class AuditEvent(models.Model):
    """One line of the audit log; written by core.audit.record alone and never changed. No foreign keys: it outlives its subjects."""

    at = models.DateTimeField()
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=150, blank=True)
    action = models.CharField(max_length=60)
    subject_kind = models.CharField(max_length=60, blank=True)
    subject_id = models.CharField(max_length=60, blank=True)
    facts = models.JSONField(default=dict)
    address = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=32, blank=True)
    previous = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("action", "at"), name="audit_action"),)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action}"
