"""The sandbox turns whatever a file does to its parser into one true sentence, and nothing is left behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag.backends import sandbox_answers
from rag.backends.sandbox import Sandbox
from rag.backends.sandbox_answers import Answer, Garbled, Recognition, Told
from rag.backends.sandbox_messages import Message, page_message, read_page
from rag.domain.errors import Permanent, Retryable
from rag.domain.types import Box, Heading, Page, Reading
from tests.contracts.made_documents import make_pdf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these limits are those of Linux")

ROOT = Path(__file__).resolve().parents[2]
JOBS = "tests.unit.sandbox_jobs"
MEMORY = 256 * 1024 * 1024


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(allowed_modules=(JOBS,)) as box:
        yield box


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pdf(tmp_path_factory.mktemp("sandbox") / "two.pdf", [["First page."], ["Second page."]])


def children_of(pid: int) -> set[int]:
    return {int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def server_pid(sandbox: Sandbox) -> int:
    sandbox.call(f"{JOBS}.nothing", seconds=5, memory=MEMORY)
    assert sandbox._process is not None
    return sandbox._process.pid


def sentence(sandbox: Sandbox, job: str, *, seconds: float = 5, memory: int = MEMORY) -> str:
    with pytest.raises(Permanent) as caught:
        sandbox.call(f"{JOBS}.{job}", seconds=seconds, memory=memory)
    return caught.value.message


@pytest.mark.parametrize("job", ["loop_for_ever", "sleep_for_ever"])
def test_a_file_that_takes_for_ever_is_stopped_at_its_time(sandbox: Sandbox, job: str) -> None:
    start = time.monotonic()
    assert sentence(sandbox, job, seconds=1) == "Reading this file took longer than one second and was stopped."
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("job", ["take_four_gigabytes", "take_memory_bit_by_bit"])
def test_a_file_that_takes_too_much_memory_is_stopped(sandbox: Sandbox, job: str) -> None:
    assert sentence(sandbox, job) == "Reading this file needed more than 256 MB of memory and was stopped."


def test_a_crash_of_the_library_is_the_files_end_and_nobody_elses(sandbox: Sandbox) -> None:
    before = server_pid(sandbox)
    assert "crashed" in sentence(sandbox, "abort")
    assert server_pid(sandbox) == before


@pytest.mark.parametrize("job", ["leave_without_a_word", "send_rubbish", "send_deep_rubbish"])
def test_a_child_that_says_nothing_or_rubbish_is_not_believed(sandbox: Sandbox, job: str) -> None:
    assert sentence(sandbox, job) == "This file could not be read: it is damaged, or built in an unusual way."


def test_an_error_of_a_parser_is_logged_by_place_and_not_by_text(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    assert "CANARY" not in sentence(sandbox, "fail")
    assert "RuntimeError at sandbox_jobs.py:" in caplog.text
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize("job", ["fork_bomb", "start_a_program"])
def test_a_file_cannot_start_processes(sandbox: Sandbox, job: str, caplog: pytest.LogCaptureFixture) -> None:
    if sandbox.limits_report()["processes"] != "new processes refused":
        pytest.skip("this kernel has no system call filter")
    sentence(sandbox, job, seconds=3)
    assert "PermissionError" in caplog.text
    assert not children_of(server_pid(sandbox))


def test_a_file_cannot_reach_the_network(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    assert not sandbox.limits_report()["network"].startswith("not taken away")
    sentence(sandbox, "open_a_connection")
    assert "PermissionError at socket.py" in caplog.text or "OSError at socket.py" in caplog.text


def test_a_file_cannot_signal_the_server(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    before = server_pid(sandbox)
    sentence(sandbox, "kill_the_server")
    assert "PermissionError" in caplog.text
    assert server_pid(sandbox) == before


@pytest.mark.parametrize("job", ["read_a_secret", "write_a_file"])
def test_a_file_cannot_read_or_write_other_files(sandbox: Sandbox, job: str, caplog: pytest.LogCaptureFixture) -> None:
    if not sandbox.limits_report()["files"].startswith("read only"):
        pytest.skip("this kernel has no Landlock")
    sentence(sandbox, job)
    assert "PermissionError" in caplog.text


@pytest.mark.parametrize("job", ["talk_without_end", "announce_a_huge_message"])
def test_endless_output_is_cut_off_long_before_the_time(sandbox: Sandbox, job: str) -> None:
    start = time.monotonic()
    assert "far more than a document holds" in sentence(sandbox, job, seconds=30)
    assert time.monotonic() - start < 10


def test_no_child_outlives_its_job(sandbox: Sandbox) -> None:
    sentence(sandbox, "loop_for_ever", seconds=0.5)
    assert not children_of(server_pid(sandbox))


def test_a_dead_server_is_started_again(sandbox: Sandbox) -> None:
    before = server_pid(sandbox)
    os.kill(before, signal.SIGKILL)
    assert server_pid(sandbox) != before


def test_a_job_whose_server_dies_is_done_by_the_next(sandbox: Sandbox) -> None:
    pid = server_pid(sandbox)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    assert sentence(sandbox, "sleep_for_ever", seconds=2).startswith("Reading this file took longer")
    assert server_pid(sandbox) != pid


def test_functions_of_modules_not_allowed_are_not_run() -> None:
    with Sandbox() as production, pytest.raises(Permanent):
        production.call(f"{JOBS}.nothing", seconds=5, memory=MEMORY)


def test_secrets_of_the_application_are_not_inherited(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_SECRET_KEY", "CANARY")
    with Sandbox(allowed_modules=(JOBS,)) as fresh:
        assert b"CANARY" not in Path(f"/proc/{server_pid(fresh)}/environ").read_bytes()


def test_the_server_loads_no_torch_and_no_django(sandbox: Sandbox) -> None:
    maps = Path(f"/proc/{server_pid(sandbox)}/maps").read_text()
    assert "libtorch" not in maps
    assert "faiss" not in maps
    assert "pypdfium2" in maps


def test_a_document_comes_back_with_progress(sandbox: Sandbox, pdf: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    document = sandbox.parse(
        pdf, name="two.pdf", seconds=20, memory=MEMORY, progress=lambda done, total: seen.append((done, total))
    )
    assert [page.text for page in document.pages] == ["First page.", "Second page."]
    assert document.parser.startswith("pdf/")
    assert [page.text[box.start : box.end] for page in document.pages for box in page.boxes] == [
        *("First", "page."),
        *("Second", "page."),
    ]
    assert (2, 2) in seen


def test_progress_may_cancel_and_the_child_is_killed(sandbox: Sandbox, pdf: Path) -> None:
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int | None) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        sandbox.parse(pdf, name="two.pdf", seconds=20, memory=MEMORY, progress=cancel)
    deadline = time.monotonic() + 3
    while children_of(server_pid(sandbox)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not children_of(server_pid(sandbox))


def test_an_error_in_progress_is_the_callers_own(sandbox: Sandbox, pdf: Path) -> None:
    def wrong(done: int, total: int | None) -> None:
        raise ValueError("my own mistake")

    with pytest.raises(ValueError, match="my own mistake"):
        sandbox.parse(pdf, name="two.pdf", seconds=20, memory=MEMORY, progress=wrong)


def test_several_jobs_run_at_once(sandbox: Sandbox, pdf: Path) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        sleepers = [threads.submit(sentence, sandbox, "sleep_for_ever", seconds=1) for _ in range(4)]
        readers = [threads.submit(sandbox.parse, pdf, name="two.pdf", seconds=20, memory=MEMORY) for _ in range(2)]
        assert all("one second" in sleeper.result() for sleeper in sleepers)
        assert all(len(reader.result().pages) == 2 for reader in readers)
    assert time.monotonic() - start < 3.5


def test_a_wrong_name_and_a_missing_file_have_their_sentences(sandbox: Sandbox, pdf: Path) -> None:
    with pytest.raises(Permanent, match=r"cannot be read\. These can"):
        sandbox.parse(pdf, name="two.bin", seconds=5, memory=MEMORY)
    with pytest.raises(Permanent, match="it holds a PDF"):
        sandbox.parse(pdf, name="two.txt", seconds=5, memory=MEMORY)
    with pytest.raises(Permanent, match="missing"):
        sandbox.parse(pdf.with_name("gone.pdf"), name="gone.pdf", seconds=5, memory=MEMORY)


def test_a_page_is_drawn_as_wide_as_asked_and_never_huge(sandbox: Sandbox, tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    path = make_pdf(tmp_path / "long.pdf", [["Words."]], size=(600, 12_000))
    picture = Image.open(BytesIO(sandbox.render_page(path, page_index=0, width_px=300, seconds=20, memory=MEMORY)))
    assert picture.size == (300, 6000)
    capped = Image.open(BytesIO(sandbox.render_page(path, page_index=0, width_px=4000, seconds=20, memory=MEMORY)))
    assert capped.width * capped.height <= 8_100_000
    with pytest.raises(Permanent, match="does not exist"):
        sandbox.render_page(path, page_index=1, width_px=300, seconds=20, memory=MEMORY)


def test_a_forked_process_starts_its_own_server(sandbox: Sandbox, pdf: Path) -> None:
    before = server_pid(sandbox)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # In the child: only os calls at the end, so that pytest's own state is left alone.
        with contextlib.suppress(BaseException):
            pages = len(sandbox.parse(pdf, name="two.pdf", seconds=20, memory=MEMORY).pages)
            assert sandbox._process is not None
            os.write(writer, f"{pages} {sandbox._process.pid}".encode())
            sandbox.close()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        counted, other = answer.read().split()
    os.waitpid(pid, 0)
    assert counted == "2"
    assert int(other) != before
    assert server_pid(sandbox) == before


def test_nothing_is_left_when_the_application_is_killed() -> None:
    code = (
        "import threading, time\n"
        "from rag.backends.sandbox import Sandbox\n"
        f"box = Sandbox(allowed_modules=('{JOBS}',))\n"
        f"job = dict(seconds=60, memory={MEMORY})\n"
        f"box.call('{JOBS}.nothing', **job)\n"
        f"threading.Thread(target=box.call, args=('{JOBS}.sleep_for_ever',), kwargs=job, daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print(box._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    application = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with application:
        assert application.stdout is not None
        server = int(application.stdout.readline())
        children = children_of(server)
        assert children
        application.kill()
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in {server, *children}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in {server, *children} if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_works_in_a_daemonic_process(pdf: Path) -> None:
    """Celery's workers are daemonic, and multiprocessing lets them have no children."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=read_in_daemon, args=(queue, str(pdf)), daemon=True)
    process.start()
    process.join(30)
    assert queue.get() == 2
    process.close()


