"""The fields that a collection has of its own: made, filled, shown, and offered as filters.

A value comes from one of three places. What a person or a CSV wrote stays (`by_hand`); what the folder path or the file's own
properties say is written anew with each reading; a file inside another has what that one has, unless something of its own says
otherwise.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Max, Q
from django.utils.text import slugify
from django.utils.translation import gettext as _

from core import audit
from core.models import Role, User
from rag.domain.conditions import Condition
from rag.domain.errors import Permanent
from rag.domain.types import Scope
from rag.models import Collection, CollectionField, Document, Extraction, FieldValue
from rag.models.library import FieldKind, granted

FIELDS_MOST = 20
COLUMNS_MOST = 4  # shown in the table of documents
CHOICES_MOST = 30  # values of a field that are offered as a filter, the most frequent first
VALUE_MOST = 200
_BATCH = 500
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?!\d)")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")


# --- The fields themselves


@transaction.atomic
def add_field(actor: User, collection: Collection, *, label: str, kind: FieldKind, source: str) -> CollectionField:
    """A new last field, filled from its source for every document there is. The caller has checked that `actor` manages it.

    Raises Permanent for a name that is taken, or one field too many.
    """
    Collection.objects.select_for_update().get(pk=collection.pk)
    others = list(collection.fields.all())
    if len(others) >= FIELDS_MOST:
        raise Permanent(_("A collection has at most %(most)d fields.") % {"most": FIELDS_MOST})
    label = _free_label(label, others)
    field = CollectionField.objects.create(
        collection=collection,
        key=_free_key(label, others),
        label=label,
        kind=kind,
        source=source,
        position=max((other.position for other in others), default=-1) + 1,
    )
    refill(field)
    audit.record("field.added", actor=actor, subject=collection, field=field.key, kind=field.kind, source=source)
    return field


def _free_label(label: str, others: Iterable[CollectionField]) -> str:
    label = " ".join(label.split())[:60]
    if not label:
        raise Permanent(_("Give the field a name."))
    if any(other.label.casefold() == label.casefold() for other in others):
        raise Permanent(_("This collection has a field “%(label)s” already.") % {"label": label})
    return label


def _free_key(label: str, others: Iterable[CollectionField]) -> str:
    taken = {other.key for other in others}
    stem = slugify(label, allow_unicode=True)[:36].strip("-") or "field"
    key, number = stem, 1
    while key in taken:
        number += 1
        key = f"{stem}-{number}"
    return key


@transaction.atomic
def change_field(actor: User, field: CollectionField, *, label: str, source: str) -> None:
    """Another name, another source; its key and what people wrote into it stay. Raises Permanent for a name that is taken."""
    others = field.collection.fields.exclude(pk=field.pk)
    moved = field.source != source
    field.label, field.source = _free_label(label, others), source
    field.save(update_fields=["label", "source"])
    if moved:
        refill(field)
    audit.record("field.changed", actor=actor, subject=field.collection, field=field.key, source=source)


@transaction.atomic
def move_field(field: CollectionField, *, earlier: bool) -> None:
    """Changes places with the field before it, or after it; the first four are columns of the table."""
    order = list(field.collection.fields.all())
    place = order.index(field)
    other = place - 1 if earlier else place + 1
    if 0 <= other < len(order):
        order[place], order[other] = order[other], order[place]
    for position, each in enumerate(order):
        each.position = position
    CollectionField.objects.bulk_update(order, ["position"])


@transaction.atomic
def delete_field(actor: User, field: CollectionField) -> None:
    """Removes the field and what every document has in it."""
    audit.record("field.deleted", actor=actor, subject=field.collection, field=field.key)
    field.delete()


FOLDERS_MOST = 4
_USUAL = ("author", "subject", "keywords", "created", "sender")


def sources(collection: Collection) -> list[tuple[str, str]]:
    """What a field may be filled from, with what people call it: nothing, folders, properties that files here have."""
    found = [("", _("the form or a CSV alone"))]
    for number in range(1, FOLDERS_MOST + 1):
        found.append((f"folder:{number}", _("folder %(number)d of the path") % {"number": number}))
    read = Extraction.objects.filter(revision__document__collection=collection).exclude(properties={})
    names = {
        name for properties in read.order_by("-id").values_list("properties", flat=True)[:200] for name in properties
    }
    for name in [*_USUAL, *sorted(names - set(_USUAL))][:40]:
        found.append((f"property:{name[:50]}", _("the file's “%(name)s”") % {"name": name[:50]}))
    kept = set(collection.fields.values_list("source", flat=True)) - {source for source, _said in found}
    return found + [(source, source) for source in sorted(kept)]


def with_counts(collection: Collection) -> list[Any]:
    """The collection's fields, each with how many live documents have something in it (`filled`)."""
    there = Q(values__document__deleted__isnull=True) & ~Q(values__value="")
    return list(collection.fields.annotate(filled=Count("values", filter=there)))


