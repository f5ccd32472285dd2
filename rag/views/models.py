"""Which models answer and search by meaning, for administrators."""

from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core.http import SignedIn, administrator_required
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models import ModelJob
from rag.models.language_model import Provider
from rag.models.model_job import JobKind
from rag.services import embedding_models, model_jobs, model_overview, models_admin
from rag.views.embedding_models import embedding_rows

_CHOICES = {"use": models_admin.choose, "offer": models_admin.offer, "withdraw": models_admin.withdraw}


@require_GET
def models(request: SignedIn) -> HttpResponse:
    """What the model servers have, which embedding models there are, and what is in use."""
    administrator_required(request)
    servers = model_overview.servers()
    context = {
        "servers": servers,
        "chosen": models_admin.chosen(),
        "jobs": model_overview.jobs(),
        "files": model_jobs.files(),
        "files_folder": model_jobs.files_folder(),
        "advice": model_overview.advice(servers),
        "memory": model_overview.machine_memory(),
        "ollama_is_here": model_overview.ollama_is_here(),
        "gguf": rag_config().gguf.rpartition("/")[2],
        "embedding_models": embedding_rows(),
        "embedder_is_set": bool(rag_config().embedder_folder),
    }
    return render(request, "rag/models.html", context)


@require_GET
def jobs(request: SignedIn) -> HttpResponse:
    """How far the jobs are, for the page to ask again and again; once none is under way, the page is loaded anew."""
    administrator_required(request)
    found = model_overview.jobs()
    response = render(request, "rag/models.html#jobs", {"jobs": found})
    if not any(job.running for job in found):
        response["HX-Refresh"] = "true"
    return response


@require_GET
def details(request: SignedIn) -> HttpResponse:
    """An installed model: what it is, its licence, how fast it was."""
    administrator_required(request)
    try:
        model, found = model_overview.details(request.GET.get("name", ""))
    except RagError as error:
        messages.error(request, error.message)
        return redirect("models")
    return render(
        request, "rag/model.html", {"model": model, "details": found, "uses": model_overview.uses(model.info.name)}
    )


@require_POST
async def begin(request: SignedIn) -> HttpResponse:
    """Fetches a model, takes in a file, or measures an installed model, as `act` says."""
    try:
        job = await sync_to_async(_begun)(request)
    except RagError as error:
        await sync_to_async(messages.error)(request, error.message)
    else:
        model_jobs.start(job.pk)
    return redirect(reverse("models") + "#jobs")


def _begun(request: SignedIn) -> ModelJob:
    administrator_required(request)
    name, digest = request.POST.get("name", ""), request.POST.get("digest", "")
    match request.POST.get("act", ""):
        case JobKind.PULL:
            return model_jobs.pull(request.user, name, digest=digest)
        case JobKind.IMPORT:
            return model_jobs.import_file(request.user, request.POST.get("file", ""), name=name, digest=digest)
        case JobKind.TEST:
            return model_jobs.test(request.user, name)
    raise Permanent(_("This cannot be done to a language model."))


@require_POST
def job(request: SignedIn, job_id: UUID) -> HttpResponse:
    """Stops a job, or takes one that has ended from the page."""
    administrator_required(request)
    if request.POST.get("act") == "forget":
        model_jobs.forget(job_id)
    else:
        model_jobs.stop(request.user, job_id)
    return redirect(reverse("models") + "#jobs")


@require_http_methods(["GET", "POST"])
def delete(request: SignedIn) -> HttpResponse:
    """Asks for the model's name before it is deleted; one that is in use is not."""
    administrator_required(request)
    name = request.GET.get("name", "")
    problem = model_overview.uses(name)
    if request.method == "POST" and not problem:
        if name and request.POST.get("typed", "").strip() == name:
            return _deleted(request, name)
        problem = _("The name is another one. Nothing was deleted.")
    return render(request, "rag/model_delete.html", {"name": name, "problem": problem})


def _deleted(request: SignedIn, name: str) -> HttpResponse:
    try:
        models_admin.withdraw(request.user, name)
        model_jobs.delete(request.user, name)
    except RagError as error:
        messages.error(request, error.message)
        return redirect(f"{reverse('model')}?{urlencode({'name': name})}")
    messages.success(request, _("%(name)s is deleted.") % {"name": name})
    return redirect("models")


@require_POST
def choose(request: SignedIn) -> HttpResponse:
    """Uses the named model from the next question on, offers it, or takes it off the offer; an empty name goes back to exact words."""
    administrator_required(request)
    name, provider = request.POST.get("name", ""), request.POST.get("provider", Provider.OLLAMA)
    said = {
        "use": _("%(name)s answers from now on."),
        "offer": _("%(name)s can be picked for a question or a collection."),
        "withdraw": _("%(name)s cannot be picked any more."),
    }
    act = request.POST.get("act", "use")
    try:
        if not name:
            models_admin.use_none(request.user)
        elif act not in _CHOICES or provider not in Provider.values:
            raise Permanent(_("This cannot be done to a language model."))
        else:
            _CHOICES[act](request.user, name, provider=provider)
    except RagError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, said[act] % {"name": name} if name else _("Answers are exact words from now on."))
    return redirect("models")


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
