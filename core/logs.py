"""How a log line looks: time, level, logger, message, and the request it belongs to. One event is one line, whatever it holds."""

import logging

import structlog

from core.context import current_request


class LineFormatter(logging.Formatter):
    """Keeps a record on one line and names its request; tracebacks follow on lines of their own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        record.request = current_request().id or "-"
        head, *rest = super().format(record).splitlines() or [""]
        return "\n".join([head, *(f"    {line}" for line in rest)])


def formatter() -> logging.Formatter:
    """The formatter that settings.LOGGING names."""
    return LineFormatter("%(asctime)s %(levelname)s %(name)s [%(request)s] %(message)s")


def configure_structlog() -> None:
    """Sends structured events through the standard logging, as "event key=value …"."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
