"""The parsers: one file per format in this folder, found by scanning it. A name that begins
with "_", of a file or of a class, is a helper.

Finding them is cheap: a parser imports its library when it parses.
"""

import importlib
import inspect
import mimetypes
import pkgutil
from functools import cache
from pathlib import PurePath

from rag.backends.parsers._kinds import instead_of, kind_of
from rag.backends.parsers.base import Parser
from rag.domain.errors import Permanent

# What is read, in the words of people who choose a file.
FAMILIES = "PDF, Word, PowerPoint, Excel, OpenDocument, e-mail, web pages, e-books, pictures, text and ZIP archives"
HEAD = 4096  # bytes of a file that `parser_for` wants to see


@cache
def all_parsers() -> tuple[type[Parser], ...]:
    """Every parser in this folder, by name."""
    found: set[type[Parser]] = set()
    for module in pkgutil.iter_modules(__path__):
        if module.name == "base" or module.name.startswith("_"):
            continue
        members = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        found |= {
            member
            for member in members
            if inspect.isclass(member)
            and issubclass(member, Parser)
            and not inspect.isabstract(member)
            and not member.__name__.startswith("_")
        }
    return tuple(sorted(found, key=lambda parser: parser.name))


def parser_for(path_or_name: str, head: bytes) -> type[Parser]:
    """The parser for a file of this name that starts with `head` (its first 4,096 bytes, or all of a shorter file).

    Raises `Permanent` with a sentence when the format is not read here or the content is not what the name says.
    """
    suffix = PurePath(path_or_name).suffix.lower()
    parser = next((parser for parser in all_parsers() if suffix in parser.suffixes), None)
    if parser is None:
        raise Permanent(instead_of(suffix) or f"Files of this kind cannot be read. These can: {FAMILIES}.")
    if not head:
        raise Permanent("This file is empty.")
    if not parser.recognises(head):
        kind = kind_of(head)
        holds = f"holds {kind}" if kind else "holds something else"
        raise Permanent(f"This file's name ends in {suffix}, but it {holds}.")
    return parser


def media_type_of(parser: type[Parser], name: str = "") -> str:
    """The media type that a file of this parser is stored under: what its name's ending says where the parser reads that."""
    told, _ = mimetypes.guess_type(name, strict=False)
    return told if told in parser.media_types else min(parser.media_types, key=lambda kind: (len(kind), kind))


def suffixes() -> tuple[str, ...]:
    """Every file suffix that is read, lower case with the dot, in alphabetical order."""
    return tuple(sorted(suffix for parser in all_parsers() for suffix in parser.suffixes))


def claimed_twice() -> tuple[str, ...]:
    """The names, media types and suffixes that more than one parser claims: none, in a sound installation."""
    claims = [
        claim
        for parser in all_parsers()
        for claim in (parser.name.partition("/")[0], *parser.media_types, *parser.suffixes)
    ]
    return tuple(sorted({claim for claim in claims if claims.count(claim) > 1}))
