"""Which models answer and search by meaning, for administrators."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from core.http import SignedIn, administrator_required
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models.embedding_model import EmbeddingState
from rag.services import embedding_models, models_admin
from rag.services.embedding_models import Standing


@require_GET
def models(request: SignedIn) -> HttpResponse:
    """What Ollama offers, which embedding models there are, and what is in use."""
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
    context = {
        "endpoint": found,
        "models": rows,
        "chosen": chosen,
        "embedding_models": [_row(standing) for standing in embedding_models.standings()],
        "embedder_is_set": bool(rag_config().embedder_folder),
    }
    return render(request, "rag/models.html", context)


def _row(standing: Standing) -> dict[str, object]:
    """An embedding model as the page shows it, with what can be done to it: `act` and the button's words."""
    row, used = standing.row, embedding_models.in_use(standing.row)
    embeds = row.state == EmbeddingState.EMBEDDING or used
    act, words = "embed", _("Embed")
    if used:
        act, words = "", ""
    elif embeds and standing.complete:
        act, words = "switch", _("Go back") if row.left else _("Use")
    elif embeds:
        act, words = "pause", _("Pause")
    elif standing.begun:
        words = _("Go on")
    return {
        "name": row.name,
        "digest": row.digest,
        "dimension": row.dimension,
        "licence": row.licence,
        "in_use": used,
        "state": row.state,
        "state_label": row.get_state_display(),
        "under_way": embeds and not standing.complete,
        "ready": embeds and standing.complete,
        "done": standing.done,
        "total": standing.total,
        "message": row.message,
        "act": "" if row.state == EmbeddingState.REMOVING else act,
        "words": words,
    }


@require_POST
def embedding(request: SignedIn) -> HttpResponse:
    """Has an embedding model embed, pauses it, or switches to it."""
    administrator_required(request)
    name = request.POST.get("name", "")
    acts = {"embed": embedding_models.embed, "pause": embedding_models.pause, "switch": embedding_models.switch}
    said = {
        "embed": _("%(name)s embeds every passage from now on. The search stays as it is until you switch."),
        "pause": _("%(name)s is paused. What it has embedded stays."),
        "switch": _("Questions are embedded by %(name)s from now on."),
    }
    act = request.POST.get("act", "")
    try:
        if act not in acts:
            raise Permanent(_("This cannot be done to an embedding model."))
        acts[act](request.user, name)
    except RagError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, said[act] % {"name": name})
    return redirect("models")


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
