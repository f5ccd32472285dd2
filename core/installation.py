"""What has to be there before anything serves: folders, key, tables, static files, models, an administrator, samples.

Every step is quick when there is nothing to do: `up` takes all of them at every start, and so does `prepare`, which a
container runs before the others start.
"""

import getpass
import hashlib
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.contrib.staticfiles.finders import get_finders
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from core.env import env_secret, env_str
from core.models import User
from core.registry import registry
from core.services import create_user

FOLDERS = ("originals", "tmp", "run", "index", "models", "static", "logs", "redis")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who was made the first administrator; `password` only where it was generated, to be shown once."""

    name: str
    password: str = ""


def make_folders(data: Path) -> None:
    """Makes the data folder and what belongs in it, for this user alone. Raises CommandError with the way out."""
    try:
        for folder in (data, *(data / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data / "run" / f".writable-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(
            f"The data folder {data} cannot be written ({error.strerror}). "
            f"Give it to this user, or choose another: FOOTNOTE_DATA=/path/to/folder python3 manage.py up"
        ) from error


def ensure_secret_key(data: Path) -> None:
    """Writes data/secret_key, 50 random bytes for this user's eyes, unless there is a key. Takes effect at once."""
    if env_secret("FOOTNOTE_SECRET_KEY"):
        return
    path = data / "secret_key"
    if not path.exists():
        partial = path.with_suffix(".part")
        partial.touch(mode=0o600)
        partial.write_text(secrets.token_urlsafe(50) + "\n")
        partial.replace(path)
    settings.SECRET_KEY = path.read_text().strip()


def collect_static() -> None:
    """Gathers and compresses the static files; nothing happens while none of them has changed."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(digest.hexdigest())


def prepare(say: Say, *, samples: bool) -> Administrator | None:
    """Takes every step that needs the database; the administrator when this is the first start."""
    call_command("migrate", interactive=False, verbosity=0)
    collect_static()
    for name, run in registry.preparations.items():
        say(f"Preparing: {name}")
        run()
    pending = Path(settings.DATA_DIR) / "samples.pending"
    administrator = first_administrator()
    if administrator and samples:
        pending.touch(mode=0o600)
    if pending.exists():
        if registry.samples is not None:
            say("Loading the sample collection.")
            registry.samples(User.objects.filter(is_superuser=True).earliest("pk"))
        pending.unlink()
    return administrator


def first_administrator() -> Administrator | None:
    """The first administrator, made from the environment, by asking or with a new password; None when there is one."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    name = env_str("FOOTNOTE_ADMIN_NAME")
    password = env_secret("FOOTNOTE_ADMIN_PASSWORD")
    if not name and not password and sys.stdin.isatty() and sys.stdout.isatty():
        name, password = _ask()
    name = name or "admin"
    generated = "" if password else secrets.token_urlsafe(15)
    user = User(username=name)
    try:
        user.full_clean(exclude=["password"])
        if password:
            validate_password(password, user)
    except ValidationError as error:
        raise CommandError(
            f"The administrator {name!r} cannot be made: {' '.join(error.messages)} "
            "Set another FOOTNOTE_ADMIN_NAME or FOOTNOTE_ADMIN_PASSWORD."
        ) from error
    create_user(None, username=name, password=password or generated, administrator=True)
    return Administrator(name=name, password=generated)


def _ask() -> tuple[str, str]:
    """Name and password from the terminal; an empty password asks for a generated one."""
    name = input("Name of the first administrator [admin]: ").strip() or "admin"
    while True:
        password = getpass.getpass("Password, at least 12 characters (empty: make one for me): ")
        if not password:
            return name, ""
        try:
            validate_password(password)
        except ValidationError as error:
            sys.stdout.write(" ".join(error.messages) + "\n")
            continue
        if password == getpass.getpass("The same again: "):
            return name, password
        sys.stdout.write("These were different.\n")


def introduce(administrator: Administrator) -> str:
    """What the terminal says about the first administrator, once."""
    if not administrator.password:
        return f"Sign in as {administrator.name}."
    return (
        f"Sign in as {administrator.name} with the password {administrator.password} (shown this once; change it soon)."
    )
