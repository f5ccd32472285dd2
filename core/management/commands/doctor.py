"""`manage.py doctor`: asks every dependency one question and prints what it found, with the command that mends it."""

import contextlib
import json
import platform
import shutil
import sqlite3
import sys
import textwrap
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error as DatabaseError

from core import bootstrap, redis_server
from core.checks import debug_and_hosts, secret_key
from core.env import env_secret, env_str
from core.management.commands.up import ADDRESS, WORKERS, parse_bind, web_not_ready, workers_alive
from core.registry import Check, Finding, State, registry

GIGABYTE = 1024**3
LOW_DISK, NO_DISK = 5 * GIGABYTE, GIGABYTE // 2
START = "python3 manage.py up"


class Command(BaseCommand):
    help = "Asks every dependency one question; exit code 1 when one of them does not work."
    requires_system_checks = ()  # doctor is what one runs when the checks fail

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", action="append", default=[], metavar="NAME", help="ask this one; may be repeated")
        parser.add_argument("--json", action="store_true", help="machine-readable output")

    def handle(self, *args: Any, **options: Any) -> None:
        checks = {**CHECKS, **registry.doctor}
        if unknown := set(options["only"]) - set(checks):
            raise CommandError(f"There is no {', '.join(sorted(unknown))}. There are: {', '.join(checks)}.")
        checks = {name: check for name, check in checks.items() if not options["only"] or name in options["only"]}
        findings = {name: ask(check) for name, check in checks.items()}
        if options["json"]:
            rows = [{"name": name, "state": f.state, "found": f.found, "fix": f.fix} for name, f in findings.items()]
            self.stdout.write(json.dumps(rows, indent=1))
        else:
            for line in table(findings, width=min(shutil.get_terminal_size().columns, 140)):
                self.stdout.write(line)
        if any(finding.state is State.FAIL for finding in findings.values()):
            sys.exit(1)


def ask(check: Check) -> Finding:
    """What the check found; a check that raises has found a failure."""
    try:
        return check()
    except Exception as error:  # one broken dependency must not hide the state of the others
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Finding(State.FAIL, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")


def table(findings: dict[str, Finding], *, width: int) -> Iterator[str]:
    """The lines of the table: name, state, what was found, and below it the command that mends it."""
    name_width = max(map(len, findings))
    indent = " " * (name_width + 8)
    for name, finding in findings.items():
        first, *rest = textwrap.wrap(finding.found, max(30, width - len(indent))) or [""]
        yield f"{name:<{name_width}}  {finding.state:<4}  {first}"
        yield from (indent + line for line in rest)
        if finding.fix and finding.state is not State.OK:
            yield from (indent + line for line in textwrap.wrap("→ " + finding.fix, max(30, width - len(indent))))
    bad = [finding.state for finding in findings.values()]
    yield ""
    yield f"{bad.count(State.OK)} ok, {bad.count(State.WARN)} to know, {bad.count(State.FAIL)} not working"


# --- The site's own questions


def python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if "{}.{}".format(*sys.version_info[:2]) in bootstrap.PYTHONS:
        return Finding(State.OK, found)
    return Finding(State.FAIL, found, "Install Python 3.11 or 3.12, remove .venv and run: " + START)


def packages() -> Finding:
    stamp = bootstrap.read_stamp()
    if bootstrap.is_installed(()):
        extras = [name for name in stamp if name not in bootstrap.EVERYWHERE]
        torch = "CPU" if "torch-cpu" in stamp else "general"
        return Finding(State.OK, f"as in the lock, {torch} build of torch{''.join(f', {name}' for name in extras)}")
    return Finding(State.FAIL, "not the versions of requirements.lock" if stamp else "not installed by `up`", START)


def configuration() -> Finding:
    wrong = [str(error.msg) for error in (*secret_key(None), *debug_and_hosts(None))]
    if wrong:
        return Finding(State.FAIL, " ".join(wrong), f"{START}, or see docs/settings.md")
    return Finding(State.OK, f"serves {settings.SITE_URL} to {', '.join(dict.fromkeys(settings.ALLOWED_HOSTS))}")


def data_folder() -> Finding:
    data: Path = settings.DATA_DIR
    if not data.is_dir():
        return Finding(State.FAIL, f"{data} does not exist", START)
    probe = data / "tmp" / ".doctor"
    try:
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Finding(State.FAIL, f"{data} cannot be written: {error.strerror}", f"sudo chown -R $USER {data}")
    mode = data.stat().st_mode & 0o777
    if mode & 0o007:
        return Finding(State.WARN, f"{data} can be read by other users ({mode:o})", f"chmod 700 {data}")
    return Finding(State.OK, str(data))


def disk() -> Finding:
    free = shutil.disk_usage(settings.DATA_DIR if settings.DATA_DIR.exists() else settings.BASE_DIR).free
    found = f"{free / GIGABYTE:.1f} GB free for the data folder"
    state = State.FAIL if free < NO_DISK else State.WARN if free < LOW_DISK else State.OK
    return Finding(state, found, "Make room, or move the data folder and set FOOTNOTE_DATA.")


def database() -> Finding:
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        fix = START if connection.vendor == "sqlite" else "Start PostgreSQL and check DATABASE_URL."
        return Finding(State.FAIL, f"{connection.display_name}: {str(error).strip().splitlines()[0]}", fix)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
            found = f"SQLite {sqlite3.sqlite_version}, journal mode {mode}"
            healthy = mode == "wal"
        else:
            cursor.execute("SHOW server_version")
            found, healthy = f"PostgreSQL {cursor.fetchone()[0]}", True
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        return Finding(State.FAIL, f"{found}; {len(waiting)} migrations are missing", "python3 manage.py migrate")
    if not healthy:
        return Finding(State.FAIL, f"{found}: readers would block writers", "Move the data folder to a local disk.")
    return Finding(State.OK, found)


def redis_queue() -> Finding:
    with contextlib.closing(redis_server.client(settings.REDIS_URL)) as client:
        try:
            version = client.info("server")["redis_version"]
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
        except redis.ResponseError as error:  # managed servers forbid CONFIG
            return Finding(State.WARN, f"answers, but cannot be asked for its policy: {error}", "Set noeviction there.")
        except redis.RedisError:
            own = not env_secret("REDIS_URL")
            return Finding(State.FAIL, "does not answer", START if own else "Start the Redis that REDIS_URL names.")
    found = f"Redis {version}, {policy}"
    if policy != "noeviction":
        return Finding(State.WARN, f"{found}: may drop queued work", "redis-cli config set maxmemory-policy noeviction")
    return Finding(State.OK, found)


def workers() -> Finding:
    alive = workers_alive(limit=None) if redis_server.answers(settings.REDIS_URL) else set()
    missing = [name for name in WORKERS if name not in alive]
    if missing:
        return Finding(State.FAIL, f"no answer from {', '.join(missing)}", START)
    return Finding(State.OK, ", ".join(sorted(alive)))


def web() -> Finding:
    running = settings.DATA_DIR / ADDRESS
    if running.is_file():
        host, number = running.read_text().split()
        port = int(number)
    else:
        host, port = parse_bind(env_str("FOOTNOTE_BIND", "127.0.0.1:8000"), None)
    reason = web_not_ready(host, port)
    if reason:
        return Finding(State.FAIL, f"{host}:{port}: {reason}", START)
    return Finding(State.OK, f"ready on {host}:{port}")


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": python,
    "Packages": packages,
    "Settings": configuration,
    "Data folder": data_folder,
    "Disk": disk,
    "Database": database,
    "Redis": redis_queue,
    "Workers": workers,
    "Web": web,
}
