"""What every page knows about the site."""

from django.http import HttpRequest

from core import __version__

THEMES = ("auto", "light", "dark")


def site(request: HttpRequest) -> dict[str, object]:
    """Template context: the site's name and version, the theme, whether an administrator looks at it, and
    whether what is typed travels unencrypted over a network (W3)."""
    theme = request.COOKIES.get("theme", "auto")
    user = getattr(request, "user", None)
    return {
        # Not "site": allauth gives its own pages a variable of that name.
        "footnote": {
            "name": "Footnote",
            "version": __version__,
            "theme": theme if theme in THEMES else "auto",
            "is_admin": bool(user is not None and user.is_authenticated and user.is_superuser),
            "unencrypted": not request.is_secure() and not _is_this_machine(request),
        }
    }


def _is_this_machine(request: HttpRequest) -> bool:
    """Whether the browser runs where the server does: nothing then travels over a network."""
    host = request.META.get("HTTP_HOST", "").rpartition(":")[0] or request.META.get("HTTP_HOST", "")
    return host in {"127.0.0.1", "localhost", "[::1]"}
