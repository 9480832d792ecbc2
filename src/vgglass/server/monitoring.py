"""JSON log lines on standard error, and Prometheus metrics in a registry of their own."""

import json
import logging
import sys
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_logger = logging.getLogger("vgglass.server")


class _JSONFormatter(logging.Formatter):
    """Format a record as one line of ASCII JSON, which can hold no line break or terminal control sequence."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "event": record.getMessage(), **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start() -> None:
    """Send our log, and warnings of uvicorn, asyncio and Python, to standard error."""
    logging.raiseExceptions = False  # a closed log pipe must not fail requests
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONFormatter())
    logging.captureWarnings(True)
    others = (logging.getLogger(name) for name in ("uvicorn", "asyncio", "py.warnings"))
    for logger, level in ((_logger, logging.INFO), *((each, logging.WARNING) for each in others)):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def log(event: str, **fields: Any) -> None:
    _logger.info(event, extra={"fields": fields})


def log_failure(event: str) -> None:
    """Log an event with the traceback of the exception being handled."""
    _logger.exception(event)


# Prometheus metrics.

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics at /metrics. Labels have few values: 'path' is a route's template, never the requested path."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("vgglass_requests", "Requests.", ("method", "path", "status"), registry=registry)
        self.seconds = Histogram(
            "vgglass_request_seconds", "From a request's head to its response.", ("path",), buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "vgglass_refused", "Requests without an answer, by reason.", ("reason",), registry=registry
        )
        self.unreadable = Counter("vgglass_unreadable_images", "Images that could not be read.", registry=registry)
        self.queue = Gauge("vgglass_queue_images", "Images that are decoded or wait for a batch.", registry=registry)
        self.queue_peak = Gauge("vgglass_queue_images_peak", "The most that ever were.", registry=registry)
        self.batch = Histogram("vgglass_batch_images", "Images of a batch.", buckets=BATCHES, registry=registry)
        self.killed = Counter("vgglass_decoders_killed", "Decoders that an image brought down.", registry=registry)
        self.reloads = Counter("vgglass_reloads", "Reloads of the model.", ("outcome",), registry=registry)
        self.drift = Gauge(
            "vgglass_drift", "Evidence of this week that images differ from the training record: at 1 they do.",
            ("quantity",), registry=registry,
        )  # fmt: skip
        self.model = Info("vgglass_model", "The model that serves.", registry=registry)
