"""Sets a sample as a web page, with the navigation and footer that real pages have around their text."""

from html import escape
from pathlib import Path

from rag.samples.blocks import Source, reader
from rag.samples.houses import HOUSES

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – {name}</title>
<style>
body {{ font: 1rem/1.55 system-ui, sans-serif; color: #20242a; margin: 0; }}
header, footer {{ background: {accent}; color: #fff; padding: 1rem 2rem; }}
nav a {{ color: inherit; margin-right: 1rem; }}
main {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2, h3 {{ color: {accent}; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #c9d0d4; padding: .4rem; text-align: left; }}
</style>
</head>
<body>
<header>
<p><strong>{name}</strong> {line}</p>
<nav aria-label="Site"><a href="/">Home</a><a href="/people">Our people</a><a href="/contact">Contact</a></nav>
</header>
<main>
<h1>{title}</h1>
{body}</main>
<footer><p>{name}, {address}. {contact}. Page last changed on {date}.</p></footer>
</body>
</html>
"""


def write(source: Source, path: Path) -> None:
    """Writes `source` as a web page to `path`; the same source gives the same bytes."""
    house = HOUSES[source.house]
    page = PAGE.format(
        title=escape(source.title),
        name=escape(house.name),
        line=escape(house.line),
        address=escape(house.address),
        contact=escape(house.contact),
        accent=house.accent,
        date=f"{source.date.day} {source.date:%B %Y}",
        body=reader().render(source.markdown),
    )
    path.write_text(page, encoding="utf-8", newline="\n")
