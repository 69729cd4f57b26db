"""Logs: one JSON object a line on standard error; event names plus ids, never a payload or a name."""

import logging
import sys
import traceback
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_FOREIGN = (
    "httpx",
    "litestar",
    "uvicorn",
    "psycopg",
    "psycopg.pool",
    "alembic",
    "sqlalchemy",
    "asyncio",
    "procrastinate",
    "faker",
)


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send this process's logs, and those of the libraries from warnings on, to a stream (standard error)."""
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _failure,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _failure(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """An exception as its kind and the place it came from; its message is left out, since it may quote a row."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["error"] = type(error).__name__
        event["where"] = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return event
