"""Own fields of a collection: the fields, what documents have in them, and both by CSV."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for, document_for, may
from rag.domain.errors import Permanent
from rag.forms import CsvForm, FieldForm, ValuesForm
from rag.models import Collection, CollectionField, Document
from rag.models.library import FieldKind
from rag.services import field_csv, fields

_NOT_FOUND = "There is nothing here."
DOCUMENTS_MOST = 5000  # in one bulk change


@require_http_methods(["GET", "POST"])
def collection(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """The fields of a collection, and a new one for whoever manages it."""
    need = Need.MANAGE if request.method == "POST" else Need.WRITE
    found = collection_for(request.user, collection_id, need=need)
    form = FieldForm(fields.sources(found), request.POST or None)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            kind = FieldKind(chosen["kind"])
            fields.add_field(request.user, found, label=chosen["label"], kind=kind, source=chosen["source"])
            return redirect("fields", found.pk)
        except Permanent as error:
            form.add_error("label", error.message)
    return _page(request, found, form, status=422 if form.errors else 200)


def _page(request: SignedIn, found: Collection, form: FieldForm, *, status: int = 200, **extra: object) -> HttpResponse:
    sources = fields.sources(found)
    context: dict[str, Any] = {
        "collection": found,
        "fields": [
            {
                "field": field,
                "form": FieldForm(
                    sources,
                    initial={"label": field.label, "source": field.source},
                    kept=True,
                    prefix=f"field{field.pk}",
                ),
                "column": place < fields.COLUMNS_MOST,
                "count": field.filled,
            }
            for place, field in enumerate(fields.with_counts(found))
        ],
        "form": form,
        "csv_form": CsvForm(),
        "may_manage": may(request.user, found, need=Need.MANAGE),
    }
    return render(request, "rag/fields.html", context | extra, status=status)


def _field(found: Collection, field_id: int) -> CollectionField:
    field = CollectionField.objects.filter(collection=found, pk=field_id).first()
    if field is None:
        raise Http404(_NOT_FOUND)
    return field


@require_POST
def field(request: SignedIn, collection_id: UUID, field_id: int) -> HttpResponse:
    """Renames a field, fills it from elsewhere, or moves it."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    chosen = _field(found, field_id)
    if request.POST.get("move") in {"up", "down"}:
        fields.move_field(chosen, earlier=request.POST["move"] == "up")
        return redirect("fields", found.pk)
    form = FieldForm(fields.sources(found), request.POST, kept=True, prefix=f"field{chosen.pk}")
    try:
        if form.is_valid():
            fields.change_field(request.user, chosen, **form.cleaned_data)
        else:
            messages.error(request, _("Give the field a name."))
    except Permanent as error:
        messages.error(request, error.message)
    return redirect("fields", found.pk)


@require_http_methods(["GET", "POST"])
def delete(request: SignedIn, collection_id: UUID, field_id: int) -> HttpResponse:
    """Asks once, then removes a field with every value in it."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    chosen = _field(found, field_id)
    if request.method == "POST":
        fields.delete_field(request.user, chosen)
        return redirect("fields", found.pk)
    context = {
        "title": _("Delete the field “%(label)s”?") % {"label": chosen.label},
        "sentence": _("What every document has in it is removed for good. The documents stay."),
        "action_label": _("Delete the field"),
        "cancel_url": reverse("fields", args=[found.pk]),
    }
    return render(request, "rag/confirm.html", context)


@require_http_methods(["GET", "POST"])
def document(request: SignedIn, document_id: UUID) -> HttpResponse:
    """What one document has in the fields of its collection."""
    found = document_for(request.user, document_id, need=Need.WRITE)
    form = ValuesForm(fields.of_document(found), request.POST or None)
    if request.method == "POST" and form.is_valid() and _written(request, form, [found]):
        return redirect("document", found.pk)
    context = {"document": found, "form": form, "cancel_url": reverse("document", args=[found.pk])}
    return render(request, "rag/values.html", context, status=422 if form.errors else 200)


@require_POST
def several(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """The same values for several documents: asks which, then writes them."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    documents = list(_chosen(request, found))
    if not documents:
        messages.error(request, _("Choose at least one document."))
        return redirect("collection", found.pk)
    own = [fields.Value(each, "") for each in found.fields.all()]
    if not own:
        return redirect("fields", found.pk)
    form = ValuesForm(own, request.POST if "apply" in request.POST else None, each_by_choice=True)
    if form.is_bound and form.is_valid() and _written(request, form, documents):
        return redirect("collection", found.pk)
    context = {
        "collection": found,
        "documents": documents,
        "form": form,
        "cancel_url": reverse("collection", args=[found.pk]),
    }
    return render(request, "rag/values.html", context, status=422 if form.errors else 200)


def _chosen(request: HttpRequest, found: Collection) -> list[Document]:
    """The ticked documents, of those that are in the collection."""
    ids = []
    for text in request.POST.getlist("document")[:DOCUMENTS_MOST]:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue  # not an id: names nothing
    return list(Document.objects.live().filter(collection=found, pk__in=ids).order_by("title"))


def _written(request: SignedIn, form: ValuesForm, documents: list[Document]) -> bool:
    """Whether the form's values could be written; otherwise the form says what is wrong."""
    try:
        changed = fields.set_values(request.user, documents, form.values())
    except Permanent as error:
        form.add_error(None, error.message)
        return False
    said = ngettext("%(count)d value was changed.", "%(count)d values were changed.", changed)
    messages.success(request, said % {"count": changed})
    return True


@require_http_methods(["GET", "POST"])
def table(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Values as CSV: GET gives them, POST shows what a file would change and then writes it."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    if request.method == "GET":
        response = HttpResponse(field_csv.export(found), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="fields.csv"'
        return response
    try:
        if "apply" in request.POST:
            return _applied(request, found)
        given = request.FILES.get("file")
        if given is None:
            raise Permanent(_("Choose a CSV file."))
        text = field_csv.decode(given.read(field_csv.BYTES_MOST + 1))
        context = {"collection": found, "plan": field_csv.plan(found, text), "text": text}
        return render(request, "rag/fields_csv.html", context)
    except Permanent as error:
        form = FieldForm(fields.sources(found))
        return _page(request, found, form, status=422, csv_error=error.message)


def _applied(request: SignedIn, found: Collection) -> HttpResponse:
    changed, left_out = field_csv.apply(request.user, found, request.POST.get("text", ""))
    said = ngettext("%(count)d value was changed.", "%(count)d values were changed.", changed) % {"count": changed}
    if left_out:
        said += " " + ngettext("%(count)d line was left out.", "%(count)d lines were left out.", left_out) % {
            "count": left_out
        }
    messages.success(request, said)
    return redirect("collection", found.pk)