# --- Values


def normalised(field: CollectionField, text: str) -> str:
    """The text as it is stored: one line, dates as ISO 8601; "" stays "". Raises Permanent for what is no date or too long."""
    text = " ".join(text.split())
    if len(text) > VALUE_MOST:
        raise Permanent(
            _("“%(label)s” may have %(most)d characters at most.") % {"label": field.label, "most": VALUE_MOST}
        )
    if field.kind != FieldKind.DATE or not text:
        return text
    day = _day(text, whole=True)
    if not day:
        raise Permanent(_("“%(text)s” is not a date: write 2026-05-31 or 31.05.2026.") % {"text": text[:40]})
    return day


def _day(text: str, *, whole: bool) -> str:
    """The date in the text as ISO 8601, or ""; `whole`: the text is to be nothing else."""
    find = re.fullmatch if whole else re.search
    if match := find(_ISO, text):
        year, month, day = (int(part) for part in match.groups())
    elif match := find(_DOTTED, text):
        day, month, year = (int(part) for part in match.groups())
    else:
        return ""
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return ""


def fill(document: Document, extraction: Extraction) -> None:
    """Writes what the document's path and its file's properties say into its fields; what people wrote stays.

    Belongs into the transaction that stores the extraction; running it twice is running it once.
    """
    fields = list(CollectionField.objects.filter(collection=document.collection_id))
    if fields:
        _fill(fields, [document], {document.pk: extraction.properties})
        _pass_on([document.pk], fields)


def refill(field: CollectionField) -> None:
    """Fills one field anew in every document of its collection, containers before what is inside them."""
    documents = Document.objects.live().filter(collection=field.collection_id)
    with_parents = documents.order_by("path").values_list("pk", flat=True)
    ids = list(with_parents)
    for start in range(0, len(ids), _BATCH):
        batch = list(Document.objects.filter(pk__in=ids[start : start + _BATCH]).order_by("path"))
        properties: dict[UUID, Mapping[str, str]] = {}
        if field.source.startswith("property:"):
            current = {document.current_id: document.pk for document in batch if document.current_id}
            rows = Extraction.objects.filter(revision__in=current).order_by("id")
            properties = {current[revision]: found for revision, found in rows.values_list("revision_id", "properties")}
        _fill([field], batch, properties)


def _fill(
    fields: Sequence[CollectionField], documents: Sequence[Document], properties: Mapping[UUID, Mapping[str, str]]
) -> None:
    kept = set(
        FieldValue.objects.filter(document__in=documents, field__in=fields, by_hand=True).values_list(
            "document_id", "field_id"
        )
    )
    inherited = {
        (parent, field): value
        for parent, field, value in FieldValue.objects.filter(
            document__in=[document.parent_id for document in documents if document.parent_id], field__in=fields
        ).values_list("document_id", "field_id", "value")
    }
    containers = _containers(documents)
    written: list[FieldValue] = []
    empty: list[tuple[UUID, int]] = []
    for document in documents:
        folders = _folders(document.path, containers.get(document.pk, ()))
        for field in fields:
            if (document.pk, field.pk) in kept:
                continue
            value = _from_source(field, folders, properties.get(document.pk, {}))
            if not value and document.parent_id:
                value = inherited.get((document.parent_id, field.pk), "")
            if value:
                written.append(FieldValue(document=document, field=field, value=value))
                inherited[document.pk, field.pk] = value
            else:
                empty.append((document.pk, field.pk))
                inherited.pop((document.pk, field.pk), None)
    _write(written)
    for field in fields:
        gone = [document for document, of in empty if of == field.pk]
        FieldValue.objects.filter(field=field, document__in=gone, by_hand=False).delete()


def _write(values: Sequence[FieldValue]) -> None:
    FieldValue.objects.bulk_create(
        values,
        batch_size=_BATCH,
        update_conflicts=True,
        unique_fields=["document", "field"],
        update_fields=["value", "by_hand"],
    )