def read_in_daemon(queue: "multiprocessing.SimpleQueue[int]", path: str) -> None:
    with Sandbox() as box:
        queue.put(len(box.parse(path, name="two.pdf", seconds=20, memory=MEMORY).pages))


def test_pages_travel_unchanged() -> None:
    page = Page(3, "Ein Wort", (Heading(0, 1, "Ein"),), (Box(0, 3, 0.0, 0.0, 0.2, 1.0),), "iii", 595.0, 842.0)
    assert read_page(page_message(page)) == page


@pytest.mark.parametrize(
    "change",
    [
        {"text": "with a NUL \x00"},
        {"text": 7},
        {"number": 0},
        {"headings": [[400, 1, "x"]]},
        {"headings": [[0, 1]]},
        {"headings": "no"},
        {"boxes": "AAAA"},
        {"boxes": "?"},
        {"width": "wide"},
        {"width": -1},
        {"label": "x" * 101},
    ],
)
def test_a_page_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_page({**page_message(Page(1, "Some words")), **change})


def test_boxes_outside_their_text_are_refused() -> None:
    page = Page(1, "Some", boxes=(Box(0, 4, 0, 0, 1, 1), Box(5, 9, 0, 0, 1, 1)))
    with pytest.raises(ValueError, match="order"):
        read_page(page_message(page))


