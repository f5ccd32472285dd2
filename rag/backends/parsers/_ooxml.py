"""What Word and PowerPoint files have in common: relations, properties, charts, diagrams, formulas, embedded files."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any

from rag.backends.parsers._office import Package
from rag.backends.parsers.base import Work
from rag.domain.text import clean, one_line

_CORE = {
    "title": "title",
    "creator": "author",
    "subject": "subject",
    "keywords": "keywords",
    "category": "category",
    "lastModifiedBy": "last modified by",
    "created": "created",
    "modified": "modified",
}
_APP = {"Company": "company", "Manager": "manager"}
_OF_PROGRAMS = re.compile(
    r"contenttype|_|msip_|mediaservice|kso|assetid|docid|grammarly|zotero|mendeley|sharedfileindex"
)
_MOST_CHART_ROWS = 2_000
_AUTOMATIC = re.compile(
    r"(?i)\s*(?:description automatically generated.*|ai-generated content may be incorrect\.?)$", re.DOTALL
)
_FILE_NAME = re.compile(r"(?i)^\S*\.(?:png|jpe?g|gif|bmp|tiff?|emf|wmf|svg|webp)$|^https?:|[\\/]\S*[\\/]")
_INSIDE = {"WordDocument": ".doc", "Workbook": ".xls", "Book": ".xls", "PowerPoint Document": ".ppt"}
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp"})
_MOST_OBJECT = 64 * 1024**2  # bytes of an object that is taken apart in memory
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def local(element: Any) -> str:
    """The element's name without its namespace: transitional and strict files differ in it only. "" for comments."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def child(element: Any, *names: str) -> Any:
    """The descendant reached by first children of these names, or None."""
    for name in names:
        element = next((inner for inner in element if local(inner) == name), None)
        if element is None:
            return None
    return element


def value(element: Any, name: str = "val") -> str:
    """The attribute of this local name, or ""."""
    if element is None:
        return ""
    return next((found for key, found in element.attrib.items() if key.rpartition("}")[2] == name), "")


def on(element: Any) -> bool:
    """Whether a switch such as <w:vanish/> is there and not turned off."""
    return element is not None and value(element).lower() not in ("0", "false", "off")


def number(text: str) -> int:
    """The whole number that an attribute holds, 0 where it holds none."""
    return int(text) if re.fullmatch(r"[-+]?\d{1,9}", text) else 0


@dataclass(frozen=True, slots=True)
class Relation:
    """What a part refers to: the last word of the relation's type, and the part in the package ("" for one outside)."""

    kind: str
    target: str


def relations(package: Package, part: str) -> dict[str, Relation]:
    """What `part` refers to, by id; the package itself is part ""."""
    folder, name = posixpath.split(part)
    rels = posixpath.join(folder, "_rels", f"{name}.rels")
    if rels not in package:
        return {}
    found = {}
    for relation in package.xml(rels):
        target, kind = value(relation, "Target"), value(relation, "Type").rpartition("/")[2]
        if value(relation, "TargetMode") == "External":
            path = ""
        elif target.startswith("/"):
            path = target.lstrip("/")
        else:
            path = posixpath.normpath(posixpath.join(folder, target))
        found[value(relation, "Id")] = Relation(kind, path)
    return found


def related(package: Package, links: dict[str, Relation], kind: str) -> Iterator[str]:
    """The parts of this kind that are there, each once, in the order of their names' numbers."""
    targets = {link.target for link in links.values() if link.kind == kind and link.target in package}
    yield from sorted(targets, key=lambda target: (len(target), target))


def main_part(package: Package, root_name: str) -> str:
    """The part with the document itself, whose root element has this name; "" where there is none."""
    if "[Content_Types].xml" in package:
        for target in related(package, relations(package, ""), "officeDocument"):
            if local(package.xml(target)) == root_name:
                return target
    return ""


def properties(package: Package) -> dict[str, str]:
    """What the file says of itself: title, author, subject, keywords, dates, and the properties that its users added."""
    found: dict[str, str] = {}
    links = relations(package, "")
    for kind, names in (("core-properties", _CORE), ("extended-properties", _APP)):
        for part in related(package, links, kind):
            for item in package.xml(part):
                name, text = names.get(local(item), ""), one_line(item.text or "")
                if name and text:
                    found.setdefault(name, text[:500])
    for part in related(package, links, "custom-properties"):
        for item in package.xml(part):
            text = one_line("".join(item.itertext()))
            name = one_line(value(item, "name")).lower()[:50]
            if name and text and not _OF_PROGRAMS.match(name):
                found.setdefault(name, text[:500])
    return found


