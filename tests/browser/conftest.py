"""Chromium, looking at the shared installation. What it complains about fails the test, whatever the test was about."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.screens import CHROMIUM, LOOKS, Complaints, Look, chromium, looking
from tests.installed import NAME, PASSWORD, Installed

expect.set_options(timeout=30_000)  # milliseconds: a busy machine is slow, which is no fault of the page's
DESKTOP = LOOKS[0]
Open = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of this folder. No longer: below it an event loop runs, which other tests must not meet."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with chromium() as running:
        yield running


def sign_in(page: Page) -> None:
    """As a person does it, at the page's own address."""
    page.goto("/sign-in/")
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


@pytest.fixture(scope="package")
def cookies(browser: Browser, site: Installed) -> object:
    """What a browser keeps of somebody who has signed in."""
    with looking(browser, DESKTOP, site.url) as (page, complaints):
        sign_in(page)
        assert not complaints, complaints
        return page.context.storage_state()


@pytest.fixture
def open_page(browser: Browser, site: Installed, cookies: object) -> Iterator[Open]:
    """Opens a page in a window of its own, signed in unless said otherwise, and afterwards hears what was wrong with it.

    `expected`: pieces of console lines that belong to the test.
    """
    with ExitStack() as windows:
        opened: list[tuple[Page, Complaints, tuple[str, ...]]] = []

        def open_(look: Look = DESKTOP, *, stranger: bool = False, expected: tuple[str, ...] = ()) -> Page:
            page, complaints = windows.enter_context(
                looking(browser, look, site.url, signed_in=None if stranger else cookies)
            )
            opened.append((page, complaints, expected))
            return page

        yield open_
        for page, complaints, expected in opened:
            complaints.console = [line for line in complaints.console if not any(part in line for part in expected)]
            assert not complaints, complaints
            for left in page.context.pages:
                if left.url.startswith(site.url):
                    assert left.evaluate("localStorage.length + sessionStorage.length") == 0
