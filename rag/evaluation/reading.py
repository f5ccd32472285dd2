"""A file read to its end outside the database: converted, parsed, its pictures recognised, in the same limited processes as
an upload."""

from dataclasses import replace
from pathlib import Path

from rag.backends.convert import readable
from rag.config import rag_config
from rag.domain.types import Page, ParsedDocument, Reading
from rag.slots import sandbox


def read_file(file: Path, *, name: str, folder: Path, password: str = "") -> ParsedDocument:
    """The document in `file`, uploaded as `name`. `folder` takes what is made on the way; the caller empties it.

    Raises as the parsers do: `Protected`, `Permanent`, `Retryable`.
    """
    config = rag_config()
    seconds, memory = config.parse_seconds, config.parse_memory
    path, name = readable(file, name=name, seconds=seconds, memory=memory, folder=folder)
    parsed = sandbox().parse(path, name=name, seconds=seconds, memory=memory, password=password, attachments=folder)
    pictures = [page.number for page in parsed.pages if page.reading is Reading.UNREAD and page.number is not None]
    if not pictures:
        return parsed
    recognised: dict[int | None, Page] = {}
    sandbox().recognise(
        path,
        name=name,
        numbers=pictures,
        seconds=seconds,
        memory=memory,
        on_page=lambda page: recognised.update({page.number: page}),
        password=password,
    )
    return replace(parsed, pages=tuple(recognised.get(page.number, page) for page in parsed.pages))
