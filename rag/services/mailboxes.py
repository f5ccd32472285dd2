"""Mailboxes: mails of an IMAP folder become documents. Read only: nothing there is marked, moved or deleted.

Why a list of servers in the environment: Footnote connects to no host that the operator did not name (P8). Without one this is off.

A mail that was stored is never stored twice, whatever was killed when: its place in the collection follows from its date, its
subject and its bytes, and the same bytes at the same place are nothing to do. `last_uid` only saves the asking.
"""

import email.errors
import email.parser
import email.policy
import email.utils
import hashlib
import re
import tempfile
import time
from email.header import decode_header, make_header
from io import BufferedRandom

import structlog
from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import audit
from core.models import User
from core.sealing import seal, unseal
from rag.config import rag_config
from rag.domain.errors import Permanent, RagError
from rag.models import Batch, Collection, Mailbox
from rag.models.imports import Origin
from rag.services import imap, imports, library, sources, uploads
from rag.services.attempts import is_disk_full
from rag.services.imap import Account, Session, SignInRefused
from rag.services.leases import Lease, LeaseLost
from rag.services.quotas import OverQuota

log = structlog.get_logger(__name__)

MAIL_MOST = 256 * 1024 * 1024  # bytes of one mail: what the parser of mails reads
_HEAD = 256 * 1024  # bytes of a mail in which its subject and date are looked for
_LOOK = 45.0  # seconds of one look; the next one goes on
_SILENCE = 20.0  # seconds in which a server says nothing
_MAILS = 200  # mails of one look
_TESTED = 10.0  # seconds that somebody waits for "Test the connection"


# --- What a manager does


def servers() -> list[tuple[str, int]]:
    """The servers that the operator allows: host and port."""
    found = []
    for text in rag_config().mail_hosts:
        host, colon, port = text.rpartition(":")
        found.append((host, int(port)) if colon and port.isdigit() else (text, 993))
    return found


@transaction.atomic
def connect(
    actor: User, collection: Collection, *, server: tuple[str, int], user: str, password: str, folder: str
) -> Mailbox:
    """The collection's mailbox with these settings; it is not switched on by that. `password` "" keeps the one that is there.

    The caller has checked that `actor` manages `collection`. Raises Permanent for a server that is not allowed, and where the password
    has to be given: none is there, or it belongs to another server or user.
    """
    if server not in servers():
        raise Permanent(_("Mails may not be fetched from this server."))
    held = Mailbox.objects.select_for_update().filter(collection=collection).first()
    found = held or Mailbox(collection=collection)
    same_account = (found.host, found.port, found.user) == (*server, user)
    if not password and not (same_account and unseal(found.secret)):
        raise Permanent(_("Give the password."))
    if not same_account or found.folder != folder:
        found.uid_validity = found.last_uid = 0
    found.host, found.port, found.user, found.folder = *server, user, folder
    if password:
        found.secret = seal(password)
    found.message, found.attempt, found.lease_until = "", found.attempt + 1, None
    found.actor = actor
    found.save()
    audit.record("mailbox.changed", actor=actor, subject=found, collection=str(collection.pk), **_facts(found))
    return found


def _facts(mailbox: Mailbox) -> dict[str, str | int]:
    return {"host": mailbox.host, "port": mailbox.port, "user": mailbox.user, "folder": mailbox.folder}


@transaction.atomic
def switch(actor: User | None, mailbox: Mailbox, *, on: bool, reason: str = "") -> None:
    """Fetches mails from now on, as `actor`, or no longer."""
    changes = {"enabled": on, "message": reason[:300], "attempt": F("attempt") + 1, "lease_until": None}
    Mailbox.objects.filter(pk=mailbox.pk).update(**(changes | ({"actor": actor} if on else {})))
    action = "mailbox.on" if on else "mailbox.off"
    audit.record(action, actor=actor, subject=mailbox, reason=reason, **_facts(mailbox))


@transaction.atomic
def forget(actor: User, mailbox: Mailbox) -> None:
    """Removes the mailbox's settings and its password; the documents stay."""
    audit.record("mailbox.removed", actor=actor, subject=mailbox, **_facts(mailbox))
    Mailbox.objects.filter(pk=mailbox.pk).delete()


def test(mailbox: Mailbox) -> str:
    """What the mailbox answers, as a sentence. Raises MailFailed, SignInRefused and Permanent with what is wrong."""
    with imap.opened(_account(mailbox), silence=_TESTED, seconds=2 * _TESTED) as session:
        return ngettext(
            "The connection works: “%(folder)s” has %(count)d mail.",
            "The connection works: “%(folder)s” has %(count)d mails.",
            session.count,
        ) % {"folder": mailbox.folder, "count": session.count}


def _account(mailbox: Mailbox) -> Account:
    if (mailbox.host, mailbox.port) not in servers():
        raise Permanent(_("The operator no longer allows mails from %(host)s.") % {"host": mailbox.host})
    password = unseal(mailbox.secret)
    if not password:
        raise SignInRefused(_("The password can no longer be read: the site's key has changed. Give it again."))
    return Account(mailbox.host, mailbox.port, mailbox.user, password, mailbox.folder, rag_config().mail_ca)


# --- A look


def due() -> list[int]:
    """The ids of the mailboxes that are to be looked into."""
    if not servers():
        return []
    live = Mailbox.objects.filter(enabled=True, collection__deleted__isnull=True)
    return list(live.values_list("pk", flat=True))


