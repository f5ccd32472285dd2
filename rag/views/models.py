"""Which language model answers, for administrators."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from core.http import SignedIn, administrator_required
from rag.domain.errors import RagError
from rag.services import models_admin


@require_GET
def models(request: SignedIn) -> HttpResponse:
    """What Ollama offers, and what is in use."""
    administrator_required(request)
    found = models_admin.endpoint()
    chosen = models_admin.chosen()
    rows = [
        {
            "name": info.name,
            "digest": info.digest,
            "size_bytes": info.size,
            "parameters": info.parameters,
            "quantisation": info.quantisation,
            "remote": info.remote,
            "chosen": chosen is not None and chosen.name == info.name and chosen.digest == info.digest,
        }
        for info in found.models
    ]
    return render(request, "rag/models.html", {"endpoint": found, "models": rows, "chosen": chosen})


@require_POST
def choose(request: SignedIn) -> HttpResponse:
    """Uses the named model from the next question on; an empty name goes back to exact words."""
    administrator_required(request)
    name = request.POST.get("name", "")
    try:
        if name:
            models_admin.choose(request.user, name)
        else:
            models_admin.use_none(request.user)
    except RagError as error:
        messages.error(request, error.message)
    else:
        sentence = (
            _("%(name)s answers from now on.") % {"name": name} if name else _("Answers are exact words from now on.")
        )
        messages.success(request, sentence)
    return redirect("models")
