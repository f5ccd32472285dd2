"""Resumable uploads: tus 1.0.0 with creation, creation-with-upload, termination, expiration and checksum; asking before replacing.

Beyond the protocol: a finished upload is told with `Footnote-Outcome` (new, revised, unchanged, or exists: it waits for an answer), and
whatever is refused comes as JSON with a sentence.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import http_date
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from core.http import SignedIn
from rag.access import Need, collection_for
from rag.domain.errors import Permanent, RagError
from rag.models import Batch, Collection, Upload
from rag.services import library, uploads
from rag.services.uploads import Announced, Checksum, WhenTaken

VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
_BLOCK = 1024 * 1024
_STATUS: dict[type[RagError], int] = {
    uploads.TooLarge: 413,
    uploads.WrongOffset: 409,
    uploads.Gone: 410,
    uploads.Busy: 423,
    uploads.WrongChecksum: 460,
    uploads.Full: 507,
}


class _Malformed(Permanent):
    """Not a tus request."""


@require_http_methods(["OPTIONS", "POST"])
def create(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """A new upload, with its first piece when one comes along; a small file is here after one request."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    if request.method == "OPTIONS":
        return _tus(HttpResponse(status=204))
    try:
        _check_version(request)
        upload, outcome = _opened(request, found)
    except RagError as error:
        return _refused(error)
    response = HttpResponse(status=201, headers={"Location": reverse("upload_piece", args=[upload.pk])})
    return _tus(response, upload, outcome)


def _opened(request: SignedIn, found: Collection) -> tuple[Upload, str]:
    fields = _metadata(request)
    announced = Announced(
        path=fields.get("path") or fields.get("filename", ""),
        size=_number(request, "Upload-Length"),
        modified=int(modified) if (modified := fields.get("modified", "0")).isdigit() and len(modified) < 18 else 0,
        when_taken=_answer(fields.get("when-taken", "ask")),
    )
    upload = uploads.open_upload(request.user, found, announced, batch=_batch(request, found, fields.get("batch", "")))
    if request.content_type != PIECE:
        return upload, ""
    try:
        upload = uploads.append(upload, _blocks(request), offset=0, checksum=_checksum(request))
        return upload, _finished(upload)
    except RagError:
        uploads.discard(upload)  # without its address nobody could go on with it
        raise


def _batch(request: SignedIn, found: Collection, batch_id: str) -> Batch | None:
    if not batch_id:
        return None
    try:
        return Batch.objects.get(pk=UUID(batch_id), collection=found, actor=request.user)
    except (ValueError, Batch.DoesNotExist):
        raise _Malformed(_("There is no such import.")) from None


def _answer(text: str) -> WhenTaken:
    try:
        return WhenTaken(text)
    except ValueError:
        raise _Malformed(_("Say what becomes of a file whose place is taken: replace, both or skip.")) from None


@require_http_methods(["OPTIONS", "HEAD", "PATCH", "DELETE"])
def piece(request: SignedIn, upload_id: UUID) -> HttpResponse:
    """An upload of one's own: how far it is, its next piece, its end. A PATCH without bytes finishes one that is whole."""
    try:
        upload = _mine(request, upload_id)
        if request.method == "OPTIONS":
            return _tus(HttpResponse(status=204))
        _check_version(request)
        if request.method == "HEAD":
            return _tus(HttpResponse(), upload)
        if request.method == "DELETE":
            uploads.withdraw(upload)
            return _tus(HttpResponse(status=204))
        if request.content_type != PIECE:
            return _tus(HttpResponse(status=415))
        offset = _number(request, "Upload-Offset")
        upload = uploads.append(upload, _blocks(request), offset=offset, checksum=_checksum(request))
        return _tus(HttpResponse(status=204), upload, _finished(upload))
    except RagError as error:
        return _refused(error)


def _mine(request: SignedIn, upload_id: UUID) -> Upload:
    """One's own upload into a collection that one may still write to, or Http404."""
    upload = uploads.upload_of(request.user, upload_id)
    if upload is None:
        raise Http404("There is nothing here.")
    collection_for(request.user, upload.collection_id, need=Need.WRITE)
    return upload


def _finished(upload: Upload) -> str:
    """What a whole upload came to, or "" while bytes are missing."""
    if upload.offset < upload.size:
        return ""
    try:
        return uploads.finish(upload).outcome.value
    except library.Exists:
        return "exists"


