"""What people fill in. A form takes the fields it names and nothing else (A7)."""

from django import forms
from django.utils.translation import gettext_lazy as _

from core.models import Role, Team, User


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
