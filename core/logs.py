"""How a log line looks: time, level, logger, message, and the request it belongs to. One event is one line, whatever it holds."""

import logging

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
