"""Values of own fields as a CSV: written out, read in, and shown as what would change before anything does."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from core.models import User
from rag.domain.errors import Permanent
from rag.models import Collection, CollectionField, Document, FieldValue
from rag.services import fields as own_fields

BYTES_MOST = 2 * 1024 * 1024
ROWS_MOST = 50_000
_SPECIAL = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take such a cell for a formula (W8)


@dataclass(frozen=True, slots=True)
class Change:
    """One value that would be written."""

    line: int
    document: UUID
    title: str
    field: CollectionField
    before: str
    after: str


@dataclass
class Plan:
    """What a CSV would do: its changes, how many of its values are there already, and what is wrong with which line."""

    changes: list[Change] = field(default_factory=list)
    same: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)


def decode(data: bytes) -> str:
    """The text of a CSV file: UTF-8, or what Excel writes in Western Europe. Raises Permanent when it is too large or no text."""
    if len(data) > BYTES_MOST:
        raise Permanent(_("This file is too large: %(most)d MB is the most.") % {"most": BYTES_MOST // 2**20})
    if b"\0" in data:
        raise Permanent(_("This is not a CSV file. In a spreadsheet, save the sheet as CSV."))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def plan(collection: Collection, text: str) -> Plan:
    """What the CSV would change. Its first column holds paths or titles, the others are headed by names of fields.

    An empty cell changes nothing. Raises Permanent when there is nothing to read in it or its columns are not known.
    """
    rows = rows_of(text)
    header = next(rows, None)
    if header is None:
        raise Permanent(_("This file is empty."))
    columns = _columns(collection, header[1])
    documents = Documents(collection)
    before = _before(collection)
    found = Plan()
    seen: dict[UUID, int] = {}
    for count, (line, cells) in enumerate(rows, start=1):
        if count > ROWS_MOST:
            raise Permanent(_("This file has more than %(most)d lines.") % {"most": ROWS_MOST})
        try:
            pk, title = documents.named(cells[0])
            if pk in seen:
                raise Permanent(_("“%(name)s” stands in line %(line)d already.") % {"name": title, "line": seen[pk]})
            seen[pk] = line
            _row(found, line, (pk, title), _values(columns, cells), before)
        except Permanent as error:
            found.errors.append((line, error.message))
    return found


@transaction.atomic
def apply(actor: User, collection: Collection, text: str) -> tuple[int, int]:
    """Writes what `plan` says now; how many values changed, and how many lines were left out because something is wrong with them."""
    found = plan(collection, text)
    pairs = [(change.document, change.field, change.after) for change in found.changes]
    return own_fields.write_by_hand(actor, collection, pairs), len(found.errors)


def export(collection: Collection) -> str:
    """Every document's path and title and its values, to be edited and read in again; no cell is a formula to a spreadsheet."""
    fields = list(collection.fields.all())
    values = _before(collection)
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow([_safe(cell) for cell in ("path", *(each.label for each in fields))])
    documents = Document.objects.live().filter(collection=collection).order_by("path").values_list("pk", "path")
    for pk, path in documents.iterator(chunk_size=2000):
        out.writerow([_safe(cell) for cell in (path, *(values.get((pk, each.pk), "") for each in fields))])
    return written.getvalue()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_SPECIAL) else cell


def _plain(cell: str) -> str:
    """What `_safe` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_SPECIAL) else cell


def rows_of(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, with their line numbers; separated by whatever the first line is."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [_plain(cell.strip()) for cell in cells]
    except csv.Error as error:
        raise Permanent(_("Line %(line)d cannot be read as CSV.") % {"line": reader.line_num}) from error


def _columns(collection: Collection, header: Sequence[str]) -> list[CollectionField]:
    known: dict[str, CollectionField] = {}
    for each in collection.fields.all():
        known |= {each.key.casefold(): each, each.label.casefold(): each}
    unknown = [name for name in header[1:] if name.casefold() not in known]
    if unknown:
        names = ", ".join(f"“{name}”" for name in unknown[:5])
        raise Permanent(
            _("This collection has no field %(names)s. Add it first, or rename the column.") % {"names": names}
        )
    found = [known[name.casefold()] for name in header[1:]]
    if not found:
        raise Permanent(_("The first line names no field: a path or title first, then one column for each field."))
    if len({each.pk for each in found}) < len(found):
        raise Permanent(_("Two columns have the same name."))
    return found


class Documents:
    """The live documents of a collection by path and by title."""

    def __init__(self, collection: Collection) -> None:
        rows = Document.objects.live().filter(collection=collection).values_list("pk", "path", "title")
        self._by_path: dict[str, tuple[UUID, str]] = {}
        self._by_title: dict[str, list[tuple[UUID, str]]] = {}
        for pk, path, title in rows:
            self._by_path[path] = pk, title
            self._by_title.setdefault(title.casefold(), []).append((pk, title))

    def named(self, name: str) -> tuple[UUID, str]:
        """The document at this path, or the only one of this title; raises Permanent otherwise."""
        found = self._by_path.get(name)
        if found is not None:
            return found
        titled = self._by_title.get(name.casefold(), [])
        if not titled:
            raise Permanent(_("No document here has the path or title “%(name)s”.") % {"name": name[:100]})
        if len(titled) > 1:
            raise Permanent(
                _("%(count)d documents are called “%(name)s”: give the path.")
                % {"count": len(titled), "name": name[:100]}
            )
        return titled[0]


def _before(collection: Collection) -> Mapping[tuple[UUID, int], str]:
    rows = FieldValue.objects.filter(field__collection=collection).values_list("document_id", "field_id", "value")
    return {(document, of): value for document, of, value in rows}


def _values(columns: Sequence[CollectionField], cells: Sequence[str]) -> list[tuple[CollectionField, str]]:
    """The row's values, normalised; raises Permanent for the first that is none."""
    if len(cells) > len(columns) + 1:
        raise Permanent(
            _("This line has %(count)d cells, the first line %(expected)d.")
            % {"count": len(cells), "expected": len(columns) + 1}
        )
    named = zip(columns, cells[1:], strict=False)
    return [(each, own_fields.normalised(each, cell)) for each, cell in named if cell]


def _row(
    found: Plan,
    line: int,
    document: tuple[UUID, str],
    values: Sequence[tuple[CollectionField, str]],
    before: Mapping[tuple[UUID, int], str],
) -> None:
    pk, title = document
    for each, after in values:
        now = before.get((pk, each.pk), "")
        if now == after:
            found.same += 1
        else:
            found.changes.append(Change(line, pk, title, each, now, after))
