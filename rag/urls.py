"""The product's addresses. Each is in the access matrix (tests/access), or a test fails."""

from django.urls import path

from rag.views import answers, ask, collections, components, documents, models, viewer

urlpatterns = [
    path("", ask.ask, name="ask"),
    path("conversations/<uuid:conversation_id>/", ask.conversation, name="conversation"),
    path("conversations/<uuid:conversation_id>/rename/", ask.rename, name="conversation_rename"),
    path("conversations/<uuid:conversation_id>/delete/", ask.delete, name="conversation_delete"),
    path("answers/<uuid:answer_id>/", answers.answer, name="answer"),
    path("answers/<uuid:answer_id>/stream/", answers.stream, name="answer_stream"),
    path("answers/<uuid:answer_id>/stop/", answers.stop, name="answer_stop"),
    path("answers/<uuid:answer_id>/again/", answers.again, name="answer_again"),
    path("answers/<uuid:answer_id>/feedback/", answers.feedback, name="answer_feedback"),
    path("collections/", collections.collections, name="collections"),
    path("collections/<uuid:collection_id>/", collections.collection, name="collection"),
    path("collections/<uuid:collection_id>/delete/", collections.delete, name="collection_delete"),
    path("collections/<uuid:collection_id>/share/", collections.share, name="collection_share"),
    path("collections/<uuid:collection_id>/unshare/<int:team_id>/", collections.unshare, name="collection_unshare"),
    path("collections/<uuid:collection_id>/upload/", documents.upload, name="upload"),
    path("documents/<uuid:document_id>/", documents.document, name="document"),
    path("documents/<uuid:document_id>/delete/", documents.delete, name="document_delete"),
    path("documents/<uuid:document_id>/retry/", documents.retry, name="document_retry"),
    path("documents/<uuid:document_id>/revisions/<int:number>/original/", documents.original, name="original"),
    path("documents/<uuid:document_id>/revisions/<int:number>/pages/<int:page>/", viewer.page, name="page"),
    path(
        "documents/<uuid:document_id>/revisions/<int:number>/pages/<int:page>/picture/",
        viewer.picture,
        name="page_picture",
    ),
    path("components/", components.components, name="components"),
    path("models/", models.models, name="models"),
    path("models/choose/", models.choose, name="model_choose"),
]
