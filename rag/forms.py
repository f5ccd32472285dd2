"""What people fill in. A form takes the fields it names and nothing else (A7)."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from core.models import Role, Team, User
from rag.models import CollectionField, Document, Mailbox, WatchedFolder
from rag.models.conversation import FeedbackKind
from rag.models.library import FieldKind
from rag.services import sharing, validity
from rag.services.fields import VALUE_MOST, Value


class _Day(forms.DateInput):
    """A day as browsers pick it."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class QuestionForm(forms.Form):
    """A question; its length is judged by the service, which says it in words."""

    question = forms.CharField(label=_("Question"), widget=forms.Textarea, required=False)


class CollectionForm(forms.Form):
    """A new collection for a team that the user manages."""

    name = forms.CharField(label=_("Name"), max_length=100)
    description = forms.CharField(label=_("What is in it"), max_length=300, required=False)
    team = forms.ModelChoiceField(label=_("Team"), queryset=Team.objects.none())

    def __init__(self, user: User, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        managed = Team.objects.filter(memberships__user=user, memberships__role__gte=Role.MANAGER)
        self.fields["team"].queryset = managed  # type: ignore[attr-defined]  # a ModelChoiceField


class GrantForm(forms.Form):
    """Which team may use a collection, and how."""

    team = forms.ModelChoiceField(label=_("Team"), queryset=Team.objects.none())
    role = forms.TypedChoiceField(label=_("At most as"), choices=Role.choices, coerce=lambda value: Role(int(value)))

    def __init__(self, user: User, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        # Only teams that one belongs to: others' names are not one's business (A6).
        self.fields["team"].queryset = Team.objects.filter(memberships__user=user)  # type: ignore[attr-defined]


class TitleForm(forms.Form):
    title = forms.CharField(label=_("New name"), max_length=200)


class ReasonForm(forms.Form):
    """Why an answer was not good."""

    kind = forms.ChoiceField(label=_("What was wrong?"), choices=FeedbackKind.choices, required=False)
    reason = forms.CharField(label=_("In your words"), max_length=500, required=False)


class ShareForm(forms.Form):
    """People and teams that may read a conversation: of those that the user belongs together with."""

    people = forms.ModelMultipleChoiceField(label=_("People"), queryset=User.objects.none(), required=False)
    teams = forms.ModelMultipleChoiceField(label=_("Teams"), queryset=Team.objects.none(), required=False)

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(data)
        known = {"people": sharing.people(user), "teams": sharing.teams(user)}
        for name, model in (("people", User), ("teams", Team)):
            if not known[name]:
                del self.fields[name]  # a heading over nothing
                continue
            field = self.fields[name]
            field.queryset = model.objects.filter(pk__in=[each.pk for each in known[name]])  # type: ignore[attr-defined]
            field.widget = forms.CheckboxSelectMultiple(choices=field.choices)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Somebody has to be chosen."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors and not cleaned.get("people") and not cleaned.get("teams"):
            raise forms.ValidationError(_("Choose somebody to share with."))
        return cleaned

    def chosen(self) -> list[User | Team]:
        """Those that were ticked."""
        return [*self.cleaned_data.get("people", ()), *self.cleaned_data.get("teams", ())]


class ValidityForm(forms.Form):
    """From when a document holds, and until what. `superseded_by` is typed: collections are too long for a list."""

    owner = forms.ModelChoiceField(label=_("Answers for it"), queryset=User.objects.none(), required=False)
    valid_from = forms.DateField(label=_("In force from"), required=False, widget=_Day)
    review_by = forms.DateField(label=_("Review by"), required=False, widget=_Day)
    superseded_by = forms.CharField(
        label=_("Superseded by"), max_length=500, required=False, help_text=_("Path or title of the newer document.")
    )

    def __init__(self, document: Document, data: QueryDict | None = None) -> None:
        successor = document.superseded_by
        initial = {
            "owner": document.owner_id,
            "valid_from": document.valid_from,
            "review_by": document.review_by,
            "superseded_by": successor.path if successor is not None and successor.deleted is None else "",
        }
        super().__init__(data, initial=initial)
        self.document = document
        owners = Q(pk__in=[person.pk for person in validity.possible_owners(document.collection)])
        self.fields["owner"].queryset = User.objects.filter(owners | Q(pk=document.owner_id))  # type: ignore[attr-defined]  # a ModelChoiceField

        self.fields["superseded_by"].widget.attrs["list"] = "successors"

    def known(self) -> Sequence[Document]:
        """Documents to choose the successor from, the newest first; others can be typed."""
        return list(validity.possible_successors(self.document).order_by("-created")[:200])

    def clean_superseded_by(self) -> Document | None:
        """The document of this path, or the only one of this title."""
        name = str(self.cleaned_data["superseded_by"]).strip()
        if not name:
            return None
        others = validity.possible_successors(self.document)
        found = list(others.filter(path=name)[:1]) or list(others.filter(title__iexact=name)[:2])
        if not found:
            raise forms.ValidationError(_("No document here has this path or title."))
        if len(found) > 1:
            raise forms.ValidationError(_("More than one document has this title: give the path."))
        return found[0]


class FieldForm(forms.Form):
    """A field of a collection's own. An existing one keeps its kind."""

    label = forms.CharField(label=_("Name"), max_length=60)
    kind = forms.ChoiceField(label=_("Kind"), choices=FieldKind.choices)
    source = forms.ChoiceField(label=_("Filled from"), required=False)

    def __init__(self, sources: Sequence[tuple[str, str]], *args: Any, kept: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["source"].choices = sources  # type: ignore[attr-defined]  # a ChoiceField
        if kept:
            del self.fields["kind"]


class ValuesForm(forms.Form):
    """What a document has in each field of its collection. With `each_by_choice`, for many documents, only ticked fields count."""

    def __init__(self, values: Sequence[Value], *args: Any, each_by_choice: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.own = {f"v.{value.field.key}": value.field for value in values}
        self.each_by_choice = each_by_choice
        for value in values:
            name, label = f"v.{value.field.key}", value.field.label
            if each_by_choice:
                said = _("Change “%(label)s”") % {"label": label}
                self.fields[f"set.{name}"] = forms.BooleanField(label=said, required=False)
            widget = _Day() if value.field.kind == FieldKind.DATE else forms.TextInput()
            self.fields[name] = forms.CharField(
                label=label, max_length=VALUE_MOST, required=False, initial=value.text, widget=widget
            )

    def values(self) -> dict[CollectionField, str]:
        """What is to be written: of one document what differs from before, of many what was ticked."""
        named = self.cleaned_data
        if self.each_by_choice:
            return {own: named[name] for name, own in self.own.items() if named[f"set.{name}"]}
        return {own: named[name] for name, own in self.own.items() if name in self.changed_data}


class CsvForm(forms.Form):
    file = forms.FileField(label=_("CSV file"))


class QuestionsForm(forms.Form):
    file = forms.FileField(label=_("CSV or JSON-lines file"))


class FolderForm(forms.Form):
    """A folder of the server, named from the one below which folders may be watched."""

    path = forms.CharField(label=_("Folder"), max_length=400)

    def __init__(self, watched: WatchedFolder | None, data: QueryDict | None = None) -> None:
        super().__init__(data, initial={"path": watched.path} if watched else None)


class MailboxForm(forms.Form):
    """A mail folder on one of the servers that the operator allows. The password is asked for and never shown."""

    server = forms.ChoiceField(label=_("Server"))
    user = forms.CharField(label=_("User"), max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    password = forms.CharField(
        label=_("Password"),
        max_length=500,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    folder = forms.CharField(label=_("Mail folder"), max_length=200, initial="INBOX")

    def __init__(
        self, mailbox: Mailbox | None, servers: Sequence[tuple[str, int]], data: QueryDict | None = None
    ) -> None:
        names = [f"{host}:{port}" for host, port in servers]
        initial = None
        if mailbox is not None:
            server = f"{mailbox.host}:{mailbox.port}"
            initial = {"server": server, "user": mailbox.user, "folder": mailbox.folder}
        super().__init__(data, initial=initial, auto_id="id_mail_%s")
        self.fields["server"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]  # a ChoiceField
        self.fields["password"].required = mailbox is None
        if mailbox is not None:
            self.fields["password"].help_text = _("Leave it empty to keep the one that is there.")

    def clean(self) -> dict[str, Any]:
        """No line breaks or other controls: they would end a command to the server."""
        data = super().clean() or {}
        for name in ("user", "password", "folder"):
            if any(ord(sign) < 32 or ord(sign) == 127 for sign in data.get(name, "")):
                self.add_error(name, _("It must be one line of plain text."))
        return data

    def settings(self) -> dict[str, Any]:
        """What `mailboxes.connect` takes."""
        host, _colon, port = self.cleaned_data["server"].rpartition(":")
        named = {name: self.cleaned_data[name] for name in ("user", "password", "folder")}
        return {"server": (host, int(port))} | named
