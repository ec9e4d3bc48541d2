from __future__ import annotations

import asyncio
import logging
from time import time as _now
from typing import Any

import grpc
from grpc import StatusCode

from chassis.call import Call, Method, PerMethod, Proceed
from chassis.errors import ChassisError, Crash, Meaning, Verdict, classify, code_of_http_status, from_status
from chassis.logging import Logs
from chassis.logging.call_line import CallHead, CallLine, More, fields_of_call
from chassis.logging.line import CALL, OWNER, fields_of_method
from chassis.logging.logs import LOGGER_OF_CALLS
from chassis.logging.plain import error_text, limited, without_controls
from interceptors.interceptor import RpcInterceptor

_log = logging.getLogger(LOGGER_OF_CALLS)
_HAS_NO_MEANING = (StatusCode.INTERNAL, StatusCode.UNKNOWN)
_NO_MORE: More = ()


class LoggingInterceptor(RpcInterceptor):
    """Writes one line for each call when it is over, however it ended.

    | call | message | fields beside the standard ones |
    |---|---|---|
    | gRPC | `grpc call completed` | method, kind, code, duration_ms, peer, principal |
    | HTTP | `request completed` | method, path (the route), status_code, code, duration_ms, peer, principal |
    | HTTP without a route | the same | the same, and requested (verb and path) |
    | event | `event processed`, `event processing failed` | topic, event_id, deliveries (if 2 or more), code |
    | going out | `grpc client call completed`, `event published` | the same, and an RPC's target |

    What went well is info, on calls going out debug; what failed has the level of its meaning on both sides: `error`,
    `detail` and `cause` say more, and a crash has its `stack`. Probes are told at debug, unless they are errors.

    With `logs` the line is made outside of the event loop. Without, it goes to the standard library's logger
    `chassis.call`, with its fields as `extra` and the essential ones in its text, so that any set-up shows it. That
    logger's level counts either way.
    """

    transparent = True

    def __init__(self, logs: Logs | None = None) -> None:
        self._logs = logs
        self._endings = PerMethod(lambda method: _Endings(method, self._logs))

    async def around(self, call: Call, proceed: Proceed) -> Any:
        endings = self._endings[call.method]
        peer: str | None = None
        if endings.is_event:
            peer = ""
        elif endings.served:
            # Now and not at the end: when the other side has gone, nobody knows any more who it was.
            try:
                peer = call.peer
            except Exception:  # of what is told about a call, the call itself must not fail
                peer = ""
        try:
            result = await proceed(call)
        except BaseException as error:
            self._end(call, peer, endings, error)
            raise
        self._end(call, peer, endings, None)
        return result

    def _end(self, call: Call, peer: str | None, endings: _Endings, error: BaseException | None) -> None:
        # One function and not five: it runs for each call, and calling them would be half of the work.
        try:
            if error is None and not endings.is_http:
                head, more, crash = endings.usual, _NO_MORE, None
            else:
                head, more, crash = self._unusual(call, endings, error)
            level = head.level
            logs = self._logs
            if logs is not None and level < logs.silent_below:  # as with all calls going out that went well
                return
            append = None if logs is None else logs.calls_at(level)
            if append is None and ((logs is not None and logs.running) or not _log.isEnabledFor(level)):
                return
            if endings.is_event:
                more = (*_of_event(call), *more)
            principal = call.principal
            line: CallLine = (
                head,
                _now(),
                call.trace,
                call.request_id,
                call.over(),
                call.peer if peer is None else peer,
                None if principal is None else principal.id,
                more,
            )
            if append is None or crash is not None:
                _write_record(call, line, logs, crash)
            else:
                append(line, important=level >= logging.ERROR)
        except Exception:  # of what is told about a call, the call itself must not fail
            _log.exception("the line of a call could not be written", extra={OWNER: self._logs})

    def _unusual(
        self, call: Call, endings: _Endings, error: BaseException | None
    ) -> tuple[CallHead, More, BaseException | None]:
        """The head, the fields and the crash of a line that says more than that all went well."""
        status = _http_status(call) if endings.is_http else 0
        more = _requested(call) if endings.is_http and not call.method.known else _NO_MORE
        if error is None:
            level = endings.level if status < 400 else _level_of(code_of_http_status(status))
            return endings.head(endings.at_most(level), call.code, status), more, None
        told = _told(call, error)
        level = endings.at_most(told.meaning.log_level if told is not None else _level_of(call.code))
        head = endings.head(level, call.code, status)
        crash = (told.__cause__ or told) if isinstance(told, Crash) else None
        if crash is None or call.logged is error:
            return head, (*more, *_more(error, told)), None
        call.logged = error
        detail = told.detail if told is not None else None
        if detail and detail != error_text(crash):
            more = (*more, ("detail", limited(detail)))
        return head, more, crash


