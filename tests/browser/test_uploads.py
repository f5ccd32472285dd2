"""Uploading as a person does it: folders dropped on the page, lines that break, servers that restart, a thousand files at once."""

import hashlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import Open
from tests.browser.screens import LOOKS, overflow
from tests.browser.test_main_job import new_collection
from tests.browser.thread import SECONDS
from tests.installed import Installed

pytestmark = [pytest.mark.browser, pytest.mark.once]

MEGABYTE = 1024 * 1024
LOST = ("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "Failed to load resource", "ERR_ABORTED")


def drop(page: Page, *paths: Path) -> None:
    """Drops files and folders of this machine on the page, as from a file manager."""
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 500, "data": data})
    browser.detach()


def slow_down(page: Page, bytes_a_second: int) -> Callable[[], object]:
    """Makes the page's line this slow for sending, until the result is called."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    line.send("Network.emulateNetworkConditions", conditions)
    return lambda: line.send("Network.emulateNetworkConditions", conditions | {"uploadThroughput": -1})


class Line:
    """The page's line for pieces of files: after so many, it is lost so many times, and then holds."""

    def __init__(self, page: Page, *, after: int, lost: int) -> None:
        self._page, self._after, self.lost = page, after, lost
        page.route(re.compile("/uploads/[0-9a-f-]{36}/$"), self._answer)

    def _answer(self, route: Route) -> None:
        if route.request.method == "PATCH":
            self._after -= 1
            if self._after < 0 < self.lost:
                self.lost -= 1
                route.abort("internetdisconnected")
                return
        route.continue_()

    def mend(self) -> None:
        self._page.unroute_all()


def large_file(path: Path, megabytes: int) -> Path:
    """A file of this size, the same each time, that is taken for a PDF and quickly found to be broken: nobody waits for it."""
    line = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(2048))
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(b"%PDF-1.4\n")
        while file.tell() < megabytes * MEGABYTE:
            file.write(line)
    return path


def pieces(page: Page) -> list[Request]:
    """The requests that carried pieces of files so far, and those to come."""
    found: list[Request] = []
    page.on("request", lambda request: found.append(request) if "/uploads/" in request.url else None)
    return found


def offsets(found: list[Request]) -> list[int]:
    return [int(request.headers["upload-offset"]) for request in found if request.method == "PATCH"]


def original(page: Page, title: str) -> bytes:
    """The bytes that the server has of the document of this title."""
    row = page.locator("#rows tr[data-row]").filter(has_text=title)
    about = row.get_by_role("link", name=re.compile("^About")).get_attribute("href")
    return page.request.get(f"{about}revisions/1/original/").body()


def all_sent(page: Page, count: int) -> None:
    expect(page.locator("[data-uploads-sum]")).to_have_text(f"{count} of {count} files sent", timeout=SECONDS)


def receipt(page: Page, line: str) -> None:
    """Opens the receipt and waits until it says this."""
    page.get_by_role("link", name="Receipt", exact=True).click()
    page.wait_for_url("**/imports/*/")
    expect(page.locator(".receipt__line")).to_have_text(line, timeout=SECONDS)


