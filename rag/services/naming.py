"""What documents are called, from their titles and first pages."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from threading import Lock

from django.db.models.functions import Substr

from rag.domain.naming import HEAD, names
from rag.models import Chunk, Page

_FIRST_PAGES = 3  # a title page may hold few words
_KEPT_MOST = 10_000  # about half a kilobyte each

# A reading never changes, so what it is called changes with its document's title alone.
_kept: OrderedDict[tuple[int, str], str] = OrderedDict()
_lock = Lock()


def names_of(titles: Mapping[int, str]) -> Mapping[int, str]:
    """The names (`rag.domain.naming.names`) of the documents with these extractions and titles, by extraction.

    Who may read them is for the caller to see to.
    """
    with _lock:
        found = {
            extraction: _kept[extraction, title] for extraction, title in titles.items() if (extraction, title) in _kept
        }
    missing = {extraction: title for extraction, title in titles.items() if extraction not in found}
    if not missing:
        return found
    heads: defaultdict[int, str] = defaultdict(str)
    pages = Page.objects.filter(extraction_id__in=missing, place__lt=_FIRST_PAGES).order_by("extraction_id", "place")
    for extraction, text in pages.values_list("extraction_id", Substr("text", 1, HEAD)):
        heads[extraction] += f"{text}\n"
    made = {extraction: names(title, heads[extraction]) for extraction, title in missing.items()}
    with _lock:
        for extraction, named in made.items():
            _kept[extraction, missing[extraction]] = named
        while len(_kept) > _KEPT_MOST:
            _kept.popitem(last=False)
    return {**found, **made}


def beside_passages(titles: Mapping[int, str]) -> Mapping[int, str]:
    """What is searched beside the words of each document's passages, by extraction: its names where several passages share them.

    A document of one passage says its names there: found twice, they would count for more than what it is about (.010 nDCG@10
    on medquad, whose documents are one passage each).
    """
    chunks = Chunk.objects.for_maintenance().filter(extraction_id__in=list(titles), ordinal=1)
    several = set(chunks.order_by().values_list("extraction_id", flat=True))
    alone = {extraction: names(title, "") for extraction, title in titles.items() if extraction not in several}
    return {**alone, **names_of({extraction: titles[extraction] for extraction in several})}


def forget() -> None:
    """Forgets what documents are called; for a process that turns to another database."""
    with _lock:
        _kept.clear()
