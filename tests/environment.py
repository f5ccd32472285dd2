"""What every test runs in: its own data folder, key and Redis, set before Django reads its settings (pytest's `-p`)."""

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def _redis_server(folder: Path) -> str:
    """A real Redis on a unix socket that dies with this process; its URL."""
    import redis

    from core.redis_server import server

    socket = folder / "redis.sock"
    command = [str(server()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--daemonize", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)
    for _ in range(200):
        if socket.exists():
            with redis.Redis(unix_socket_path=str(socket)) as client:
                if client.ping():
                    return f"unix://{socket}"
        time.sleep(0.05)
    sys.exit("The test's Redis server did not start.")


def _prepare() -> None:
    if os.environ.get("FOOTNOTE_TESTING"):
        return  # a child of the test process keeps its parent's environment
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="footnote-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("originals", "tmp", "run", "index", "static"):
        (folder / "data" / name).mkdir(parents=True)
    os.environ.update(
        FOOTNOTE_TESTING="1",
        FOOTNOTE_DATA=str(folder / "data"),
        FOOTNOTE_SECRET_KEY=secrets.token_urlsafe(50),
        FOOTNOTE_HOSTS="testserver,127.0.0.1,localhost",
        # Nobody listens there: a test that asks for a model names its own server.
        FOOTNOTE_OLLAMA_URL="http://127.0.0.1:9",
    )
    os.environ["REDIS_URL"] = _redis_server(folder)


_prepare()
