"""The site's settings, read top to bottom. Every variable is described in docs/settings.md; a test compares the two."""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from core.env import env_bool, env_choice, env_int, env_list, env_path, env_secret, env_str, env_urls

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env_path("FOOTNOTE_DATA", BASE_DIR / "data")

# --- What kind of installation this is
DEBUG = env_bool("FOOTNOTE_DEBUG", default=False)
SITE_URL = env_str("FOOTNOTE_URL", "http://127.0.0.1:8000").rstrip("/")
_url = urlsplit(SITE_URL)
if _url.scheme not in {"http", "https"} or not _url.hostname:
    raise ImproperlyConfigured(f"FOOTNOTE_URL must look like https://footnote.example, not {SITE_URL!r}.")
HTTPS = _url.scheme == "https"


def _secret_key() -> str:
    """FOOTNOTE_SECRET_KEY, or the key that `up` wrote into the data folder, or "": core.checks then refuses to start."""
    key = env_secret("FOOTNOTE_SECRET_KEY")
    file = DATA_DIR / "secret_key"
    if not key and file.is_file():
        key = file.read_text().strip()
    return key


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env_list("FOOTNOTE_HOSTS", (_url.hostname, "127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = [SITE_URL] if HTTPS else []

# --- Applications
INSTALLED_APPS = [
    "core",
    "rag",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
    "django_htmx",
    "template_partials",
    "csp",
]
MIDDLEWARE = [
    "core.middleware.request_context",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "core.middleware.response_headers",
    "core.middleware.static_files",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "core.urls"
ASGI_APPLICATION = "core.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "core.views.context.site",
                "rag.views.context.outside",
            ],
        },
    }
]


# --- Database: the truth
def _database() -> dict[str, object]:
    url = env_secret("DATABASE_URL")
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "footnote.sqlite3",
            "TEST": {"NAME": DATA_DIR / "test.sqlite3"},  # a file: one in memory locks whole tables between threads
            # IMMEDIATE takes the write lock at BEGIN: a transaction that reads first can otherwise fail half-way with
            # "database is locked", whatever the timeout.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
                "init_command": (
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; "
                    "PRAGMA cache_size=-16000; PRAGMA mmap_size=134217728; PRAGMA secure_delete=ON;"
                ),
            },
        }
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql://.")
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username or "",
        "PASSWORD": env_secret("DATABASE_PASSWORD", parts.password or ""),
        "HOST": query.get("host", parts.hostname or ""),
        "PORT": parts.port or "",
        "CONN_HEALTH_CHECKS": True,  # core/threads.py keeps connections open: a restarted server must not fail a page
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# --- Redis: the queue, the replay log of running answers, throttles. Nothing in it is needed to recover.
def _redis_socket() -> Path:
    """Where the Redis of `up` listens: in the data folder, or in /tmp where that path is too long for a socket."""
    path = DATA_DIR / "run" / "redis.sock"
    if len(bytes(path)) <= 107:
        return path
    name = hashlib.sha256(bytes(path)).hexdigest()[:16]
    return Path("/tmp") / f"footnote-{os.getuid()}-{name}" / "redis.sock"  # noqa: S108  (`up` makes it private)


REDIS_URL = env_secret("REDIS_URL", f"unix://{quote(str(_redis_socket()))}")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "footnote",
    }
}
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)

# --- People
AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "ask"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "core.adapter.ClosedAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_SESSION_REMEMBER = None
# Failed sign-ins: ten a minute from one address, five in five minutes for one account (ASVS 6.3.1).
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip", "login_failed": "10/m/ip,5/5m/key"}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
if HTTPS:
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
CSRF_FAILURE_VIEW = "core.views.errors.csrf_failure"

