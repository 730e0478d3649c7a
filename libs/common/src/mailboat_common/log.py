"""Logs: one JSON object a line on stderr, UTC timestamps, the trace id when one is bound.

Use `log = get_logger(__name__)` and `log.info("what happened", key=value)`: the event is a constant text, what
varies is a key. `structlog.contextvars.bound_contextvars(trace_id=...)` puts a trace id on every line of a block.
Libraries' `logging` records come out in the same form. Rule: no secret is ever logged; keys that hold one are masked
here as a second net, and so are credentials inside URLs.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = ("debug", "info", "warning", "error")
MASK = "[secret]"
NO_ADDRESS = "[no address]"

_SECRET_KEY = re.compile(r"passw|secret|credential|authori[sz]ation|(^|_)token$|api_key|private_key", re.IGNORECASE)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_URL_PASSWORD = re.compile(r"(\w://[^/\s:@]*):[^/\s@]*@")


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module: `get_logger(__name__)`."""
    return cast(FilteringBoundLogger, structlog.get_logger(module=name))


def configure(service: str, level: str, stream: TextIO | None = None) -> None:
    """Sets up logging for the process: `level` is one of `LEVELS`, `stream` defaults to stderr."""
    stream = stream or sys.stderr
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    renderer = structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-2], _add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                mask_secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell at info what we tell better ourselves (each reconnect, each request).
    for chatty in ("aiormq", "aio_pika"):  # an error and a traceback each second while RabbitMQ is away
        logging.getLogger(chatty).setLevel(logging.CRITICAL if level != "debug" else logging.DEBUG)
    root.setLevel(max(threshold, logging.WARNING) if level != "debug" else logging.INFO)


def login_shown(name: str, *, known: bool = False) -> str:
    """A login's name as a log line may hold it. People type their password where their name belongs, so a name that let
    nobody in (not `known`) is shown only if it has the form of an address.
    """
    return name if known or _ADDRESS.fullmatch(name) else NO_ADDRESS


def mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks values under keys that name a secret, and passwords inside URLs."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = MASK
        elif isinstance(value, str) and "://" in value:
            event[key] = _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
    return event


def _add_service(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add


def _add_logger_name(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    if record is not None:
        event["module"] = record.name
    return event
