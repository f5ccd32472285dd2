"""Looking at pages with Debian's Chromium: a fresh browser, what it complains about, and pictures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = Path(shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium")
# Without these Chromium looks for updates in the background, which costs seconds on a machine without a network.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Look:
    """One way of looking at a page: the size of the window in CSS pixels, the colours, and whether scripts run."""

    name: str
    width: int = 1440
    height: int = 900
    scheme: Scheme = "light"
    scripts: bool = True


LOOKS = (
    Look("desktop"),
    Look("dark", scheme="dark"),
    Look("phone", width=360, height=740),
    Look("noscript", scripts=False),
)


@dataclass(slots=True)
class Complaints:
    """What a browser found wrong since it was opened; all empty on a healthy site."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.console or self.errors or self.outside)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window; raises FileNotFoundError where it is not installed."""
    if not CHROMIUM.exists():
        raise FileNotFoundError(f"{CHROMIUM} is missing: install Debian's package chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        yield browser
        browser.close()


# Chromium writes what the policy forbids to the console by itself, but not for every directive.
_TELL_OF_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content policy: ${event.violatedDirective} forbids ${event.blockedURI || event.sample}`));
"""


@contextmanager
def looking(browser: Browser, look: Look, base_url: str, *, signed_in: Any = None) -> Iterator[tuple[Page, Complaints]]:
    """A fresh page under `look`, and what it complains about: reports of the content policy are console lines.

    `signed_in` is another context's `storage_state()`: its cookies. More pages opened in the same context are watched too.
    """
    context: BrowserContext = browser.new_context(
        base_url=base_url,
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.scheme,
        java_script_enabled=look.scripts,
        has_touch=look.width < 500,
        storage_state=signed_in,
    )
    context.add_init_script(_TELL_OF_VIOLATIONS)
    complaints = Complaints()
    host = urlsplit(base_url).netloc
    context.on(
        "console", lambda line: complaints.console.append(line.text) if line.type in {"error", "warning"} else None
    )
    context.on("weberror", lambda error: complaints.errors.append(str(error.error)))
    context.on(
        "request",
        lambda request: (
            complaints.outside.append(request.url) if urlsplit(request.url).netloc not in {host, ""} else None
        ),
    )
    page = context.new_page()
    try:
        yield page, complaints
    finally:
        context.close()


def shoot(page: Page, folder: Path, name: str, *, whole: bool = False) -> Path:
    """The path of a PNG of what is on screen, or of the `whole` page; motion is stopped so that pictures are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    page.screenshot(path=str(path), full_page=whole, animations="disabled", caret="hide")
    return path


def overflow(page: Page) -> int:
    """By how many CSS pixels the page is wider than the window: 0 unless something sticks out."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


_ASK_AXE = """() => axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations.flatMap(
  (rule) => rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`)))"""


def barriers(page: Page) -> list[str]:
    """What axe-core finds that keeps people out (WCAG 2.2 AA and its best practices): rule, element and reason of each."""
    page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_ASK_AXE)
    return found