class Breaking(Sandbox):
    """Every page breaks the engine."""

    def _attempt(self, job: Message, answer: Answer, *, limit: int) -> bool:
        begun = Page(job["numbers"][0], "", width=10, height=20, reading=Reading.UNREAD)
        answer.take({"kind": "begun", "page": page_message(begun)})
        raise Permanent("It broke.")


def test_after_many_pages_that_break_the_engine_the_rest_is_left_alone(pdf: Path) -> None:
    pages: list[Page] = []
    Breaking().recognise(pdf, name="two.pdf", numbers=range(1, 13), seconds=5, memory=MEMORY, on_page=pages.append)
    assert [page.number for page in pages] == list(range(1, 13))
    assert {page.reading for page in pages} == {Reading.UNREAD}
    assert [page.gap for page in pages[:10]] == ["It broke."] * 10
    assert (pages[0].width, pages[0].height) == (10, 20)
    assert all(page.gap.startswith("Too many pages") for page in pages[10:])


def test_each_page_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(sandbox_answers, "monotonic", lambda: now)
    waiting, pages = [1, 2, 3], list[Page]()
    answer = Recognition(waiting, 60, Told(pages.append, lambda done, total: None, 3))
    for number in (1, 2):
        answer.take({"kind": "begun", "page": page_message(Page(number, ""))})
        now += 50
        answer.tell()
        answer.take({"kind": "recognised", "page": page_message(Page(number, "Words"))})
        answer.tell()
    assert (waiting, [page.number for page in pages]) == ([3], [1, 2])
    answer.take({"kind": "begun", "page": page_message(Page(3, ""))})
    now += 61
    with pytest.raises(Permanent, match="Recognising this page took longer than 60 seconds"):
        answer.tell()


@pytest.mark.parametrize("number", [2, 7])
def test_a_page_that_was_not_asked_for_is_not_believed(number: int) -> None:
    answer = Recognition([1, 2], 5, Told(lambda page: None, lambda done, total: None, 2))
    with pytest.raises(Garbled):
        answer.take({"kind": "begun", "page": page_message(Page(number, ""))})


def test_the_socket_pair_of_a_job_is_not_kept(sandbox: Sandbox) -> None:
    server_pid(sandbox)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        sandbox.call(f"{JOBS}.nothing", seconds=5, memory=MEMORY)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_server_that_cannot_start_is_no_fault_of_the_file(pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with Sandbox() as broken, pytest.raises(Retryable, match="could not be started"):
        broken.parse(pdf, name="two.pdf", seconds=5, memory=MEMORY)