# --- Drawings


def chart_text(root: Any) -> str:
    """A chart as a table: its title, then a row of the series' names, then a row for each category."""
    lines = []
    title = next((item for item in root.iter("{*}title")), None)
    if title is not None and (words := one_line(" ".join(_words(title)))):
        lines.append(words)
    series = [_Series(item) for item in root.iter("{*}ser")]
    if not series:
        return "\n".join(lines)
    if any(one.name for one in series):
        lines.append(" | ".join(["", *(one.name for one in series)]).strip())
    places = sorted(set().union(*(one.values for one in series)))
    categories: dict[int, str] = {}
    for one in series:
        categories = one.categories | categories
    for place in places[:_MOST_CHART_ROWS]:
        cells = [one.values.get(place, "") for one in series]
        lines.append(" | ".join([categories[place], *cells] if place in categories else cells))
    return "\n".join(lines)


class _Series:
    """One series of a chart: its name, and its categories and values by place."""

    def __init__(self, element: Any) -> None:
        name = child(element, "tx")
        self.name = one_line(" ".join(_words(name))) if name is not None else ""
        self.categories = _points(child(element, "cat"))
        if not self.categories:
            self.categories = _points(child(element, "xVal"))
        self.values = _points(child(element, "val")) or _points(child(element, "yVal"))


def _points(source: Any) -> dict[int, str]:
    if source is None:
        return {}
    found: dict[int, str] = {}
    for point in source.iter("{*}pt"):
        text = _plain_number(one_line(" ".join(_words(point))))
        place = number(value(point, "idx"))
        # Categories of several levels have the inner one first.
        found[place] = f"{text} {found[place]}" if place in found else text
    return found


def _plain_number(text: str) -> str:
    """4.4000000000000004, as the file stores it, is 4.4."""
    return f"{float(text):.15g}" if re.fullmatch(r"-?\d+\.\d{14,20}", text) else text


def _words(element: Any) -> list[str]:
    """The texts inside, those of rich text and of cells."""
    return [item.text for item in element.iter("{*}t", "{*}v") if item.text]


def diagram_text(root: Any) -> str:
    """The texts of a drawn diagram (SmartArt), one to a line."""
    lines = []
    for point in root.iter("{*}pt"):
        if value(point, "type") in ("", "node", "asst") and (body := child(point, "t")) is not None:
            lines += [one_line("".join(_words(paragraph))) for paragraph in body.iter("{*}p")]
    return "\n".join(line for line in lines if line)


def picture_text(properties_of: Any) -> str:
    """What the author said of a picture, as "[Picture: …]"; "" for file names and what a program wrote."""
    return picture_sentence(value(properties_of, "descr"))


def picture_sentence(text: str) -> str:
    """An author's description of a picture as it stands in the text; "" for file names and what a program wrote."""
    text = one_line(_AUTOMATIC.sub("", text))
    return f"[Picture: {text[:1000]}]" if text and not _FILE_NAME.search(text) else ""


# --- Formulas


def formula_text(element: Any) -> str:
    """A formula of Office on one line: "(a+b)/2", "x^2", "√(y)"."""
    name = local(element)
    match name:
        case "t":
            return element.text or ""
        case "f":
            return f"{_group(element, 'num')}/{_group(element, 'den')}"
        case "rad":
            return f"{_part(element, 'deg')}√({_part(element, 'e')})"
        case "sSup" | "sSub" | "sSubSup":
            return _group(element, "e") + _scripts(element)
        case "nary":
            sign = value(child(element, "naryPr", "chr")) or "∫"
            return f"{sign}{_scripts(element)} {_part(element, 'e')}"
        case "d":
            marks = child(element, "dPr")
            opening, closing = (
                ("(", ")") if marks is None else (_mark(marks, "begChr", "("), _mark(marks, "endChr", ")"))
            )
            inner = (_inner(part) for part in element if local(part) == "e")
            return f"{opening}{', '.join(inner)}{closing}"
        case "func":
            return f"{_part(element, 'fName')} {_part(element, 'e')}"
        case "m":
            rows = ([_inner(cell) for cell in row if local(cell) == "e"] for row in element if local(row) == "mr")
            return "[" + "; ".join(", ".join(row) for row in rows) + "]"
    return "" if name.endswith("Pr") else _inner(element)


