"""The tables of the product, one file per concern."""

from rag.models.content import Chunk, Extraction, Page, Removal
from rag.models.conversation import Answer, AnswerSource, Citation, Conversation, Feedback, Sentence, Share
from rag.models.embedding_model import EmbeddingModel
from rag.models.evaluation import Evaluation
from rag.models.exhaustive import FoundPassage, ReadDocument, WholeReading
from rag.models.imports import Batch, Mailbox, Upload, WatchedFolder
from rag.models.index import IndexGeneration, IngestRun, PageDraft, Vector
from rag.models.language_model import LanguageModel
from rag.models.library import Collection, CollectionField, Document, FieldValue, Grant, Revision, Unrelated
from rag.models.model_job import ModelJob
from rag.models.ranking import JudgedPlace, KeptQuestion, Ranker
from rag.models.threshold import EvidenceThreshold

__all__ = [
    "Answer",
    "AnswerSource",
    "Batch",
    "Chunk",
    "Citation",
    "Collection",
    "CollectionField",
    "Conversation",
    "Document",
    "EmbeddingModel",
    "Evaluation",
    "EvidenceThreshold",
    "Extraction",
    "Feedback",
    "FieldValue",
    "FoundPassage",
    "Grant",
    "IndexGeneration",
    "IngestRun",
    "JudgedPlace",
    "KeptQuestion",
    "LanguageModel",
    "Mailbox",
    "ModelJob",
    "Page",
    "PageDraft",
    "Ranker",
    "ReadDocument",
    "Removal",
    "Revision",
    "Sentence",
    "Share",
    "Unrelated",
    "Upload",
    "Vector",
    "WatchedFolder",
    "WholeReading",
]