def _tus(response: HttpResponse, upload: Upload | None = None, outcome: str = "") -> HttpResponse:
    """The response with the headers that every tus client expects."""
    headers = {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,creation-with-upload,termination,expiration,checksum",
        "Tus-Checksum-Algorithm": "sha1,sha256",
        "Tus-Max-Size": str(settings.UPLOAD_LIMIT),
    }
    if upload is not None:
        headers |= {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size)}
        headers["Upload-Metadata"] = f"path {b64encode(upload.path.encode()).decode()}"
        headers["Upload-Expires"] = http_date(uploads.expires(upload).timestamp())
    if outcome:
        headers["Footnote-Outcome"] = outcome
    for name, value in headers.items():
        response[name] = value
    return response


def _refused(error: RagError) -> HttpResponse:
    status = 412 if isinstance(error, _OtherVersion) else 400 if isinstance(error, _Malformed) else 422
    status = _STATUS.get(type(error), status)
    return _tus(JsonResponse({"message": error.message}, status=status))


class _OtherVersion(Permanent):
    """The client speaks another version of the protocol."""


def _check_version(request: SignedIn) -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise _OtherVersion(_("Uploads are spoken here in tus %(version)s.") % {"version": VERSION})


def _number(request: SignedIn, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _Malformed(_("%(header)s must be a number of bytes.") % {"header": header})
    return int(text)


def _metadata(request: SignedIn) -> dict[str, str]:
    """Upload-Metadata: "name base64,name base64"; a name alone has an empty value."""
    found = {}
    for pair in filter(None, request.headers.get("Upload-Metadata", "").split(",")):
        name, _space, encoded = pair.strip().partition(" ")
        try:
            found[name] = b64decode(encoded, validate=True).decode()
        except (NotBase64, UnicodeDecodeError, ValueError):
            raise _Malformed(_("Upload-Metadata must be pairs of a name and text in base64.")) from None
    return found


def _checksum(request: SignedIn) -> Checksum | None:
    header = request.headers.get("Upload-Checksum")
    if header is None:
        return None
    algorithm, _space, encoded = header.partition(" ")
    try:
        return Checksum(algorithm, b64decode(encoded, validate=True))
    except (NotBase64, Permanent):
        raise _Malformed(_("Upload-Checksum must be sha1 or sha256 and a digest in base64.")) from None


def _blocks(request: SignedIn) -> Iterator[bytes]:
    return iter(partial(request.read, _BLOCK), b"")


@require_POST
def existing(request: SignedIn, collection_id: UUID) -> JsonResponse:
    """Which of these paths other documents have already: {"paths": […]} in, the same out. Asked before anything is sent."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    try:
        paths = [path for path in json.loads(request.body)["paths"] if isinstance(path, str)]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"message": _("This was not understood.")}, status=400)
    return JsonResponse({"paths": uploads.taken(found, paths)})


@require_http_methods(["GET", "POST"])
def waiting(request: SignedIn, collection_id: UUID) -> HttpResponse:
    """One's files at whose paths other documents are: one question for all of them. A script posts its answer and gets JSON."""
    found = collection_for(request.user, collection_id, need=Need.WRITE)
    undecided = uploads.undecided(request.user, found)
    if request.method == "GET":
        if not undecided:
            return redirect("collection", found.pk)
        return render(request, "rag/existing.html", {"collection": found, "uploads": undecided})
    chosen = set(request.POST.getlist("upload"))
    results = uploads.decide([upload for upload in undecided if str(upload.pk) in chosen], _posted_answer(request))
    if request.headers.get("Accept", "").startswith("application/json"):
        return JsonResponse(results)
    _tell(request, results)
    return redirect("collection", found.pk)


def _posted_answer(request: SignedIn) -> WhenTaken:
    try:
        return WhenTaken(request.POST.get("answer", ""))
    except ValueError:
        return WhenTaken.ASK


def _tell(request: SignedIn, results: dict[str, Any]) -> None:
    if done := results["stored"]:
        messages.success(request, ngettext("%d file was stored.", "%d files were stored.", done) % done)
    if skipped := results["skipped"]:
        messages.info(request, ngettext("%d file was skipped.", "%d files were skipped.", skipped) % skipped)
    for sentence in results["refused"]:
        messages.error(request, sentence)
