"""Logs on stderr, as text for people or as JSON lines for machines."""

import logging
import logging.config
import sys
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

from sigrl.service.observability.context import SERVED
from sigrl.service.settings import Settings

# Attributes to leave out: those that every record has, and uvicorn's coloured copy of the message.
_NO_FIELDS = [*RESERVED_ATTRS, "taskName", "color_message"]


class OfRequest(logging.Filter):
    """Adds the ids of the current request and of its trace to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drops no record."""
        served = SERVED.get()
        if served is not None:
            record.request_id = served.id
            if served.trace is not None:
                record.trace_id = served.trace.id
        return True


class TextFormatter(logging.Formatter):
    """Formats time, level, message and the id of the request."""

    def format(self, record: logging.LogRecord) -> str:
        """A line, followed by the traceback if there is one."""
        request_id = getattr(record, "request_id", None)
        record.of_request = "" if request_id is None else f" [{request_id}]"
        return super().format(record)


def configure(settings: Settings) -> None:
    """Configures all logs of this process, including those of the server and the libraries."""
    kind = settings.log_format
    if kind == "auto":
        kind = "text" if sys.stderr.isatty() else "json"
    logging.config.dictConfig(_config(kind, settings.log_level.upper()))
    # Otherwise warnings would bypass the handler and break the JSON lines on stderr.
    logging.captureWarnings(True)


def _config(kind: str, level: str) -> dict[str, Any]:
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"of_request": {"()": OfRequest}},
        "formatters": {
            "text": {
                "()": TextFormatter,
                "format": "%(asctime)s %(levelname)s %(message)s%(of_request)s",
            },
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": ["levelname", "name", "message"],
                "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "exception"},
                "timestamp": "time",
                "reserved_attrs": _NO_FIELDS,
            },
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": kind, "filters": ["of_request"]}
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # At lower levels these log single connections and tables.
            **dict.fromkeys(("alembic", "httpcore", "httpx", "PIL"), quiet),
            # It warns of every malformed form, which the client is told anyway.
            "python_multipart": {"level": "ERROR"},
        },
    }