def _inner(element: Any) -> str:
    return "".join(formula_text(part) for part in element)


def _part(element: Any, name: str) -> str:
    part = child(element, name)
    return _inner(part) if part is not None else ""


def _scripts(element: Any) -> str:
    """What is set low and high beside it."""
    return "".join(mark + _group(element, name) for name, mark in (("sub", "_"), ("sup", "^")) if _part(element, name))


def _group(element: Any, name: str) -> str:
    """The part, in brackets where it is more than one sign or number."""
    text = _part(element, name).strip()
    return text if len(text) < 2 or text.isalnum() else f"({text})"


def _mark(element: Any, name: str, usual: str) -> str:
    mark = child(element, name)
    return usual if mark is None else value(mark)


# --- Embedded files


class Embedded:
    """Hands the files inside a document over, each once, under names that differ."""

    def __init__(self, package: Package, work: Work) -> None:
        self._package = package
        self._work = work
        self._done: set[str] = set()
        self._names: set[str] = set()
        self.unread = 0

    @property
    def found(self) -> bool:
        """Whether there were any."""
        return bool(self._names)

    def hand_over_picture(self, part: str, name: str = "") -> bool:
        """Attaches a picture whose text nobody else reads, and says whether it is of a kind that can be read at all."""
        suffix = PurePosixPath(part).suffix.lower()
        if suffix not in _PICTURES or part not in self._package:
            return False
        self.hand_over(part, f"{name}{suffix}" if name else "")
        return True

    def hand_over(self, part: str, name: str = "") -> None:
        """Attaches the file in `part`: a document as it is, or what an object of another program holds."""
        if part in self._done or part not in self._package:
            return
        self._done.add(part)
        name = name or PurePosixPath(part).name
        with self._package.open(part) as content:
            head = content.read(8)
        if head != _OLE:
            with self._package.open(part) as content:
                self._attach(name, content)
            return
        found = _held(self._package.read(part), name) if self._package.size(part) <= _MOST_OBJECT else None
        if found is None:
            self.unread += 1
        else:
            self._attach(found[0], BytesIO(found[1]))

    def _attach(self, name: str, content: IO[bytes]) -> None:
        path = PurePosixPath(clean(name).replace("/", "_").replace("\n", " ").strip() or "file")
        unique, count = path.name, 1
        while unique in self._names:
            count += 1
            unique = f"{path.stem} ({count}){path.suffix}"
        self._names.add(unique)
        self._work.attach(unique, content)


def _held(data: bytes, name: str) -> tuple[str, bytes] | None:
    """Name and bytes of the file that an OLE object holds; None for drawings and formulas of other programs."""
    import olefile

    stem = PurePosixPath(name).stem
    try:
        with olefile.OleFileIO(BytesIO(data)) as container:
            if container.exists("\x01Ole10Native"):
                return _native(container.openstream("\x01Ole10Native").read(), stem)
            for stream in ("Package", "CONTENTS"):
                if container.exists(stream):
                    inner = container.openstream(stream).read()
                    if suffix := _suffix_of(inner):
                        return stem + suffix, inner
            for stream, suffix in _INSIDE.items():
                if container.exists(stream):
                    return stem + suffix, data
    except (OSError, ValueError, IndexError, RecursionError):
        return None
    return None


def _suffix_of(data: bytes) -> str:
    if data.startswith(b"%PDF-"):
        return ".pdf"
    if not data.startswith(b"PK\x03\x04"):
        return ""
    return next((s for mark, s in ((b"xl/", ".xlsx"), (b"ppt/", ".pptx"), (b"word/", ".docx")) if mark in data), "")


def _native(data: bytes, stem: str) -> tuple[str, bytes] | None:
    """What the packager wrote: size, flags, name, path, a longer path, size, bytes."""
    place = 6
    names = []
    for _ in range(2):
        end = data.find(b"\0", place)
        if end < 0:
            return None
        names.append(data[place:end].decode("cp1252", "replace"))
        place = end + 1
    place += 4
    length = int.from_bytes(data[place : place + 4], "little")
    place += 4 + length
    size = int.from_bytes(data[place : place + 4], "little")
    content = data[place + 4 : place + 4 + size]
    if not content:
        return None
    return PureWindowsPath(names[0]).name or PureWindowsPath(names[1]).name or stem, content