def fetch(mailbox_id: int) -> int:
    """Takes the mails that came since the last look; how many.

    Does nothing where the mailbox is switched off, gone, or in somebody else's hands. What is wrong is written in its message.
    A refused password switches it off: asking again every minute would lock the account.
    """
    rows = Mailbox.objects.select_related("collection", "actor")
    mailbox = rows.filter(pk=mailbox_id, enabled=True, collection__deleted__isnull=True).first()
    lease = Lease.take(Mailbox, mailbox_id, Q(enabled=True)) if mailbox is not None else None
    if mailbox is None or lease is None:
        return 0
    taken = 0
    try:
        with lease:
            if mailbox.actor is None or not sources.may_add(mailbox.actor, mailbox.collection):
                switch(None, mailbox, on=False, reason=_no_longer_allowed(mailbox))
                return 0
            found = _Look(mailbox, mailbox.actor, lease)
            try:
                message = found.run()
            except SignInRefused as error:
                switch(None, mailbox, on=False, reason=f"{_('Switched off:')} {error.message}")
                return 0
            except RagError as error:
                message = error.message
            except OSError as error:
                if not is_disk_full(error):
                    raise
                message = _disk_full()
            taken = found.taken
            lease.release(looked=timezone.now(), message=message[:300])
    except LeaseLost:
        log.info("mail.lost", mailbox=mailbox_id)  # switched off or changed meanwhile
    return taken


def _no_longer_allowed(mailbox: Mailbox) -> str:
    name = mailbox.actor.get_username() if mailbox.actor else _("Whoever switched it on")
    said = _("%(name)s may no longer add documents here. Somebody else can switch it on again.") % {"name": name}
    return f"{_('Switched off:')} {said}"


def _disk_full() -> str:
    return _("The server's disk is full. The mails wait where they are.")


class _Look:
    """One look into one mailbox."""

    def __init__(self, mailbox: Mailbox, actor: User, lease: Lease) -> None:
        self.mailbox, self.actor, self.lease = mailbox, actor, lease
        self.taken = 0
        self._until = time.monotonic() + _LOOK

    def run(self) -> str:
        """Takes what is new; what whoever manages the collection should know, or ""."""
        with imap.opened(_account(self.mailbox), silence=_SILENCE, seconds=_LOOK + 2 * _SILENCE) as session:
            if session.uid_validity != self.mailbox.uid_validity:  # the server has numbered its mails anew
                self.mailbox.last_uid = 0
                self.lease.write(uid_validity=session.uid_validity, last_uid=0)
            uids = session.uids_after(self.mailbox.last_uid)
            for place, uid in enumerate(uids):
                if place >= _MAILS or time.monotonic() > self._until:
                    return ""
                try:
                    self._take(session, uid)
                except OverQuota as error:
                    return _("%(reason)s The mails wait where they are.") % {"reason": error.message}
                except uploads.Full:
                    return _disk_full()
                self.lease.write(last_uid=uid)
        sources.close_batches(self.mailbox.collection, Origin.MAIL)
        return ""

    def _take(self, session: Session, uid: int) -> None:
        size = session.size(uid)
        if size is None:
            return  # deleted since it was listed
        self.lease.write()
        most = min(MAIL_MOST, settings.UPLOAD_LIMIT)
        if size > most:
            self._refuse(_("Mail %(uid)d") % {"uid": uid}, most)
            return
        uploads.require_disk(2 * size)
        with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
            whole = session.download(uid, file, size=size, most=most)
            if not file.tell():
                return
            path = mail_path(file)
            if whole:
                self._add(file, path)
            else:
                self._refuse(path, most)

    def _add(self, file: BufferedRandom, path: str) -> None:
        batch = sources.batch_under_way(self.actor, self.mailbox.collection, Origin.MAIL)
        try:
            self._added(file, path, batch)
            self.taken += 1
        except OverQuota:
            raise
        except library.Exists as error:
            imports.note_refused(batch, path, error.message)
        except Permanent as error:
            log.info("mail.refused", mailbox=self.mailbox.pk, reason=type(error).__name__)  # the batch says why
        sources.announce(batch)

    def _added(self, file: BufferedRandom, path: str, batch: Batch) -> None:
        collection = self.mailbox.collection
        try:
            sources.take(self.actor, collection, File(file), path=path, replaces=False, batch=batch)
        except library.Exists:  # another mail of that day and subject: the bytes tell them apart, today and later
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
            beside = f"{path.removesuffix('.eml')} ({digest}).eml"
            sources.take(self.actor, collection, File(file), path=beside, replaces=False, batch=batch)

    def _refuse(self, path: str, most: int) -> None:
        batch = sources.batch_under_way(self.actor, self.mailbox.collection, Origin.MAIL)
        sentence = _("This mail is larger than the %(most)d MB that one may have.") % {"most": most // (1024 * 1024)}
        imports.note_refused(batch, path, sentence)
        sources.announce(batch)


# --- Names


def mail_path(file: BufferedRandom) -> str:
    """Where a mail goes: "Mail/2026-03-01 Offer for the boiler.eml", by the date and subject that it names itself."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(head)
    subject = re.sub(r"[\s/\\]+", " ", _readable(message.get("Subject"))).strip(" .")[:120].strip()
    return library.clean_path(f"Mail/{_day(str(message.get('Date', '')))} {subject or _('no subject')}.eml")


def _readable(header: object) -> str:
    """A header with its encoded words decoded; as it stands where they are broken."""
    text = str(header or "")
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError, email.errors.MessageError):
        return text


def _day(header: str) -> str:
    try:
        return email.utils.parsedate_to_datetime(header).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return _("undated")
