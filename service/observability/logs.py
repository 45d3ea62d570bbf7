"""Logs on stderr: lines for people, or one JSON object each for machines."""

import logging
import logging.config
import sys
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

from sigrl.service.observability.context import SERVED
from sigrl.service.settings import Settings

# Attributes that are no fields: those of every record, and uvicorn's message once more in colours.
_NO_FIELDS = [*RESERVED_ATTRS, "taskName", "color_message"]


class OfRequest(logging.Filter):
    """Gives every record the id of the request during which it is written, and of its trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets all pass."""
        served = SERVED.get()
        if served is not None:
            record.request_id = served.id
            if served.trace is not None:
                record.trace_id = served.trace.id
        return True


class TextFormatter(logging.Formatter):
    """Time, level, message, and the id of the request."""

    def format(self, record: logging.LogRecord) -> str:
        """As a line; a traceback follows it."""
        request_id = getattr(record, "request_id", None)
        record.of_request = "" if request_id is None else f" [{request_id}]"
        return super().format(record)


def configure(settings: Settings) -> None:
    """Sets up the logs of this process, the server's and the libraries' among them."""
    kind = settings.log_format
    if kind == "auto":
        kind = "text" if sys.stderr.isatty() else "json"
    logging.config.dictConfig(_config(kind, settings.log_level.upper()))
    # Otherwise they go to stderr beside the handler, and no line may be anything but JSON.
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
            # Below warnings these speak of single connections and tables.
            **dict.fromkeys(("alembic", "httpcore", "httpx", "PIL"), quiet),
            # It warns of every form that a client got wrong, which has its answer.
            "python_multipart": {"level": "ERROR"},
        },
    }
