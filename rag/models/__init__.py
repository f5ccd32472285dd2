"""The tables of the product, one file per concern."""

from rag.models.content import Chunk, Extraction, Page, Removal
from rag.models.conversation import Answer, AnswerSource, Citation, Conversation, Feedback, Sentence
from rag.models.index import IndexGeneration, IngestRun, Vector
from rag.models.language_model import LanguageModel
from rag.models.library import Collection, Document, Grant, Revision

__all__ = [
    "Answer",
    "AnswerSource",
    "Chunk",
    "Citation",
    "Collection",
    "Conversation",
    "Document",
    "Extraction",
    "Feedback",
    "Grant",
    "IndexGeneration",
    "IngestRun",
    "LanguageModel",
    "Page",
    "Removal",
    "Revision",
    "Sentence",
    "Vector",
]