def _from_source(field: CollectionField, folders: Sequence[str], properties: Mapping[str, str]) -> str:
    kind, _colon, name = field.source.partition(":")
    found = ""
    if kind == "folder" and name.isdigit() and 0 < int(name) <= len(folders):
        found = folders[int(name) - 1]
    elif kind == "property":
        found = str(properties.get(name, ""))
    found = " ".join(found.split())[:VALUE_MOST]
    return _day(found, whole=False) if field.kind == FieldKind.DATE else found


def _containers(documents: Sequence[Document]) -> Mapping[UUID, Sequence[str]]:
    """The paths of the files that each document lies inside of."""
    found: dict[UUID, list[str]] = {}
    above = {document.pk: document.parent_id for document in documents if document.parent_id}
    while above:
        rows = Document.objects.filter(pk__in=set(above.values())).values_list("pk", "path", "parent_id")
        parents = {pk: (path, parent) for pk, path, parent in rows}
        for document, parent in above.items():
            if parent in parents:
                found.setdefault(document, []).append(parents[parent][0])
        above = {
            document: grandparent
            for document, parent in above.items()
            if parent in parents and (grandparent := parents[parent][1]) is not None
        }
    return found


def _folders(path: str, containers: Sequence[str]) -> list[str]:
    """The folders of a path, outermost first; a mail or an archive that the file lies inside of is not one of them."""
    parts = path.split("/")[:-1]
    files = {container.count("/") for container in containers}
    return [part for place, part in enumerate(parts) if place not in files]


@transaction.atomic
def set_values(actor: User, documents: Sequence[Document], values: Mapping[CollectionField, str]) -> int:
    """Writes values by hand into documents of one collection, "" to empty a field, and says how many values changed.

    Files inside them follow where nobody wrote anything of their own. Raises Permanent, and writes nothing, for what is no date.
    """
    wanted = {field: normalised(field, value) for field, value in values.items()}
    pairs = [(document.pk, field, value) for document in documents for field, value in wanted.items()]
    return write_by_hand(actor, documents[0].collection, pairs) if documents else 0


@transaction.atomic
def write_by_hand(actor: User, collection: Collection, pairs: Sequence[tuple[UUID, CollectionField, str]]) -> int:
    """Writes these values, normalised already, into documents of the collection; how many were other than before."""
    fields = {field.pk: field for _document, field, _value in pairs}
    ids = list({document for document, _field, _value in pairs})
    before: dict[tuple[UUID, int], str] = {}
    for start in range(0, len(ids), _BATCH):
        rows = FieldValue.objects.filter(document__in=ids[start : start + _BATCH], field__in=fields)
        before |= {
            (document, field): value for document, field, value in rows.values_list("document_id", "field_id", "value")
        }
    changed = [
        (document, field, value) for document, field, value in pairs if before.get((document, field.pk), "") != value
    ]
    # An emptied field is a row too: a person said that there is nothing, so sources leave it alone.
    _write(
        [FieldValue(document_id=document, field=field, value=value, by_hand=True) for document, field, value in pairs]
    )
    _pass_on([document for document, _field, _value in changed], list(fields.values()))
    if changed:
        counts = Counter(field.key for _document, field, _value in changed)
        audit.record("fields.written", actor=actor, subject=collection, changed=dict(counts))
    return len(changed)


def _pass_on(containers: Sequence[UUID], fields: Sequence[CollectionField]) -> None:
    """Fills the files inside these documents anew, level by level."""
    level = list(dict.fromkeys(containers))
    while level:
        inside: list[Document] = []
        for start in range(0, len(level), _BATCH):
            inside += Document.objects.live().filter(parent__in=level[start : start + _BATCH]).order_by("path")
        current = {document.current_id: document.pk for document in inside if document.current_id}
        rows = Extraction.objects.filter(revision__in=current).order_by("id").values_list("revision_id", "properties")
        if inside:
            _fill(fields, inside, {current[revision]: properties for revision, properties in rows})
        level = [document.pk for document in inside]


# --- Shown


@dataclass(frozen=True, slots=True)
class Value:
    """A field and what a document has in it; `text` is "" where it has nothing."""

    field: CollectionField
    text: str

    @property
    def day(self) -> date | None:
        """The value of a date field, for showing it as dates are shown."""
        return date.fromisoformat(self.text) if self.text and self.field.kind == FieldKind.DATE else None


def of_document(document: Document) -> list[Value]:
    """Every field of the document's collection with the document's value."""
    values = dict(document.values.values_list("field_id", "value"))
    return [Value(field, values.get(field.pk, "")) for field in document.collection.fields.all()]


