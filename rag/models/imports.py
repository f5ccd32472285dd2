"""Ways in: uploads under way, batches of files and their receipts, watched folders, mailboxes."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from rag.models.library import Collection


class Origin(models.TextChoices):
    BROWSER = "browser", _("browser")
    COMMAND = "command", _("command line")
    FOLDER = "folder", _("watched folder")
    MAIL = "mail", _("mailbox")


class Batch(models.Model):
    """Files that came together, for the receipt: what became of each. Their runs point here; files that were refused before
    they became documents are counted and named in `refused`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="batches")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.BROWSER)
    announced = models.PositiveIntegerField(default=0)  # files that the sender means to send
    unchanged = models.PositiveIntegerField(default=0)  # files that were there already
    refused = models.JSONField(default=list)  # [path, sentence]
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)  # nothing more is sent

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.collection_id} {self.created:%Y-%m-%d %H:%M}"


class Upload(models.Model):
    """A file that is being sent piece by piece (tus 1.0). Its bytes so far lie under its id in the data folder's tmp/uploads.

    One that has all its bytes and is still here waits for an answer: another file is at its path.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="uploads")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    batch = models.ForeignKey(Batch, on_delete=models.SET_NULL, null=True, blank=True, related_name="uploads")
    path = models.CharField(max_length=500)
    size = models.BigIntegerField()
    offset = models.BigIntegerField(default=0)
    modified = models.BigIntegerField(
        default=0
    )  # when the sender's file was changed, in ms: a changed one is sent anew
    replaces = models.BooleanField(default=False)  # whoever sent it said that a document there may be replaced
    created = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = (models.Index(fields=("changed",), name="upload_by_age"),)

    def __str__(self) -> str:
        return f"{self.path}: {self.offset} of {self.size}"


class WatchedFolder(models.Model):
    """A folder on the server whose files are taken into a collection and then moved to its `done` or `failed` folder."""

    collection = models.OneToOneField(Collection, on_delete=models.CASCADE, related_name="watched_folder")
    path = models.CharField(_("folder"), max_length=500)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    enabled = models.BooleanField(_("on"), default=True)
    looked = models.DateTimeField(null=True, blank=True)
    message = models.CharField(max_length=300, blank=True)  # what is wrong with it, or ""
    attempt = models.PositiveIntegerField(default=0)  # with lease_until: who looks into it now (rag/services/leases.py)
    lease_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.path


class Mailbox(models.Model):
    """An IMAP folder whose mails are taken into a collection. `secret` is the password, encrypted with the site's key."""

    collection = models.OneToOneField(Collection, on_delete=models.CASCADE, related_name="mailbox")
    host = models.CharField(_("server"), max_length=200)
    port = models.PositiveIntegerField(_("port"), default=993)
    user = models.CharField(_("user"), max_length=200)
    secret = models.TextField()
    folder = models.CharField(_("mail folder"), max_length=200, default="INBOX")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    enabled = models.BooleanField(_("on"), default=False)
    uid_validity = models.BigIntegerField(default=0)
    last_uid = models.BigIntegerField(default=0)
    looked = models.DateTimeField(null=True, blank=True)
    message = models.CharField(max_length=300, blank=True)
    attempt = models.PositiveIntegerField(default=0)  # with lease_until: who looks into it now (rag/services/leases.py)
    lease_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.host}"
