"""Log lines as JSON on standard error: one a request, and what befalls the model and the server."""

import json
import logging
import sys
from typing import Any

_logger = logging.getLogger("vgglass.serving")


class _Lines(logging.Formatter):
    """A record is one line whatever it holds: ASCII JSON has no line breaks and nothing that steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "event": record.getMessage(), **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start() -> None:
    """Send our lines, and the warnings of uvicorn, asyncio and Python, to standard error."""
    logging.raiseExceptions = False  # a reader of the log that went away must not fail requests
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.captureWarnings(True)
    others = (logging.getLogger(name) for name in ("uvicorn", "asyncio", "py.warnings"))
    for logger, level in ((_logger, logging.INFO), *((each, logging.WARNING) for each in others)):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def log(event: str, **fields: Any) -> None:
    _logger.info(event, extra={"fields": fields})


def log_failure(event: str) -> None:
    """With the traceback of the exception that is being handled."""
    _logger.exception(event)