def test_a_dropped_folder_keeps_its_structure_and_ends_in_a_receipt(open_page: Open, tmp_path: Path) -> None:
    house = tmp_path / "house"
    for number in range(27):
        file = house / ("rules" if number % 2 else "minutes/2025") / f"note {number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Note {number}: the yard is swept on day {number}.")
    (house / "rules" / ".hidden.txt").write_text("a file that file managers do not show")
    (house / "rules" / "broken.pdf").write_bytes(b"this is no PDF")
    single = tmp_path / "single.txt"
    single.write_text("The bins are emptied on Mondays.")
    (tmp_path / "empty.txt").touch()
    page = open_page(expected=("422",))
    new_collection(page)
    drop(page, house, single, tmp_path / "empty.txt")
    expect(page.locator("[data-uploads-sum]")).to_have_text("28 of 30 files sent", timeout=SECONDS)
    failed = page.locator(".upload-item--bad")
    expect(failed).to_have_count(2)
    expect(failed.filter(has_text="house/rules/broken.pdf")).to_contain_text("but it holds")
    expect(failed.filter(has_text="empty.txt")).to_contain_text("is empty")
    expect(page.locator("#rows .tag--ok")).to_have_count(28, timeout=SECONDS)
    expect(page.locator("#rows")).to_contain_text("house/minutes/2025/note 0.txt")
    expect(page.locator("#rows")).not_to_contain_text("hidden")
    receipt(page, "28 ready, 2 refused")
    expect(page.get_by_role("heading", level=1)).to_have_text("Import of 30 files")
    expect(page.locator("main")).to_contain_text("house/rules/broken.pdf")
    assert overflow(page) == 0


def test_a_lost_line_costs_no_more_than_a_piece(open_page: Open, tmp_path: Path) -> None:
    file = large_file(tmp_path / "large.pdf", 12)
    page = open_page(expected=LOST)
    new_collection(page)
    sent = pieces(page)
    broken = Line(page, after=2, lost=3)
    page.locator("#files").set_input_files(file)
    expect(page.locator(".upload-item__status")).to_contain_text("The connection was lost", timeout=SECONDS)
    all_sent(page, 1)
    assert broken.lost == 0
    heads = [place for place, request in enumerate(sent) if request.method == "HEAD"]
    assert heads and sent[heads[-1] + 1].method == "PATCH", (
        "it asked the server where it stands, and went on from there"
    )
    assert offsets(sent) == sorted(offsets(sent)) and len(offsets(sent)) == len(set(offsets(sent))) + 3
    assert original(page, "large") == file.read_bytes()


def test_a_server_that_is_killed_and_started_again_gets_the_rest(
    open_page: Open, tmp_path: Path, site: Installed
) -> None:
    file = large_file(tmp_path / "survivor.pdf", 16)
    page = open_page(expected=LOST)
    new_collection(page)
    full_speed = slow_down(page, MEGABYTE)
    page.locator("#files").set_input_files(file)
    expect(page.locator(".upload-item__status")).to_have_text(re.compile(r"Uploading, [2-8]\d %"), timeout=SECONDS)
    with page.expect_event("requestfailed", lambda request: request.method == "PATCH"):
        os.kill(web_process(site), signal.SIGKILL)  # `up` starts it again
    full_speed()
    all_sent(page, 1)
    assert original(page, "survivor") == file.read_bytes()