# --- What browsers are told
SECURE_CONTENT_TYPE_NOSNIFF = True
# Not "no-referrer": under it browsers send "Origin: null" with every form, which is what a forged one looks like. Either
# way no other site learns an address of this one.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_SSL_REDIRECT = HTTPS
# Health checks come from inside, over plain http.
SECURE_REDIRECT_EXEMPT = [r"^health/"]
if env_bool("FOOTNOTE_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Uploads (core.asgi counts bytes before Django spools them)
UPLOAD_LIMIT = env_int("FOOTNOTE_UPLOAD_MB", 2000, least=1, most=2000) * 1024 * 1024  # one file
PIECE_LIMIT = 16 * 1024 * 1024  # one request of a file that comes in pieces
UPLOAD_FORM_LIMIT = min(UPLOAD_LIMIT, 50 * 1024 * 1024)  # all files of a form that a browser without scripts sends
FORM_LIMIT = 1024 * 1024  # any request that is not an upload
DATA_UPLOAD_MAX_MEMORY_SIZE = FORM_LIMIT
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "tmp"
FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_NUMBER_FILES = 1000

# --- Static files
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "originals", "base_url": None},
    },
    "staticfiles": {"BACKEND": "servestatic.storage.CompressedManifestStaticFilesStorage"},
}

# --- Language and time
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
TIME_ZONE = env_str("FOOTNOTE_TIME_ZONE", "UTC")
USE_I18N = USE_TZ = True

# --- Celery. Delivery is at-least-once and at-most-once at the same time: leases in the database decide, tasks are idempotent.
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TIME_LIMIT = 3600
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 4 * 3600,
    "global_keyprefix": "footnote:",
    # A worker empties its queues in the order in which it was given them: see rag/tasks.py.
    "queue_order_strategy": "priority",
}
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_ROUTES = {"rag.tasks.ingest": {"queue": "ingest"}, "rag.tasks.embed": {"queue": "embed"}}
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "rag.tasks.sweep", "schedule": 10.0, "options": {"expires": 10}},
    "upkeep": {"task": "rag.tasks.upkeep", "schedule": 300.0, "options": {"expires": 300}},
}
if env_str("FOOTNOTE_WATCH_ROOT"):
    CELERY_BEAT_SCHEDULE["watch"] = {"task": "rag.tasks.watch", "schedule": 10.0, "options": {"expires": 10}}
if env_list("FOOTNOTE_MAIL_HOSTS"):
    CELERY_BEAT_SCHEDULE["mail"] = {"task": "rag.tasks.mail", "schedule": 60.0, "options": {"expires": 60}}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "run" / "beat-schedule")

# --- Logs: no document text, no questions, no e-mail addresses at INFO (P7)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "core.logs.formatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env_str("FOOTNOTE_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "httpx": {"level": "WARNING"},
        "faiss": {"level": "WARNING"},  # tells at length which instruction sets it tried
        "sentence_transformers": {"level": "WARNING"},  # names paths of this machine
        "uvicorn.access": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}

# --- The product: read once into rag.config.RagConfig
_ollama = env_urls("FOOTNOTE_OLLAMA_URL", ("http://127.0.0.1:11434",))


def _outside_hosts() -> tuple[str, ...]:
    """The hosts beyond one's own network that questions and passages may be sent to; none unless they are named one by one."""
    hosts = tuple(host.lower() for host in env_list("FOOTNOTE_ALLOW_OUTSIDE_HOST"))
    for host in hosts:
        if not all(part and part.replace("-", "").isalnum() for part in host.split(".")):
            raise ImproperlyConfigured(
                f"FOOTNOTE_ALLOW_OUTSIDE_HOST takes names of hosts like api.replicate.com, not {host!r}."
            )
    return hosts


