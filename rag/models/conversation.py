"""Questions, answers, and the words that carry them."""

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from rag.domain.types import Principal
from rag.models.content import Extraction
from rag.models.library import Collection, Document


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def of(self, principal: Principal) -> Self:
        """The person's own conversations: nobody else sees them, administrators included."""
        return self.filter(owner_id=principal.user_id, owner__is_active=True, deleted__isnull=True)

    def shared_with(self, principal: Principal) -> Self:
        """Conversations of others that the person was given to read, by name or as a member of a team as of now.

        Which of their answers that person may see is a question of its own: services.sharing.
        """
        given = Share.objects.reaching(principal).values("conversation_id")
        return self.filter(pk__in=given, owner__is_active=True, deleted__isnull=True).exclude(
            owner_id=principal.user_id
        )


class Conversation(models.Model):
    """A thread of questions by one person over the collections they chose."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200)
    collections = models.ManyToManyField(Collection, related_name="+")
    filters = models.JSONField(default=list)  # domain.conditions: which of the documents are asked
    quotes_only = models.BooleanField(default=False)  # as its last question was asked
    pinned = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    deleted = models.DateTimeField(null=True, blank=True)  # its owner can take that back for a while

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-pinned", "-updated")
        indexes = (models.Index(fields=("owner", "-pinned", "-updated"), name="conversation_of_owner"),)

    def __str__(self) -> str:
        return self.title


class AnswerState(models.TextChoices):
    PENDING = "pending", _("waiting")
    ANSWERING = "answering", _("answering")
    FINISHED = "finished", _("finished")
    REFUSED = "refused", _("not in the documents")
    STOPPED = "stopped", _("stopped")
    FAILED = "failed", _("failed")


EXTRACTIVE = "extractive"  # the provider of answers that no language model wrote
RUNNING = (AnswerState.PENDING, AnswerState.ANSWERING)


class AnswerQuerySet(models.QuerySet["Answer"]):
    def of(self, principal: Principal) -> Self:
        """Answers in the person's own conversations."""
        return self.filter(
            conversation__owner_id=principal.user_id,
            conversation__owner__is_active=True,
            conversation__deleted__isnull=True,
        )