def web_process(site: Installed) -> int:
    """The process that answers requests: a child of `up`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = stat.with_name("cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if parent == site.pid and "core.asgi:application" in command:
            return int(stat.parent.name)
    raise AssertionError("the web server does not run")


def test_after_a_reload_the_same_file_goes_on_and_another_does_not(open_page: Open, tmp_path: Path) -> None:
    file = large_file(tmp_path / "again.pdf", 8)
    page = open_page(expected=LOST)
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    new_collection(page)
    line = Line(page, after=1, lost=1000)
    page.locator("#files").set_input_files(file)
    expect(page.locator(".upload-item__status")).to_contain_text("The connection was lost", timeout=SECONDS)
    page.reload()
    line.mend()
    expect(page.locator("[data-unfinished]")).to_contain_text("again.pdf")
    other = large_file(tmp_path / "other" / "again.pdf", 8)
    page.locator("#files").set_input_files(other)  # of that name and size, but changed at another time
    all_sent(page, 1)
    expect(page.locator("[data-unfinished]")).to_have_count(1)
    page.get_by_role("button", name="Close").click()
    sent = pieces(page)
    page.locator("#files").set_input_files(file)
    all_sent(page, 1)
    assert sent[0].method == "HEAD"
    assert offsets(sent)[0] >= MEGABYTE
    expect(page.locator("[data-unfinished]")).to_have_count(0)
    assert original(page, "again") == file.read_bytes()


def test_what_is_here_already_is_asked_about_once(open_page: Open, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.txt" for name in ("one", "two", "three")]
    for file in files:
        file.write_text(f"The first words of {file.name}.")
    page = open_page()
    new_collection(page)
    page.locator("#files").set_input_files(files[:2])
    all_sent(page, 2)
    for answer, outcome in (("Skip them", "1 of 1 files sent"), ("Keep both", "3 of 3 files sent")):
        for file in files:
            file.write_text(f"Words of {file.name} before “{answer}”.")
        page.locator("#files").set_input_files(files)
        dialog = page.get_by_role("dialog", name="2 files are here already" if "Skip" in answer else "3 files are here")
        expect(dialog).to_be_visible()
        assert overflow(page) == 0
        dialog.get_by_role("button", name=answer).click()
        expect(page.locator("[data-uploads-sum]")).to_have_text(outcome, timeout=SECONDS)
    expect(page.locator("#rows tr[data-row]")).to_have_count(6, timeout=SECONDS)
    files[0].write_text("The last words.")
    page.locator("#files").set_input_files(files[0])
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator(".upload-item")).to_have_count(1)
    expect(page.locator(".upload-item__status")).to_have_text("It was uploaded as a new revision.", timeout=SECONDS)
    expect(page.locator("#rows tr[data-row]")).to_have_count(6)


def test_files_are_cancelled_one_by_one_and_together(open_page: Open, tmp_path: Path) -> None:
    files = [large_file(tmp_path / f"{number}.pdf", 6) for number in range(5)]
    page = open_page(LOOKS[2], expected=LOST)
    new_collection(page)
    slow_down(page, MEGABYTE)
    page.locator("#files").set_input_files(files)
    expect(page.locator(".upload-item")).to_have_count(5)
    assert overflow(page) == 0
    page.get_by_role("button", name="Cancel “4.pdf”").click()
    expect(page.locator(".upload-item").nth(4)).to_contain_text("Cancelled")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("[data-uploads-sum]")).to_have_text("0 of 5 files sent")
    page.reload()
    expect(page.locator("[data-unfinished]")).to_have_count(0)
    expect(page.locator("#rows tr[data-row]")).to_have_count(0)


def test_chosen_rows_stay_chosen_while_the_table_changes_and_are_deleted_together(
    open_page: Open, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(f"Words of {name}.")
    page = open_page()
    new_collection(page)
    page.locator("#files").set_input_files([tmp_path / "a.txt", tmp_path / "b.txt"])
    expect(page.locator("#rows tr[data-row]")).to_have_count(2, timeout=SECONDS)
    page.get_by_role("checkbox", name="Select “a”").check()
    page.locator("#files").set_input_files(tmp_path / "c.txt")
    expect(page.locator("#rows .tag--ok")).to_have_count(3, timeout=SECONDS)
    expect(page.get_by_role("checkbox", name="Select “a”")).to_be_checked()
    page.get_by_role("checkbox", name="Select “b”").check()
    expect(page.locator("[data-picked]")).to_have_text("2 selected")
    page.get_by_role("form", name="Selected documents").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete 2 documents?")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#messages")).to_contain_text("2 documents were deleted.")
    expect(page.locator("#rows tr[data-row]")).to_have_count(1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_files_in_one_drop_stay_usable(open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "thousand"
    for number in range(1000):
        file = folder / f"{number // 100}" / f"file {number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"File {number} says that room {number} is painted every {number % 9 + 1} years.")
    page = open_page()
    new_collection(page)
    drop(page, folder)
    most = 0
    while page.locator("[data-uploads-sum]").inner_text() != "1000 of 1000 files sent":
        most = max(most, page.locator(".upload-item").count())
        # The page answers at once while it sends.
        page.get_by_label("Find a document").fill("room", timeout=5000)
    assert most <= 36
    receipt(page, "1000 ready")
