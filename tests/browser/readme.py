"""Takes the picture of the README: `.venv/bin/python -m tests.browser.readme` writes docs/images/ask.png.

A fresh installation with its samples, one of their questions, Debian's Chromium. It shows what everybody gets without a
language model.
"""

import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.screens import Look, chromium, looking, shoot
from tests.installed import NAME, PASSWORD, REPOSITORY, Installed, Person

QUESTION = "What does the laboratory agreement cost us each month now?"
LOOK = Look("readme", width=1360, height=850)


def take(url: str, folder: Path) -> Path:
    """The path of the picture, in at most 256 colours, which halves it."""
    with chromium() as browser, looking(browser, LOOK, url) as (page, complaints):
        page.goto("/sign-in/")
        page.fill("input[name=login]", NAME)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url("**/")
        page.fill("textarea[name=question]", QUESTION)
        page.press("textarea[name=question]", "Enter")
        page.wait_for_selector("article.answer .after", timeout=30_000)
        page.wait_for_selector("#evidence .source")
        page.wait_for_timeout(500)
        if complaints:
            raise RuntimeError(f"The page complains: {complaints}")
        path = shoot(page, folder, "ask")
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="footnote-picture-") as folder, Installed(Path(folder) / "data") as site:
        with Person(site.url) as person:
            person.wait_until_read()
        path = take(site.url, REPOSITORY / "docs" / "images")
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
