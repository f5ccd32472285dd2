"""What has to be there before anything serves: folders, key, tables, static files, models, an administrator, samples.

Every step is quick when there is nothing to do: `up` takes all of them at every start, and so does `prepare`, which a
container runs before the others start.
"""

import getpass
import hashlib
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
PENDING = "samples.pending"  # in the data folder, from the first administrator until the samples are loaded
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Administrator:
    """The first administrator; a generated password is shown once."""

    name: str
    password: str = field(repr=False)
    generated: bool


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


def prepare(say: Say) -> Administrator | None:
    """Tables, static files, models; the first administrator to be made, where there is none yet.

    Asking comes before the steps that take long; making comes last (`make`), so that a password is never lost.
    """
    call_command("migrate", interactive=False, verbosity=0)
    planned = None if User.objects.filter(is_superuser=True).exists() else plan_administrator()
    collect_static()
    for name, run in registry.preparations.items():
        say(f"Preparing: {name}")
        run()
    return planned


def plan_administrator() -> Administrator:
    """Name and password from the environment, by asking, or made up. Raises CommandError when they will not do."""
    name = env_str("FOOTNOTE_ADMIN_NAME")
    password = env_secret("FOOTNOTE_ADMIN_PASSWORD")
    if not name and not password and at_terminal():
        name, password = _ask()
    name = name or "admin"
    generated = not password
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
    return Administrator(name=name, password=password or secrets.token_urlsafe(15), generated=generated)


def make(administrator: Administrator, *, samples: bool) -> None:
    """Makes the first administrator and notes whether the sample collection is wanted."""
    if samples:
        (Path(settings.DATA_DIR) / PENDING).touch(mode=0o600)
    create_user(None, username=administrator.name, password=administrator.password, administrator=True)


def load_pending_samples(say: Say) -> None:
    """Loads the sample collection where it is still to be loaded, for the first administrator."""
    pending = Path(settings.DATA_DIR) / PENDING
    if not pending.exists():
        return
    if registry.samples is not None:
        say("Loading the sample collection.")
        registry.samples(User.objects.filter(is_superuser=True).earliest("pk"))
    pending.unlink()


def introduce(administrator: Administrator) -> str:
    """What the terminal says about the first administrator, once."""
    if not administrator.generated:
        return f"Sign in as {administrator.name}."
    return (
        f"Sign in as {administrator.name} with the password {administrator.password} (shown this once; change it soon)."
    )


def at_terminal() -> bool:
    """True when there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


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
