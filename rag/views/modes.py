"""How answers from a collection may be made."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from core.http import SignedIn
from rag.access import Need, collection_for
from rag.domain.errors import Permanent
from rag.services import models_admin, modes


@require_POST
def collection(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Allows generated sentences in answers from the collection, or quotes only, and says which model writes them."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    quotes_only = "quotes_only" in request.POST
    modes.lock(request.user, found, quotes_only=quotes_only)
    told = {
        True: _("Answers from “%(name)s” are quotes only from now on."),
        False: _("Answers from “%(name)s” may be written by a model again."),
    }
    try:
        models_admin.choose_for(request.user, found, request.POST.get("model", found.language_model))
    except Permanent as error:
        messages.error(request, error.message)
    messages.success(request, told[quotes_only] % {"name": found.name})
    return redirect("collection", found.pk)
