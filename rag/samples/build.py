"""Writes the sample documents from their sources: `.venv/bin/python -m rag.samples.build`.

Why: an install has neither reportlab nor a reason to run this, so the built files are committed; whoever changes a
source runs this and commits both. A test builds them anew and compares the words.
"""

import sys
from pathlib import Path

from rag.samples import DOCUMENTS, write_docx, write_html, write_pdf
from rag.samples.blocks import Source, read

SOURCES = Path(__file__).parent / "sources"


def build(folder: Path) -> list[Path]:
    """The files written to `folder`, one for each source, sorted; raises ValueError for a suffix with no writer."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(read(path), folder) for path in sorted(SOURCES.glob("*.md"))]


def _write(source: Source, folder: Path) -> Path:
    path = folder / source.name
    match path.suffix:
        case ".pdf":
            write_pdf.write(source, path)
        case ".docx":
            write_docx.write(source, path)
        case ".html":
            write_html.write(source, path)
        case ".md" | ".txt":
            path.write_text(source.markdown, encoding="utf-8", newline="\n")
        case other:
            raise ValueError(f"{source.name}: nothing writes {other!r} files")
    return path


if __name__ == "__main__":
    for written in build(DOCUMENTS):
        sys.stdout.write(f"{written.stat().st_size:>8,}  {written.name}\n")
