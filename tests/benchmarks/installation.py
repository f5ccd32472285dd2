"""Measures a real installation on this machine and prints the table of the README.

    .venv/bin/python -m tests.benchmarks.installation [--write]

Starts `manage.py up` in a temporary folder, asks the sample questions over HTTP as a browser does, and lets the running worker
embed a set of made documents. Takes about four minutes; other work on the machine falsifies every figure. `--write` puts the
table into README.md, in the place of the one that is there.
"""

import os
import platform
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rag import samples
from rag.backends.embedders.samples import SAMPLES
from tests.installed import REPOSITORY, Installed, Person
from tests.scripted_ollama import ScriptedOllama

STARTS = 3
ROUNDS = 3  # times that every sample question is asked
REST = 15.0  # seconds of quiet before memory is read
DOCUMENTS, PARAGRAPHS = 12, 40  # made documents, and paragraphs in each
MEGABYTE = 1024 * 1024
_NAMES = {
    "llamacpp_server": "model file",
    "sandbox_server": "document reader",
    "worker-ingest@": "worker that reads",
    "worker-embed@": "worker that embeds",
    "uvicorn": "web server",
    "redis": "Redis",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `note` says what exactly was measured."""

    what: str
    figure: str
    note: str


# --- Memory


def memory(root: int) -> dict[str, int]:
    """Proportional set size in bytes of `root` and all that it started, by part: shared pages are counted once in the sum."""
    found: dict[str, int] = {}
    for pid, name in _tree(root, "supervisor", _children()):
        found[name] = found.get(name, 0) + _pss(pid)
    return found


def processor_seconds(root: int) -> dict[str, float]:
    """Seconds of processor time that `root` and all that it started have used, by part, those that have ended included."""
    found: dict[str, float] = {}
    for pid, name in _tree(root, "supervisor", _children()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks = sum(map(int, fields[11:15]))  # own and of children waited for, in user and system mode
        found[name] = found.get(name, 0) + ticks / os.sysconf("SC_CLK_TCK")
    return found


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    return children


def _tree(pid: int, name: str, children: dict[int, list[int]]) -> Iterator[tuple[int, str]]:
    """Each process below `pid` with the name of its part: what is not known by name belongs to who started it."""
    yield pid, name
    for child in children.get(pid, ()):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        own = next((label for mark, label in _NAMES.items() if mark in command), name)
        yield from _tree(child, own, children)


def _pss(pid: int) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0  # it has just ended
    return int(found[1]) * 1024 if found else 0


def memory_row(what: str, parts: dict[str, int]) -> Row:
    by_size = sorted(parts.items(), key=lambda part: -part[1])
    note = ", ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in by_size)
    return Row(what, f"{sum(parts.values()) / MEGABYTE:.0f} MB", note)


# --- Questions


def answerable() -> list[str]:
    return [question.question for question in samples.questions() if question.answerable]


def _until(person: Person, question: str, wanted: Sequence[tuple[str, str]]) -> list[float | None]:
    """Milliseconds from the post to the first event of each name that contains the text; None where none came."""
    started = time.perf_counter()
    seen: list[float | None] = [None] * len(wanted)
    for name, data in person.ask(question):
        for place, (event, text) in enumerate(wanted):
            if seen[place] is None and name in event.split() and text in data:
                seen[place] = 1000 * (time.perf_counter() - started)
    return seen


def ask_without_model(person: Person) -> list[Row]:
    """From the question to the first passage on screen and to the end of the answer."""
    wanted = (("evidence snapshot", 'class="source'), ("done", ""))
    for question in answerable()[:5]:
        _until(person, question, wanted)  # the first ones open indexes and compile templates
    asked = [_until(person, question, wanted) for _ in range(ROUNDS) for question in answerable()]
    return [
        times_row("Question to first source", [first for first, _ in asked], "exact words, over HTTP, warm"),
        times_row("Question to whole answer, no model", [last for _, last in asked], "exact words, over HTTP, warm"),
    ]


def ask_with_model(person: Person) -> Row:
    """To the model's first word, of a model that needs no time: all that is measured is Footnote."""
    person.post("/models/choose/", {"name": "scripted:latest"})
    wanted = (("text", ""),)
    for question in answerable()[:3]:
        _until(person, question, wanted)
    asked = [_until(person, question, wanted)[0] for _ in range(ROUNDS) for question in answerable()]
    person.post("/models/choose/", {"name": ""})
    note = "a scripted Ollama that answers at once, so this is Footnote's own share; your model's time comes on top"
    return times_row("Question to first word of a model", asked, note)


def times_row(what: str, times: Sequence[float | None], note: str) -> Row:
    known = sorted(value for value in times if value is not None)
    if not known:
        return Row(what, "not measured", "no answer got so far")
    p95 = known[min(len(known) - 1, int(0.95 * len(known)))]
    missing = f"; {len(times) - len(known)} had none" if len(known) < len(times) else ""
    return Row(what, f"{statistics.median(known):.0f} ms", f"p95 {p95:.0f} ms, {len(known)} questions; {note}{missing}")


# --- Embedding


def made_documents() -> list[bytes]:
    """Markdown documents of prose, no two paragraphs alike."""
    prose = [text for text in SAMPLES if text.isascii() and len(text) > 40]
    documents = []
    for document in range(DOCUMENTS):
        parts = [f"# Report {document}"]
        for paragraph in range(PARAGRAPHS):
            start = (document * 7 + paragraph * 3) % len(prose)
            words = " ".join((prose[start:] + prose[:start]) * 2)
            parts.append(f"Entry {document}.{paragraph}. {words[:850]}")
        documents.append("\n\n".join(parts).encode())
    return documents


def embed(person: Person, site: Installed) -> list[Row]:
    """Passages a second, from the first stored batch to the last, and from the first upload until all can be asked."""
    data, collection = site.data, person.collection()
    before = _vectors(data)
    started = time.perf_counter()
    for number, content in enumerate(made_documents()):
        person.upload(collection, f"report-{number}.md", content)
    seen: list[tuple[float, int]] = []
    while not seen or seen[-1][1] < _passages(data) or _in_work(data):
        count = _vectors(data)
        if count > before and (not seen or count > seen[-1][1]):
            seen.append((time.perf_counter(), count))
        time.sleep(0.1)
        assert site.running, "somebody stopped Footnote in the middle"
        assert time.perf_counter() - started < 600, "the worker does not come to an end"
    ended = time.perf_counter()
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    count = last - before
    tokens = _mean_tokens(data)
    return [
        Row(
            "Passages embedded",
            f"{(last - first) / (last_at - first_at):.0f} a second",
            f"{count} passages of {tokens:.0f} tokens on average, by the running worker, while the web server serves",
        ),
        Row(
            "Upload until searchable by meaning",
            f"{ended - started:.0f} s",
            f"{DOCUMENTS} documents, {sum(map(len, made_documents())) / MEGABYTE:.1f} MB of text, {count} passages",
        ),
    ]


def _query(data: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{data / 'footnote.sqlite3'}?mode=ro", uri=True)) as database:
        return int(database.execute(sql).fetchone()[0])


def _vectors(data: Path) -> int:
    return _query(data, "SELECT count(*) FROM rag_vector")


def _passages(data: Path) -> int:
    return _query(data, "SELECT count(*) FROM rag_chunk")


def _in_work(data: Path) -> bool:
    return bool(_query(data, "SELECT count(*) FROM rag_ingestrun WHERE state NOT IN ('ready', 'failed')"))


def _mean_tokens(data: Path) -> float:
    from rag.backends.embedders.tokens import TokenCounter

    counter = TokenCounter()
    with closing(sqlite3.connect(f"file:{data / 'footnote.sqlite3'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT text FROM rag_chunk ORDER BY id DESC LIMIT 200").fetchall()
    return statistics.mean(counter.count(text) for (text,) in rows)


# --- The whole


def machine() -> str:
    """This machine in words."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    total = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gigabytes = int(total[1]) / MEGABYTE if total else 0
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {gigabytes:.0f} GB of memory, no GPU used, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def measure(folder: Path) -> Iterator[Row]:
    """The rows, as they become known."""
    with ScriptedOllama("ok") as ollama:
        site = Installed(folder / "data", ollama_url=ollama.url)
        site.start()
        try:
            with Person(site.url) as person:
                person.wait_until_read()
            site.stop()
            starts = []
            for _ in range(STARTS):
                starts.append(site.start())
                site.stop()
            yield Row(
                "Start until everything answers",
                f"{statistics.median(starts):.1f} s",
                f"`up`, installed before; median of {STARTS}",
            )
            site.start()
            time.sleep(REST)
            yield memory_row("Memory after a start, idle", memory(site.pid))
            with Person(site.url) as person:
                yield from ask_without_model(person)
                yield ask_with_model(person)
                yield from embed(person, site)
            time.sleep(REST)
            yield memory_row("Memory after all this, idle", memory(site.pid))
        finally:
            site.stop()


def write(table: str) -> None:
    """Puts the table between its marks in README.md."""
    readme = REPOSITORY / "README.md"
    text, count = re.subn(
        r"(<!-- figures -->\n).*?(<!-- /figures -->)",
        lambda marks: f"{marks[1]}{table}\n{marks[2]}",
        readme.read_text(),
        flags=re.S,
    )
    assert count == 1, "README.md has lost the marks around its figures"
    readme.write_text(text)


def main() -> None:
    load = os.getloadavg()[0]
    lines = [
        f"{machine()}; {load:.1f} processes busy with other work at the start.",
        "",
        "| What | Figure | How |",
        "|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="footnote-measure-") as folder:
        for row in measure(Path(folder)):
            lines.append(f"| {row.what} | {row.figure} | {row.note} |")
            print(lines[-1], flush=True)
    if "--write" in sys.argv:
        write("\n".join(lines))


if __name__ == "__main__":
    main()
