"""What is on a line: the standard fields, those of the call that is being served, and the user's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from chassis.call import Call, Method, TraceContext, current_call
from chassis.errors import ChassisError
from chassis.logging.plain import MAX_STACK, error_text, limited, plain, put

FIELDS = "chassis_fields"
"""The record attribute that holds keyword fields; their names are free, those of record attributes are not."""

CALL = "chassis_call"
"""The record attribute that holds the call a record is about, where it is not the one being served."""

OWNER = "chassis_logs"
"""The record attribute that holds the Logs a record belongs to, where that is known."""

# Whatever Python's own records have is not the user's.
_OF_RECORDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", FIELDS, CALL, OWNER}

_LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50, "critical": 50}


def level_name(level: int) -> str:
    """Give the name of a level on a line: debug, info, warn, error or fatal.

    >>> level_name(30), level_name(35)
    ('warn', 'warn')
    """
    if level < logging.INFO:
        return "debug"
    if level < logging.WARNING:
        return "info"
    if level < logging.ERROR:
        return "warn"
    return "error" if level < logging.CRITICAL else "fatal"


def level_number(level: str | int) -> int:
    """Read a level; raises ValueError for a name that is none.

    >>> level_number("warn"), level_number("INFO")
    (30, 20)
    """
    if isinstance(level, int):
        return level
    number = _LEVELS.get(level.lower())
    if number is None:
        raise ValueError(f"there is no log level {level!r}; there are debug, info, warn, error and fatal")
    return number


def timestamp(seconds: float) -> str:
    """Give a time as RFC 3339 in UTC, with milliseconds.

    >>> timestamp(1767225600.0419)
    '2026-01-01T00:00:00.041Z'
    """
    milliseconds = int(seconds * 1000)
    return f"{second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=4)
def second(seconds: int) -> str:
    """Give a whole second as RFC 3339 in UTC, without the letter that says so.

    >>> second(1767225600)
    '2026-01-01T00:00:00'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def fields_of_method(method: Method) -> dict[str, str]:
    """Give the fields that say which method a line is about: `method`, for HTTP with `path`, for events `topic`.

    Calls going out over gRPC have the `target` of their channel beside it.

    >>> from chassis.call import Kind
    >>> fields_of_method(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"))
    {'method': '/pkg.Greeter/Greet'}
    """
    if method.system == "event":
        return {"topic": method.path}
    if method.system == "http":
        return {"method": method.name, "path": method.path}
    return {"method": method.path, "target": method.target} if method.target else {"method": method.path}


class Lines:
    """Makes the fields of a line from a log record; `constants` are on all of them, behind the service's name.

    `trace` says where a span of the user's own is open; without it, or where it says None, the call's trace counts.
    """

    def __init__(
        self,
        service_name: str,
        constants: Mapping[str, object] | None = None,
        trace: Callable[[], TraceContext | None] | None = None,
    ) -> None:
        self.service_name = service_name
        self.constants = {key: plain(value) for key, value in (constants or {}).items()}
        self._trace = trace

    def head(self, level: int, message: str, logger: str) -> dict[str, Any]:
        """Give what all lines begin with, but for the time."""
        fields = {
            "level": level_name(level),
            "message": limited(message),
            "service_name": self.service_name,
            "logger": logger,
        }
        for key, value in self.constants.items():
            put(fields, key, value)
        return fields

    def fields(self, record: logging.LogRecord, stack: str = "") -> dict[str, Any]:
        """Give the fields of a record, in the order of the line, all of them plain."""
        message, own = _message_of(record)
        fields = {"timestamp": timestamp(record.created), **self.head(record.levelno, message, record.name)}
        self._add_call(fields, record)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["error"] = error_text(error)
            if isinstance(error, ChassisError) and error.detail:
                fields["detail"] = limited(error.detail)
        if stack:
            cut = len(stack) - MAX_STACK
            fields["stack"] = stack if cut <= 0 else f"({cut} more characters) …{stack[cut:]}"
        extra = {key: value for key, value in vars(record).items() if key not in _OF_RECORDS}
        for source in (extra, getattr(record, FIELDS, None) or {}, own):
            for key, value in source.items():
                put(fields, key if type(key) is str else str(plain(key)), plain(value))
        return fields

    def _add_call(self, fields: dict[str, Any], record: logging.LogRecord) -> None:
        of_record: Call | None = getattr(record, CALL, None)
        call = of_record or current_call()
        with suppress(Exception):  # facts that cannot be read cost these fields, and not the line
            trace = self._trace() if self._trace is not None and of_record is None else None
            if trace is None and call is not None:
                trace = call.trace
            if trace is not None:
                fields["trace_id"] = trace.trace_id
                fields["span_id"] = trace.span_id
        with suppress(Exception):
            if call is not None:
                fields["request_id"] = call.request_id
                fields.update(fields_of_method(call.method))


def _message_of(record: logging.LogRecord) -> tuple[str, Mapping[Any, Any]]:
    """The text of a record, and the fields in it: some libraries log a dict instead of a text."""
    if isinstance(record.msg, Mapping) and not record.args:
        return str(plain(record.msg.get("message", ""))), {k: v for k, v in record.msg.items() if k != "message"}
    try:
        return record.getMessage().rstrip("\n"), {}
    except Exception:  # arguments that do not fit the text: both are shown
        return str(plain(record.msg)), {"args": record.args}
