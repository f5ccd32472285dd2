"""More ways into a collection: its watched folder and its mailbox, for whoever manages it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for
from rag.domain.errors import RagError
from rag.forms import FolderForm, MailboxForm
from rag.models import Collection, Mailbox, WatchedFolder
from rag.services import mailboxes, quotas, watching


@require_GET
def page(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """How files get into the collection by themselves, and what went wrong with that."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    return _page(request, found)


def _page(
    request: SignedIn,
    found: Collection,
    *,
    folder_form: FolderForm | None = None,
    mail_form: MailboxForm | None = None,
    status: int = 200,
) -> HttpResponse:
    watched = WatchedFolder.objects.filter(collection=found).select_related("actor").first()
    mailbox = Mailbox.objects.filter(collection=found).select_related("actor").first()
    root, servers = watching.root(), mailboxes.servers()
    context: dict[str, Any] = {
        "collection": found,
        "root": root,
        "watched": watched,
        "folder_form": (folder_form or FolderForm(watched)) if root else None,
        "mailbox": _shown(mailbox) if mailbox else None,
        "mail_form": (mail_form or MailboxForm(mailbox, servers)) if servers else None,
        "use": quotas.use(found),
    }
    return render(request, "rag/sources.html", context, status=status)


def _shown(mailbox: Mailbox) -> dict[str, Any]:
    """What the page says of a mailbox; never its password."""
    names = ("host", "port", "user", "folder", "enabled", "actor", "looked", "message")
    return {name: getattr(mailbox, name) for name in names}


@require_POST
def folder(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Has a folder watched (`on`), or no longer (`off`)."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    watched = WatchedFolder.objects.filter(collection=found).first()
    if request.POST.get("action") == "off":
        if watched is not None and watched.enabled:
            watching.switch_off(request.user, watched)
        return redirect("sources", found.pk)
    form = FolderForm(watched, request.POST)
    try:
        if form.is_valid():
            watching.watch(request.user, found, path=form.cleaned_data["path"])
            messages.success(request, _("The folder is watched from now on."))
            return redirect("sources", found.pk)
    except RagError as error:
        form.add_error("path", error.message)
    return _page(request, found, folder_form=form, status=422)


@require_POST
def mail(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """Keeps a mailbox's settings (`save`), tests them (`test`), switches it `on` or `off`, or forgets it (`remove`)."""
    found = collection_for(request.user, collection_id, need=Need.MANAGE)
    mailbox = Mailbox.objects.filter(collection=found).first()
    action = request.POST.get("action")
    if action in {"test", "on", "off", "remove"}:
        if mailbox is not None:
            _act(request, mailbox, action)
        return redirect("sources", found.pk)
    form = MailboxForm(mailbox, mailboxes.servers(), request.POST)
    try:
        if form.is_valid():
            mailboxes.connect(request.user, found, **form.settings())
            messages.success(request, _("The mailbox is kept. Test the connection, then switch it on."))
            return redirect("sources", found.pk)
    except RagError as error:
        form.add_error(None, error.message)
    return _page(request, found, mail_form=form, status=422)


def _act(request: SignedIn, mailbox: Mailbox, action: str) -> None:
    try:
        match action:
            case "test":
                messages.success(request, mailboxes.test(mailbox))
            case "remove":
                mailboxes.forget(request.user, mailbox)
                messages.success(request, _("The mailbox is forgotten. The documents stay."))
            case _:
                mailboxes.switch(request.user, mailbox, on=action == "on")
    except RagError as error:
        messages.error(request, error.message)
