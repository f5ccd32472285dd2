"""Measures searching over HTTP in a real installation on this machine: one person alone, and eight at once.

    .venv/bin/python -m tests.benchmarks.http_search [--passages N] [--write]

Starts `manage.py up` in a temporary folder, fills a collection with made text, signs in, and posts questions to /search/json/, each
with its own words, so that nothing can be remembered. Embedding the question, both indexes, ranking, rights, reading the passages,
JSON and HTTP are all in it, and so is the client, which runs on the same processors.
`--write` puts the table into docs/search-speed.md.
"""

import argparse
import http.client
import json
import os
import random
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks import made
from tests.benchmarks.ingestion import Database, timed
from tests.benchmarks.installation import machine
from tests.installed import REPOSITORY, Installed, Person

PASSAGES = 1_641
BYTES = 645  # of made text that become one passage
DOCUMENTS = 12
WARM = 30  # searches before any is counted
ALONE = 300
CLIENTS, EACH = 8, 100
LIMIT = 8  # passages asked for


class Searcher:
    """One signed-in client with a connection of its own that stays open."""

    def __init__(self, person: Person, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Content-Type": "application/json", "Referer": url, **person.credentials()}

    def search(self, question: str) -> float:
        """Seconds until the whole answer was there. Raises AssertionError for anything but passages."""
        body = json.dumps({"question": question, "limit": LIMIT})
        began = time.perf_counter()
        self._connection.request("POST", "/search/json/", body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        passed = time.perf_counter() - began
        assert answer.status == 200, (answer.status, content[:300])
        assert len(json.loads(content)["passages"]) == LIMIT, content[:300]
        return passed


def questions(seed: str, count: int) -> list[str]:
    """Questions of five to twelve words that stand in the texts."""
    words = [word for word in next(made.prose(seed)).split() if word.isalpha()]
    chance = random.Random(seed)
    return [" ".join(chance.choices(words, k=chance.randint(5, 12))) + "?" for _ in range(count)]


def alone(searcher: Searcher) -> list[float]:
    """Seconds of each search, one after another."""
    for question in questions("warm", WARM):
        searcher.search(question)
    return [searcher.search(question) for question in questions("alone", ALONE)]


def together(searchers: Sequence[Searcher]) -> tuple[list[float], float]:
    """Seconds of each search of all clients at once, and searches a second."""
    times: list[float] = []

    def ask(number: int) -> None:
        mine = [searchers[number].search(question) for question in questions(f"client {number}", EACH)]
        times.extend(mine)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(searchers))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.perf_counter() - began
    assert len(times) == EACH * len(searchers), "a client broke off"
    return times, len(times) / passed


def row(what: str, times: Sequence[float], speed: float) -> str:
    milliseconds = sorted(1000 * each for each in times)
    middle, high = statistics.median(milliseconds), milliseconds[int(0.95 * len(milliseconds))]
    return f"| {what} | {middle:.1f} ms | {high:.1f} ms | {speed:.0f} |"


def write(table: str) -> None:
    """Puts the table between its marks in docs/search-speed.md."""
    page = REPOSITORY / "docs" / "search-speed.md"
    marks = re.compile(r"(<!-- over http -->\n).*?(<!-- /over http -->)", re.S)
    text, count = marks.subn(lambda found: f"{found[1]}{table}\n{found[2]}", page.read_text())
    assert count == 1, "docs/search-speed.md has lost the marks around its figures"
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures searching over HTTP on this machine.")
    parser.add_argument("--passages", type=int, default=PASSAGES, help="about how many there are to search")
    parser.add_argument("--write", action="store_true", help="put the table into docs/search-speed.md")
    asked = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="footnote-measure-") as folder:
        site = Installed(Path(folder) / "data")
        try:
            site.start()
            with Person(site.url) as person:
                person.wait_until_read()
                size = asked.passages * BYTES // DOCUMENTS
                files = [(f"{number}.txt", made.text(f"search {number}", size)) for number in range(DOCUMENTS)]
                timed(site, person, person.collection(), files)
                there = Database(site.data).number("SELECT count(*) FROM rag_chunk")
                searchers = [Searcher(person, site.url) for _ in range(CLIENTS)]
                one = alone(searchers[0])
                eight, speed = together(searchers)
        finally:
            site.stop()
    lines = [
        f"{there:,} passages. {machine()}; {busy:.1f} processes busy with other work at the start.",
        "",
        "| Clients | Half within | 95 in 100 within | Searches a second |",
        "|---|--:|--:|--:|",
        row("One", one, len(one) / sum(one)),
        row("Eight at once", eight, speed),
    ]
    print("\n".join(lines))
    if asked.write:
        write("\n".join(lines))


if __name__ == "__main__":
    main()
