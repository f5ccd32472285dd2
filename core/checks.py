"""What refuses to start: settings that would be unsafe outside a developer's machine (W11)."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

_PLACEHOLDERS = ("changeme", "change-me", "secret", "django-insecure", "example", "placeholder", "password")


@register(Tags.security)
def secret_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The key that signs sessions exists, is long, and is nobody's example."""
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:  # Django hands out no empty one
        key = ""
    if not key:
        return [
            Error(
                "There is no secret key.",
                hint="Run: python3 manage.py up, or set FOOTNOTE_SECRET_KEY.",
                id="footnote.E001",
            )
        ]
    if len(key) < 50 or len(set(key)) < 10 or any(word in key.lower() for word in _PLACEHOLDERS):
        return [
            Error(
                "The secret key is too short or a placeholder.",
                hint='Make one: python3 -c "import secrets; print(secrets.token_urlsafe(50))"',
                id="footnote.E002",
            )
        ]
    return []


@register(Tags.security)
def debug_and_hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Debug pages and any-host answers stay off."""
    errors: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        errors.append(Error("FOOTNOTE_HOSTS must name the hosts, not *.", id="footnote.E003"))
    if settings.DEBUG and (urlsplit(settings.SITE_URL).hostname or "") not in {"127.0.0.1", "localhost", "::1"}:
        errors.append(Error("FOOTNOTE_DEBUG must be off where others can reach the site.", id="footnote.E004"))
    return errors


def refuse_unsafe_settings() -> None:
    """Raises ImproperlyConfigured with every reason not to serve; called where a server or a worker starts."""
    reasons = [str(error.msg) for error in (*secret_key(None), *debug_and_hosts(None))]
    if reasons:
        raise ImproperlyConfigured(" ".join(reasons))