class Answer(models.Model):
    """A question and what came of it. `attempt` is the fencing token of whoever produces it.

    `after` makes a tree of a conversation: answers after the same one are versions of each other (asked again, or edited), and
    what follows belongs to its version.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="answers")
    after = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="followed_by")
    question = models.TextField()
    standalone = models.TextField(blank=True)  # the question in words that can be read alone
    alone = models.BooleanField(default=False)  # searched by itself, whatever was said before it
    together = models.JSONField(default=list)  # the earlier questions that counted in the search, nearest first
    filters = models.JSONField(default=list)  # as of its conversation when it was asked
    quotes_only = models.BooleanField(default=False)  # its asker wants no generated sentences
    locked_by = models.JSONField(default=list)  # ids of the collections asked that allow none, when it was answered
    waiting_for = models.JSONField(default=list)  # ids of its private files that were not read yet when it was searched
    wanted_model = models.CharField(max_length=230, blank=True)  # model_key of the one picked for this question, if any
    state = models.CharField(max_length=10, choices=AnswerState.choices, default=AnswerState.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    stop_asked = models.BooleanField(default=False)
    text = models.TextField(blank=True)  # as the model wrote it, markers included
    message = models.CharField(max_length=500, blank=True)  # why it failed or was refused; for the reader
    quotes = models.JSONField(default=list)  # verbatim extracts: source number, start, end in the source's text
    elsewhere = models.JSONField(
        default=list
    )  # refused: ids of collections that were not asked and have evidence, best first
    evidence = models.FloatField(null=True)  # how much speaks for an answer, 0 to 1
    conflicts = models.JSONField(default=list)  # [number, number]: sources that say different things of the same
    cut_off = models.BooleanField(default=False)  # the model reached its limit
    dropped = models.PositiveIntegerField(default=0)  # sources that did not fit the prompt
    provider = models.CharField(max_length=20, blank=True)
    model = models.CharField(max_length=200, blank=True)
    model_digest = models.CharField(max_length=100, blank=True)
    parameters = models.JSONField(default=dict)
    prompt_version = models.CharField(max_length=40, blank=True)
    timings = models.JSONField(default=dict)  # stage -> milliseconds
    considered = models.JSONField(
        default=list
    )  # the best candidates of the search, sources or not: services.considered
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)

    objects = AnswerQuerySet.as_manager()

    class Meta:
        ordering = ("conversation", "created")
        indexes = (
            models.Index(fields=("conversation", "created"), name="answer_in_thread"),
            models.Index(fields=("state", "lease_until"), name="answer_by_state"),
        )

    def __str__(self) -> str:
        return f"{self.conversation_id}: {self.state}"


class AnswerSource(models.Model):
    """A passage that was offered as evidence, pinned: the extraction, the pages, the offsets, and a hash of the words.

    It outlives re-chunking and re-embedding, so `chunk_id` is a number, not a foreign key. When the document is gone, so are the
    words: only the hash and the number stay.
    """

    answer = models.ForeignKey(Answer, on_delete=models.CASCADE, related_name="sources")
    number = models.PositiveSmallIntegerField()
    document = models.ForeignKey(Document, on_delete=models.SET_NULL, null=True, related_name="+")
    extraction = models.ForeignKey(Extraction, on_delete=models.SET_NULL, null=True, related_name="+")
    revision = models.PositiveIntegerField()
    chunk_id = models.BigIntegerField()
    page_from = models.PositiveIntegerField()
    page_to = models.PositiveIntegerField()
    page_label = models.CharField(max_length=40, blank=True)
    heading = models.JSONField(default=list)
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    score = models.FloatField()
    cosine = models.FloatField(null=True)
    ranks = models.JSONField(default=dict)
    # Where in the pinned words the passage stands that was searched; without both, it is all of them.
    found_start = models.PositiveIntegerField(null=True)
    found_end = models.PositiveIntegerField(null=True)
    offered = models.BooleanField(default=True)  # whether it fitted the prompt

    class Meta:
        ordering = ("answer", "number")
        constraints = (models.UniqueConstraint(fields=("answer", "number"), name="source_number"),)

    def __str__(self) -> str:
        return f"{self.answer_id} [{self.number}]"


class Sentence(models.Model):
    """One sentence of an answer, without its markers, and what the check against its sources said."""

    answer = models.ForeignKey(Answer, on_delete=models.CASCADE, related_name="sentences")
    ordinal = models.PositiveIntegerField()
    text = models.TextField()
    paragraph = models.BooleanField(default=False)  # a new paragraph starts here
    verdict = models.CharField(max_length=20, default="unchecked")
    reason = models.CharField(max_length=300, blank=True)
    missing = models.JSONField(default=list)  # [start, end]: stretches of the text that stand in none of its sources
    quoted = models.BooleanField(default=False)  # the reader put the cited words in its place

    class Meta:
        ordering = ("answer", "ordinal")
        constraints = (models.UniqueConstraint(fields=("answer", "ordinal"), name="sentence_ordinal"),)

    def __str__(self) -> str:
        return f"{self.answer_id} sentence {self.ordinal}"


class Citation(models.Model):
    """A sentence's pointer to a source; `start` and `end` count code points in the source's own text."""

    sentence = models.ForeignKey(Sentence, on_delete=models.CASCADE, related_name="citations")
    source = models.ForeignKey(AnswerSource, on_delete=models.CASCADE, related_name="citations")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    repaired = models.BooleanField(
        default=False
    )  # the model cited another source or none; this one carries the sentence

    class Meta:
        ordering = ("sentence", "id")

    def __str__(self) -> str:
        return f"{self.sentence_id} -> {self.source_id}"


class FeedbackKind(models.TextChoices):
    """What was wrong with an answer."""

    WRONG = "wrong", _("It is wrong")
    INCOMPLETE = "incomplete", _("Something is missing")
    SOURCES = "sources", _("It cites the wrong passages")
    OUTDATED = "outdated", _("It is out of date")
    REFUSED = "refused", _("The documents do answer this")
    OTHER = "other", _("Something else")


class Feedback(models.Model):
    """What the reader thought of an answer; of one that was not good also why, if they said."""

    answer = models.OneToOneField(Answer, on_delete=models.CASCADE, related_name="feedback")
    helpful = models.BooleanField()
    kind = models.CharField(max_length=12, choices=FeedbackKind.choices, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.answer_id}: {'up' if self.helpful else 'down'}"


class ShareQuerySet(models.QuerySet["Share"]):
    def reaching(self, principal: Principal) -> Self:
        """Shares with this person, by name or through a team that they belong to now. Deactivated people are reached by none."""
        by_name = Q(user_id=principal.user_id, user__is_active=True)
        by_team = Q(team__memberships__user_id=principal.user_id, team__memberships__user__is_active=True)
        return self.filter(by_name | by_team)


class Share(models.Model):
    """A branch of a conversation, up to and including `tip`, that somebody else or a team may read. Nothing later is in it."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="shares")
    tip = models.ForeignKey(Answer, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    team = models.ForeignKey("core.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    objects = ShareQuerySet.as_manager()

    class Meta:
        ordering = ("conversation", "created")
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=True, team__isnull=False) | Q(user__isnull=False, team__isnull=True),
                name="shared_with_one",
            ),
            models.UniqueConstraint(fields=("conversation", "user"), name="one_share_per_person"),
            models.UniqueConstraint(fields=("conversation", "team"), name="one_share_per_team"),
        )

    def __str__(self) -> str:
        return f"{self.conversation_id} to {self.user_id or self.team_id}"
