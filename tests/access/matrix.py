"""Who gets what from which address: one row an address, one column an actor. An address without a row fails a test.

Actors: anonymous, inactive (signed in, then deactivated), token (an Authorization header, which nothing accepts yet), outsider (in a
team of their own), reader, contributor and manager of the team that owns the objects, administrator (runs the site, in no team).
The objects of an answer or conversation belong to the reader, an upload under way to the contributor.

Codes: S sign in first (302 to the sign-in page), N not found, O ok (200), R done, go on (302 to somewhere else),
U a form with errors (422: asking without a collection one may read is asking nothing), E done, nothing to show (204), 201 made, F 403
"""

ACTORS = ("anonymous", "inactive", "token", "outsider", "reader", "contributor", "manager", "administrator")

# address name: (method, codes in the order of ACTORS)
MATRIX: dict[str, tuple[tuple[str, str], ...]] = {
    "account_login": (("GET", "O O O R R R R R"),),
    "account_logout": (("GET", "S S S O O O O O"),),
    "account_change_password": (("GET", "S S S O O O O O"),),
    "theme": (("POST", "R R R R R R R R"),),
    "people": (("GET", "S S S N N N N O"),),
    "user_create": (("POST", "S S S N N N N R"),),
    "user_deactivate": (("POST", "S S S N N N N R"),),
    "team_create": (("POST", "S S S N N N N R"),),
    "team_add_member": (("POST", "S S S N N N N R"),),
    "team_remove_member": (("POST", "S S S N N N N R"),),
    "health_live": (("GET", "O O O O O O O O"),),
    "health_ready": (("GET", "O O O O O O O O"),),
    "ask": (("GET", "S S S O O O O O"), ("POST", "S S S U R R R U")),
    "conversation": (("GET", "S S S N O N N N"), ("POST", "S S S N R N N N")),
    "conversation_rename": (("POST", "S S S N R N N N"),),
    "conversation_delete": (("GET", "S S S N O N N N"), ("POST", "S S S N R N N N")),
    "answer": (("GET", "S S S N O N N N"),),
    "answer_stream": (("GET", "S S S N O N N N"),),
    "answer_stop": (("POST", "S S S N R N N N"),),
    "answer_again": (("POST", "S S S N R N N N"),),
    "answer_feedback": (("POST", "S S S N R N N N"),),
    "collections": (("GET", "S S S O O O O O"), ("POST", "S S S R U U R U")),
    "collection": (("GET", "S S S N O O O N"),),
    "collection_delete": (("GET", "S S S N N N O N"), ("POST", "S S S N N N R N")),
    "collection_share": (("POST", "S S S N N N R N"),),
    "collection_unshare": (("POST", "S S S N N N R N"),),
    "collection_act": (("POST", "S S S N N R R N"),),
    "collection_events": (("GET", "S S S N O O O N"),),
    "upload": (("POST", "S S S N N R R N"),),
    "uploads": (("POST", "S S S N N 201 201 N"), ("OPTIONS", "S S S N N E E N")),
    "uploads_existing": (("POST", "S S S N N O O N"),),
    "uploads_waiting": (("GET", "S S S N N R R N"), ("POST", "S S S N N R R N")),
    "upload_piece": (("HEAD", "S S S N N O N N"), ("PATCH", "S S S N N E N N"), ("DELETE", "S S S N N E N N")),
    "imports": (("POST", "S S S N N 201 201 N"),),
    "import": (("GET", "S S S N N O O N"), ("POST", "S S S N N R R N")),
    "import_csv": (("GET", "S S S N N O O N"),),
    "sources": (("GET", "S S S N N N O N"),),
    "sources_folder": (("POST", "S S S N N N U N"),),
    "sources_mail": (("POST", "S S S N N N U N"),),
    "filters": (("POST", "S S S O O O O O"),),
    "reviews": (("GET", "S S S N O O O N"),),
    "fields": (("GET", "S S S N N O O N"), ("POST", "S S S N N N R N")),
    "fields_set": (("POST", "S S S N N O O N"),),
    "fields_csv": (("GET", "S S S N N O O N"), ("POST", "S S S N N O O N")),
    "field": (("POST", "S S S N N N R N"),),
    "field_delete": (("GET", "S S S N N N O N"), ("POST", "S S S N N N R N")),
    "document": (("GET", "S S S N O O O N"),),
    "document_fields": (("GET", "S S S N N O O N"), ("POST", "S S S N N R R N")),
    "document_validity": (("GET", "S S S N N O O N"), ("POST", "S S S N N R R N")),
    "document_replaces": (("POST", "S S S N N R R N"),),
    "document_delete": (("GET", "S S S N N O O N"), ("POST", "S S S N N R R N")),
    "document_retry": (("POST", "S S S N N R R N"),),
    "document_cancel": (("POST", "S S S N N R R N"),),
    "original": (("GET", "S S S N O O O N"),),
    "page": (("GET", "S S S N O O O N"),),
    "page_picture": (("GET", "S S S N O O O N"),),
    "components": (("GET", "S S S O O O O O"),),
    "models": (("GET", "S S S N N N N O"),),
    "model_choose": (("POST", "S S S N N N N R"),),
}