def columns(collection_id: UUID) -> list[CollectionField]:
    """The fields that are columns of the collection's table."""
    return list(CollectionField.objects.filter(collection=collection_id)[:COLUMNS_MOST])


@dataclass(frozen=True, slots=True)
class Columns:
    """The first fields of a collection and what each of some documents has in them."""

    fields: Sequence[CollectionField]
    cells: Mapping[UUID, Sequence[Value]]


def for_rows(collection_id: UUID, documents: Iterable[UUID]) -> Columns:
    """What the table of documents shows of their fields: at most four columns, in two queries."""
    fields = columns(collection_id)
    ids = list(documents)
    rows = FieldValue.objects.filter(field__in=fields, document__in=ids).values_list("document_id", "field_id", "value")
    values = {(document, field): value for document, field, value in rows} if fields else {}
    cells = {document: [Value(field, values.get((document, field.pk), "")) for field in fields] for document in ids}
    return Columns(fields, cells)


# --- As filters


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that can be asked for, and how many documents have it."""

    value: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A field as a filter: values to choose from, or the days between which dates lie."""

    key: str
    label: str
    is_date: bool
    choices: Sequence[Choice] = ()
    since: str = ""
    until: str = ""

    @property
    def chosen(self) -> bool:
        return bool(self.since or self.until) or any(choice.chosen for choice in self.choices)


def facets(scope: Scope, conditions: Sequence[Condition]) -> list[Facet]:
    """The fields of the scope's collections, with the values of documents that its asker may read, and what is chosen.

    Fields of the same key are one. Nothing of other documents is counted, named or offered (A6).
    """
    chosen = {condition.key: condition for condition in conditions}
    fields = CollectionField.objects.filter(
        granted(scope.principal, role=Role.READER, prefix="collection__"), collection_id__in=scope.collections
    ).order_by("position", "id")
    by_key: dict[str, list[CollectionField]] = {}
    for field in fields:
        by_key.setdefault(field.key, []).append(field)
    counts = _counts([field.pk for same in by_key.values() for field in same])
    found = []
    for key, same in by_key.items():
        picked = chosen.get(key, Condition(key))
        tally: Counter[str] = Counter()
        for field in same:
            tally.update(counts.get(field.pk, {}))
        if not tally and not chosen.get(key):
            continue
        if same[0].kind == FieldKind.DATE:
            found.append(Facet(key, same[0].label, is_date=True, since=picked.since, until=picked.until))
            continue
        offered = [value for value, _count in sorted(tally.items(), key=lambda item: (-item[1], item[0]))]
        values = dict.fromkeys([*picked.values, *offered[:CHOICES_MOST]])
        choices = [
            Choice(value, tally.get(value, 0), value in picked.values) for value in sorted(values, key=str.casefold)
        ]
        found.append(Facet(key, same[0].label, is_date=False, choices=choices))
    return found


def _counts(fields: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    """For each field its values, with how many searchable documents have each. The caller has checked who may see the fields."""
    rows = (
        FieldValue.objects.filter(field__in=fields, document__deleted__isnull=True, document__current__isnull=False)
        .filter(document__collection=F("field__collection"))
        .exclude(value="")
        .values_list("field_id", "value")
        .annotate(count=Count("id"))
    )
    found: dict[int, dict[str, int]] = {}
    for field, value, count in rows:
        found.setdefault(field, {})[value] = count
    return found


def in_words(conditions: Sequence[Condition], scope: Scope) -> list[str]:
    """The conditions as people read them: "client = Meyer or Huber", "date from 2025-01-01 to 2025-12-31"."""
    keys = [condition.key for condition in conditions]
    rows = CollectionField.objects.filter(collection_id__in=scope.collections, key__in=keys)
    labels = dict(rows.values("key").annotate(any=Max("label")).values_list("key", "any")) if keys else {}
    said = []
    for condition in conditions:
        label = labels.get(condition.key, condition.key)
        if condition.values:
            said.append(f"{label} = {_(' or ').join(condition.values)}")
        elif condition.since and condition.until:
            said.append(
                _("%(label)s from %(since)s to %(until)s")
                % {"label": label, "since": condition.since, "until": condition.until}
            )
        elif condition.since:
            said.append(_("%(label)s from %(since)s on") % {"label": label, "since": condition.since})
        else:
            said.append(_("%(label)s until %(until)s") % {"label": label, "until": condition.until})
    return said
