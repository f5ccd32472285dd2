"""`manage.py up`: prepares the data folder, starts Redis, web server and workers, and stops them all on Ctrl-C."""

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management import CommandError
from django.core.management.base import BaseCommand
from django.db import connections

from core import installation, redis_server
from core.env import env_secret, env_str, environment_with
from core.process import Program, Supervisor
from core.registry import Finding, State, registry

START_SECONDS = 180
PROBE_SECONDS = 0.4
STOP_SECONDS = 25  # a worker may finish the step it is at; what it leaves is picked up at the next start
ADDRESS = "run/address"  # in the data folder, while `up` runs: where its web server listens
# The worker's queues in the order in which it empties them: what people wait for, then upkeep, then large imports.
WORKERS = {"worker-ingest": "ingest,upkeep,ingest_bulk", "worker-embed": "embed,upkeep,embed_bulk"}
READER_MEMORY = 600 * 1024 * 1024  # bytes: a reader that a huge document left larger than this is started anew
QUIET = {
    # Nothing may call home, and nothing needs to: the weights are on the disk (P8).
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",  # tokenizers warns about Celery's fork otherwise
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "2",  # glibc's arenas per thread cost hundreds of MB in a process with many threads
}


class Command(BaseCommand):
    help = "Starts Footnote and everything that it needs; Ctrl-C stops all of it."
    requires_system_checks = ()  # the key may not exist yet; the checks run once it does
    stopping = 0  # how often somebody asked
    interruptible = True  # while nothing runs yet that has to be stopped in order

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="port to listen on (8000)")
        parser.add_argument("--bind", help="address, or address:port, to listen on (127.0.0.1:8000, or FOOTNOTE_BIND)")
        parser.add_argument(
            "--no-samples", action="store_true", help="do not load the sample collection on the first start"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        os.umask(0o077)  # databases, logs and originals are for this user's eyes
        host, port = parse_bind(options["bind"] or env_str("FOOTNOTE_BIND", "127.0.0.1:8000"), options["port"])
        data: Path = settings.DATA_DIR
        installation.make_folders(data)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
                signal.signal(number, self._stop_asked)
        with contextlib.suppress(_Interrupted), single_instance(data / "run" / "up.pid"):
            require_free(host, port)
            installation.ensure_secret_key(data)
            self.check(display_num_errors=False)
            self._run(host, port, started, samples=not options["no_samples"])

    def say(self, text: str) -> None:
        """One line on the terminal, at once."""
        self.stdout.write(text)
        self.stdout.flush()

    def _run(self, host: str, port: int, started: float, *, samples: bool) -> None:
        data: Path = settings.DATA_DIR
        address = settings.SITE_URL if env_str("FOOTNOTE_URL") else f"http://{_for_browsers(host)}:{port}"
        environment = environment_with({**QUIET, "FOOTNOTE_DATA": str(data), "FOOTNOTE_URL": address})
        supervisor = Supervisor(data / "logs", self.say)
        introduction = ""  # said once, at the end, however the start ends: nobody could sign in otherwise
        try:
            self._start_redis(supervisor, environment)
            planned = installation.prepare(self.say)
            if planned:
                installation.make(planned, samples=samples)
                introduction = installation.introduce(planned)
            installation.load_pending_samples(self.say)
            connections.close_all()
            self.interruptible = False
            (data / ADDRESS).write_text(f"{host} {port}\n")
            for program in programs(host, port, environment):
                supervisor.start(program)
            self._wait_until_healthy(supervisor, host, port)
            if not self.stopping:
                self.say(f"\nFootnote is ready after {time.monotonic() - started:.0f} s: {address}")
                if introduction:
                    self.say(introduction)
                    introduction = ""
                for name in registry.announcements:
                    self.say(announcement(name))
                self.say("Ctrl-C stops everything.\n")
            while not self.stopping:
                supervisor.tick(0.5)
        finally:
            self.interruptible = False
            if introduction:
                self.say(introduction)
            self.say("Stopping; what is unfinished goes on at the next start.")
            asked, self.stopping = self.stopping, max(self.stopping, 1)
            supervisor.stop(first=("web", "llama", *WORKERS), hurry=lambda: self.stopping > max(asked, 1))
            (data / ADDRESS).unlink(missing_ok=True)
            self.say("Stopped.")

    def _stop_asked(self, number: int, frame: FrameType | None) -> None:
        """The first time: stop in order. Again: at once. Before there are workers, by an exception."""
        self.stopping += 1
        if self.interruptible:
            raise _Interrupted

    def _start_redis(self, supervisor: Supervisor, environment: dict[str, str]) -> None:
        url = settings.REDIS_URL
        if env_secret("REDIS_URL"):
            if not redis_server.answers(url):
                raise CommandError("The Redis that REDIS_URL names does not answer. Start it, or unset REDIS_URL.")
            return
        redis_server.end_leftover(url)
        supervisor.start(redis_server.program(url, settings.DATA_DIR, environment))
        deadline = time.monotonic() + redis_server.WAIT_SECONDS
        while not redis_server.answers(url):
            if not supervisor.running("redis") or time.monotonic() > deadline:
                supervisor.tick(0.1)
                raise CommandError(f"Redis does not start:\n{supervisor.last_words('redis')}")
            supervisor.tick(0.02)

    def _wait_until_healthy(self, supervisor: Supervisor, host: str, port: int) -> None:
        """Returns when the web server is ready and both workers answer. Raises CommandError with the reason."""
        deadline = time.monotonic() + START_SECONDS
        missing = dict.fromkeys(("web", *WORKERS), "does not answer yet")
        asked = 0.0
        while missing and not self.stopping:
            supervisor.tick(0.2)
            if time.monotonic() < asked + PROBE_SECONDS:
                continue
            asked = time.monotonic()
            for name, child in supervisor.children.items():
                if child.failures >= 3:
                    raise CommandError(f"{name} does not start. Its last lines:\n{supervisor.last_words(name)}")
            if reason := web_not_ready(host, port):
                missing["web"] = reason
            else:
                missing.pop("web", None)
            if any(name in missing for name in WORKERS):
                for name in workers_alive(len(WORKERS)):
                    missing.pop(name, None)
            if missing and time.monotonic() > deadline:
                name, reason = next(iter(missing.items()))
                log = settings.DATA_DIR / "logs" / f"{name}.log"
                raise CommandError(f"{name} is not ready after {START_SECONDS} s: {reason}. Its log: {log}")


class _Interrupted(Exception):
    """Ctrl-C, or SIGTERM."""


# --- What runs


def programs(host: str, port: int, environment: dict[str, str]) -> list[Program]:
    """The web server, the workers and, where FOOTNOTE_GGUF names a model file, the process that serves it."""
    found: list[Program] = []
    if settings.RAG["GGUF"] and not env_str("FOOTNOTE_LLAMA_URL"):
        llama, extra = llama_program(Path(str(settings.RAG["GGUF"])), environment)
        environment = {**environment, **extra}
        found.append(llama)
    python = sys.executable
    web = [python, "-m", "uvicorn", "core.asgi:application", "--host", host, "--port", str(port), "--no-server-header"]
    web += ["--no-access-log", "--timeout-graceful-shutdown", "5", "--lifespan", "on", "--log-level", "warning"]
    web.append("--proxy-headers" if settings.SECURE_PROXY_SSL_HEADER else "--no-proxy-headers")
    found.append(Program(name="web", command=web, environment=environment))
    celery = [
        python,
        "-m",
        "celery",
        "-A",
        "core",
        "worker",
        "--without-gossip",
        "--without-mingle",
        "--pool",
        "prefork",
    ]
    for name, queues in WORKERS.items():
        command = [*celery, "-Q", queues, "-c", "1", "-n", f"{name}@footnote", "--loglevel", "WARNING"]
        if name == "worker-ingest":
            command += ["-B", "--max-memory-per-child", str(READER_MEMORY // 1024)]
        found.append(Program(name=name, command=command, environment=environment, stop_seconds=STOP_SECONDS))
    return found


def llama_program(model: Path, environment: dict[str, str]) -> tuple[Program, dict[str, str]]:
    """The process that serves a GGUF file on a free loopback port, and what the others must know to reach it."""
    if not model.expanduser().is_file():
        raise CommandError(f"FOOTNOTE_GGUF names {model}, which is not a file.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = settings.DATA_DIR / "run" / "llama_key"
    key.touch(mode=0o600)
    key.write_text(secrets.token_urlsafe(32) + "\n")
    # By its name only: the site does not import the product.
    command = [sys.executable, "-m", "rag.backends.llms.llamacpp_server", "--model", str(model.expanduser())]
    command += ["--port", str(port), "--key-file", str(key), "--context", str(settings.RAG["CONTEXT_TOKENS"])]
    reach = {"FOOTNOTE_LLAMA_URL": f"http://127.0.0.1:{port}", "FOOTNOTE_LLAMA_KEY_FILE": str(key)}
    return Program(name="llama", command=command, environment=environment), reach


# --- Before and after


@contextlib.contextmanager
def single_instance(path: Path) -> Iterator[None]:
    """Holds the data folder; raises CommandError with the process number when another `up` has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 32).decode().strip()
            raise CommandError(
                f"Footnote already runs on this data folder, as process {pid}. Stop it with: kill {pid}"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)


def parse_bind(text: str, port: int | None) -> tuple[str, int]:
    """("127.0.0.1", 8000) from "127.0.0.1:8000", "127.0.0.1", ":8000" or "[::1]:8000"; `port` has the last word."""
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, "8000"
    chosen = port if port is not None else int(number) if number.isdigit() else -1
    if not 0 < chosen < 65536:
        raise CommandError(f"{text!r} is not an address to listen on. Use for example: --bind 127.0.0.1:8000")
    return host.strip("[]") or "127.0.0.1", chosen


def require_free(host: str, port: int) -> None:
    """Raises CommandError when the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        raise CommandError(f"Ports below 1024 need root. Run: python3 manage.py up --port {port + 8000}") from None
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise CommandError(
                f"{host} is not an address of this machine. Run: python3 manage.py up --bind 127.0.0.1"
            ) from None
        raise CommandError(
            f"Port {port} on {host} cannot be used ({error.strerror}). Run: python3 manage.py up --port {port + 1}"
        ) from None


def _for_browsers(host: str) -> str:
    """The name to type where the server listens on `host`."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def web_not_ready(host: str, port: int) -> str:
    """Why the web server is not ready, or "" when it is."""
    allowed = next((name.removeprefix(".") for name in settings.ALLOWED_HOSTS if name != "*"), "localhost")
    request = urllib.request.Request(f"http://{_for_browsers(host)}:{port}/health/ready/", headers={"Host": allowed})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=3):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} ({error.read(300).decode(errors='replace').strip()})"
    except OSError as error:
        return str(error)


def workers_alive(limit: int | None) -> set[str]:
    """The names of the workers that answer within a second; with `limit`, of that many at most, and sooner."""
    try:
        replies = current_app.control.ping(timeout=1.0, limit=limit)
    except OSError:  # Redis is being started again
        return set()
    return {name.partition("@")[0] for reply in replies or () for name in reply}


def announcement(name: str) -> str:
    """One line about something outside Footnote, such as "Ollama: not connected. …"."""
    try:
        finding = registry.doctor[name]()
    except Exception as error:  # a check must never keep a running site from saying its address
        finding = Finding(State.FAIL, str(error))
    return f"{name}: {finding.found}{'. ' + finding.fix if finding.fix else ''}"