class _Endings:
    """What is known beforehand of the lines of one method, by the ways in which its calls end."""

    __slots__ = ("_fields", "_heads", "_logs", "is_event", "is_http", "level", "messages", "probe", "served", "usual")

    def __init__(self, method: Method, logs: Logs | None) -> None:
        self.served = method.served
        self.is_http = method.system == "http"
        self.is_event = method.system == "event"
        self.probe = method.probe
        self.level = logging.INFO if method.served and not method.probe else logging.DEBUG
        self.messages = _messages(method)
        self._logs = logs
        self._fields: dict[str, Any] = dict(fields_of_method(method))
        if method.system == "grpc" and method.known:
            self._fields["kind"] = method.kind.value
        self._heads: dict[tuple[int, StatusCode, int], CallHead] = {}
        self.usual = self._make(self.level, StatusCode.OK, 0)

    def at_most(self, level: int) -> int:
        """The level of a line, given that of what happened."""
        return logging.DEBUG if self.probe and level < logging.ERROR else level

    def head(self, level: int, code: StatusCode, status: int) -> CallHead:
        """The head of the lines of calls that end this way."""
        key = (level, code, status)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = self._make(level, code, status)
        return head

    def _make(self, level: int, code: StatusCode, status: int) -> CallHead:
        fields = {**self._fields, **({"status_code": status} if self.is_http else {}), "code": code.name}
        message = self.messages[0 if _is_done(code) else 1]
        if self._logs is None:
            return CallHead(level, {"message": message, **fields})
        return self._logs.head_of_calls(level, message, fields)


def _messages(method: Method) -> tuple[str, str]:
    """What a line says where all went well, and where not."""
    if method.system == "event":
        done = "event processed" if method.served else "event published"
        failed = "event processing failed" if method.served else "event publishing failed"
        return done, failed
    if method.system == "http":
        message = "request completed"
    else:
        message = "grpc call completed" if method.served else "grpc client call completed"
    return message, message


def _meaning_of(code: StatusCode) -> Meaning:
    return from_status(code, "").meaning


def _level_of(code: StatusCode) -> int:
    return logging.INFO if code is StatusCode.OK else _meaning_of(code).log_level


def _is_done(code: StatusCode) -> bool:
    """Whether an event that ended with this code needs no more work."""
    return code is StatusCode.OK or _meaning_of(code).verdict is Verdict.ACK


def _told(call: Call, error: BaseException) -> ChassisError | None:
    """The error's meaning; None where the code is all that is known, because the transport or the caller ended it."""
    if isinstance(error, ChassisError) and not call.method.served:
        return error  # another service's word, and no failure of ours yet
    if isinstance(error, ChassisError):
        return classify(error, call.request_id)
    if isinstance(error, (asyncio.CancelledError, grpc.aio.AbortError)) or not call.method.served:
        return None
    return classify(error, call.request_id) if call.code in _HAS_NO_MEANING else None


def _more(error: BaseException, told: ChassisError | None) -> More:
    if isinstance(error, asyncio.CancelledError):
        return ()
    if told is None:
        details = getattr(error, "details", None)  # of an RPC's error; its text is a page
        text = details() if callable(details) else None
        return (("error", limited(text) if isinstance(text, str) else error_text(error)),)
    more = [("error", error_text(told))]
    cause = told.__cause__
    # Whoever gave a detail has said what may be told of the cause: a database's own text has values in it.
    if told.detail:
        more.append(("detail", limited(told.detail)))
    elif cause is not None and not isinstance(cause, (grpc.RpcError, grpc.aio.AbortError)):
        more.append(("cause", error_text(cause)))
    return tuple(more)


def _http_status(call: Call) -> int:
    """The status that the caller gets: what the transport says, or else what the code means."""
    status = getattr(call, "http_status", None)
    if isinstance(status, int):
        return status
    return 200 if call.code is StatusCode.OK else _meaning_of(call.code).http_status


def _of_event(call: Call) -> More:
    """Which event it was, and from the second delivery on, which try."""
    event_id = getattr(call, "event_id", "")
    deliveries = getattr(call, "deliveries", 1)
    more: More = (("event_id", limited(event_id)),) if event_id else ()
    return more if deliveries < 2 else (*more, ("deliveries", deliveries))


def _requested(call: Call) -> More:
    """What was asked for, where there is no such route."""
    return (("requested", limited(f"{getattr(call, 'verb', '')} {getattr(call, 'path', '')}")),)


def _write_record(call: Call, line: CallLine, logs: Logs | None, crash: BaseException | None) -> None:
    """Write a line by way of the standard library."""
    fields = fields_of_call(line)
    message = fields["message"]
    if logs is None:
        what = fields.get("path") or fields.get("topic") or fields["method"]
        message = f"{message}: {what} {fields['code']} in {fields['duration_ms']} ms"
        if "error" in fields:
            message = f"{message}: {fields['error']}"
        # Nobody knows what makes lines of it: names and ids of callers must not be able to end one, and forge another.
        message = without_controls(message)
    for name in ("timestamp", "level", "message", "service_name", "logger"):
        fields.pop(name, None)
    _log.log(line[0].level, message, exc_info=crash, extra={**fields, CALL: call, OWNER: logs})