RAG = {
    "OLLAMA_URL": _ollama[0],
    "OLLAMA_MORE_URLS": tuple(_ollama[1:]),
    "OPENAI_URLS": tuple(env_urls("FOOTNOTE_OPENAI_URL")),  # none: no such server is asked
    "OPENAI_KEY": env_secret("FOOTNOTE_OPENAI_KEY"),
    "OPENAI_MODELS": tuple(env_list("FOOTNOTE_OPENAI_MODELS")),  # none: those that the server lists
    "REPLICATE_URL": "https://api.replicate.com",
    "REPLICATE_KEY": env_secret("FOOTNOTE_REPLICATE_KEY"),
    "REPLICATE_MODELS": tuple(env_list("FOOTNOTE_REPLICATE_MODELS")),
    "OUTSIDE_HOSTS": _outside_hosts(),
    "PROMPT": env_choice("FOOTNOTE_PROMPT", "auto", ("auto", "short", "medium", "full")),
    "CONTEXT_TOKENS": env_int("FOOTNOTE_CONTEXT_TOKENS", 4096, least=1024, most=262144),
    "ANSWER_TOKENS": env_int("FOOTNOTE_ANSWER_TOKENS", 512, least=64, most=8192),
    "PARALLEL_ANSWERS": env_int("FOOTNOTE_PARALLEL_ANSWERS", 0, most=64),  # 0: what the provider is known to do
    "FIRST_TOKEN_SECONDS": env_int("FOOTNOTE_FIRST_TOKEN_SECONDS", 120, least=1, most=3600),
    "GGUF": env_str("FOOTNOTE_GGUF"),
    "LLAMA_URL": env_str("FOOTNOTE_LLAMA_URL"),  # set by `up` for the process that serves FOOTNOTE_GGUF
    "LLAMA_KEY": env_secret("FOOTNOTE_LLAMA_KEY"),
    "EMBEDDER_FOLDER": env_str("FOOTNOTE_EMBEDDER"),
    "EMBED_THREADS": env_int("FOOTNOTE_EMBED_THREADS", 0, most=64),  # 0: as many as there are cores
    "PARSE_SECONDS": env_int("FOOTNOTE_PARSE_SECONDS", 600, least=5, most=7200),
    "PARSE_MEMORY": env_int("FOOTNOTE_PARSE_MB", 1024, least=256, most=65536) * 1024 * 1024,
    "COLLECTION_BYTES": env_int("FOOTNOTE_COLLECTION_GB", 0, most=1_000_000) * 1024**3,  # 0: no limit, also below
    "COLLECTION_DOCUMENTS": env_int("FOOTNOTE_COLLECTION_DOCUMENTS", 0),
    "USER_BYTES": env_int("FOOTNOTE_USER_GB", 0, most=1_000_000) * 1024**3,
    "DOCUMENT_PAGES": env_int("FOOTNOTE_DOCUMENT_PAGES", 0),
    # Three days: what is dropped on a Friday can still be asked on Monday.
    "PRIVATE_FILE_HOURS": env_int("FOOTNOTE_PRIVATE_FILE_HOURS", 72, least=1, most=8760),
    "READING_PAGES": env_int("FOOTNOTE_READING_PAGES", 500, least=1, most=20_000),
    "WATCH_ROOT": env_str("FOOTNOTE_WATCH_ROOT"),  # "": nobody can have folders of this server watched
    "MAIL_HOSTS": tuple(env_list("FOOTNOTE_MAIL_HOSTS")),  # none: no mail is fetched
    "MAIL_CA": env_str("FOOTNOTE_MAIL_CA"),
    "LEASE_SECONDS": 20,  # what a dead process held is taken up again within these and the sweep's ten
    # From so many vectors of a collection on. On one core, 384 numbers each: 20,000 take 1.6 ms in 32 bits, 200,000 take 8 ms
    # in 16, both exactly; a million take 15 ms as 1-bit codes with scoring, and 64 MB of memory.
    "VECTOR_INDEXES": (
        (0, "rag.backends.vectors.faiss.FaissIndex"),
        (20_000, "rag.backends.vectors.half.HalfIndex"),
        (200_000, "rag.backends.vectors.rabitq.RabitqIndex"),
    ),
    "KEYWORD_INDEX": "rag.backends.keywords.tantivy.TantivyIndex",
    "PASSAGE_EMBEDDER": "rag.backends.embedders.passages.PassageEmbedder",
    "QUESTION_EMBEDDER": "rag.backends.embedders.openvino.OpenVinoEmbedder",
    "RERANKER": "rag.backends.rerankers.cross_encoder.CrossEncoderReranker",
    "RERANKER_FOLDER": env_str("FOOTNOTE_RERANKER"),
    "ENTAILMENT": "rag.backends.entailment.onnx.OnnxEntailment",
    "ENTAILMENT_FOLDER": env_str("FOOTNOTE_ENTAILMENT"),
}
# Seconds between signs of life on an idle answer stream; proxies close silent connections, often after 60.
STREAM_HEARTBEAT = 15.0
