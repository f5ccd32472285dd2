"""What every page knows about the site."""

from django.http import HttpRequest

from core import __version__

THEMES = ("auto", "light", "dark")


def site(request: HttpRequest) -> dict[str, object]:
    """Template context: the site's name and version, the theme, and whether an administrator looks at it."""
    theme = request.COOKIES.get("theme", "auto")
    user = getattr(request, "user", None)
    return {
        # Not "site": allauth gives its own pages a variable of that name.
        "footnote": {
            "name": "Footnote",
            "version": __version__,
            "theme": theme if theme in THEMES else "auto",
            "is_admin": bool(user is not None and user.is_authenticated and user.is_superuser),
        }
    }
