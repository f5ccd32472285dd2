# Footnote's image: web, workers and setup all run from it, and nothing is downloaded when it runs.
#
# torch: where pip is offered a CPU build (name an index or a folder of wheels with the build arguments below), that one
# is installed and the image has about 3 GB; otherwise the general build with its CUDA packages, several GB more.
# Python 3.11, because that is what core/locks/torch-cpu.lock has the hash of.

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1
WORKDIR /app
# First only what the install reads, so that a change of the code does not install again.
COPY manage.py requirements.lock ./
COPY core/__init__.py core/bootstrap.py core/
COPY core/locks core/locks
RUN python core/bootstrap.py
COPY . .
# Compiled here, because the running containers cannot write below /app. Some packages carry templates that look like
# Python and do not compile; they are not imported either.
RUN .venv/bin/python -m compileall -q -j 0 core rag manage.py \
    && (.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true)
# The question model, exported once from the weights that came with the packages.
RUN FOOTNOTE_DATA=/data .venv/bin/python manage.py prepare --models-only

FROM python:3.11-slim-bookworm
# What parsers use where it is there: OCR of other scripts than Latin and Chinese, and old binary Office files.
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends tesseract-ocr tesseract-ocr-rus tesseract-ocr-ukr tesseract-ocr-ell \
        tesseract-ocr-ara tesseract-ocr-heb tesseract-ocr-kor libreoffice-writer-nogui libreoffice-impress-nogui \
        fonts-dejavu-core fonts-noto-core \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin footnote
COPY --from=build /app /app
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/app/.venv/bin:$PATH \
    FOOTNOTE_DATA=/data \
    FOOTNOTE_BIND=0.0.0.0:8000 \
    DJANGO_SETTINGS_MODULE=core.settings \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    TRANSFORMERS_OFFLINE=1 \
    DO_NOT_TRACK=1 \
    TOKENIZERS_PARALLELISM=false \
    MALLOC_ARENA_MAX=2
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "manage.py", "doctor", "--only", "Web"]
CMD ["uvicorn", "core.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--no-server-header", \
     "--no-access-log", "--lifespan", "on", "--timeout-graceful-shutdown", "5", "--log-level", "warning"]
