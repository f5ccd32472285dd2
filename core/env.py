"""Reads the environment, and nothing else does. A wrong value refuses to start with one sentence."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def env_str(name: str, default: str = "") -> str:
    """The variable's text without surrounding blanks; `default` when it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, *, default: bool) -> bool:
    """True for 1, true, yes, on; False for 0, false, no, off."""
    text = env_str(name).lower()
    if not text:
        return default
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def env_int(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    """A whole number between `least` and `most`."""
    text = env_str(name)
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {text!r}.") from None
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be between {least} and {most}, not {number}.")
    return number


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, in whatever case it was typed."""
    text = env_str(name, default).lower()
    if text not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {text!r}.")
    return text


def env_list(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """The comma-separated parts, blanks taken off, empty ones left out."""
    return [part.strip() for part in env_str(name).split(",") if part.strip()] or list(default)


def env_urls(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """The web addresses, separated by commas, without a slash behind them."""
    urls = [url.rstrip("/") for url in env_list(name, default)]
    for url in urls:
        try:
            parts = urlsplit(url)
            whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none
            whole = False
        if not whole:
            raise ImproperlyConfigured(f"{name} must hold addresses like http://gpu.example:8000, not {url!r}.")
    return urls


def env_path(name: str, default: Path) -> Path:
    """An absolute path; `~` is the home folder."""
    text = env_str(name)
    return Path(text).expanduser().resolve() if text else default


def env_secret(name: str, default: str = "") -> str:
    """The variable's text, or the first line of the file that NAME_FILE names (container secrets)."""
    file = env_str(f"{name}_FILE")
    if not file:
        return env_str(name, default)
    if env_str(name):
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    try:
        return Path(file).read_text().strip().splitlines()[0]
    except (OSError, IndexError):
        raise ImproperlyConfigured(f"{name}_FILE points to {file}, which cannot be read or is empty.") from None


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `changes` made to it, for a child process."""
    return {**os.environ, **changes}
