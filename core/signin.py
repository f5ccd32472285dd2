"""Writes sign-ins, failed ones too, and sign-outs to the audit log; Django tells of them by signals alone."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from core import audit
from core.models import User


@receiver(user_logged_in)
def _signed_in(sender: type[User], user: User, **kwargs: Any) -> None:
    audit.record("session.signed_in", actor=user, subject=user)


@receiver(user_logged_out)
def _signed_out(sender: type[User], user: User | None, **kwargs: Any) -> None:
    if user is not None:
        audit.record("session.signed_out", actor=user, subject=user)


@receiver(user_login_failed)
def _failed(sender: str, credentials: dict[str, Any], **kwargs: Any) -> None:
    audit.record("session.failed", actor=None, username=str(credentials.get("username", ""))[:150])
