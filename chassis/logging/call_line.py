"""The line that each call leaves behind: one tuple on the event loop, made into text where lines are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any

from chassis.call import TraceContext
from chassis.logging.line import second, timestamp
from chassis.logging.plain import limited, one_line


class CallHead:
    """What all lines of a method that ended alike have in common; made once, and turned into text once."""

    __slots__ = ("fields", "level", "text")

    def __init__(self, level: int, fields: Mapping[str, Any]) -> None:
        self.level = level
        self.fields = fields
        self.text: str | None = None

    def as_json(self) -> str:
        """The fields as JSON, without braces."""
        self.text = encode(self.fields)[1:-1]
        return self.text


More = tuple[tuple[str, str | int], ...]

CallLine = tuple[CallHead, float, TraceContext | None, str, float, str, str | None, More]
"""Head; seconds since the epoch; trace; request id; duration in seconds; peer; principal; more fields, in this order.

A plain tuple, because one is made for every call: a class of its own would cost several times as much.
"""


def fields_of_call(line: CallLine) -> dict[str, Any]:
    """Give all fields of a call's line, as those of any other line."""
    head, created, trace, request_id, duration, peer, principal, more = line
    fields: dict[str, Any] = {"timestamp": timestamp(created), **head.fields}
    if trace is not None:
        fields["trace_id"] = trace.trace_id
        fields["span_id"] = trace.span_id
    fields["request_id"] = request_id
    fields["duration_ms"] = round(duration * 1000, 3)
    if peer:
        fields["peer"] = limited(peer)
    if principal is not None:
        fields["principal"] = limited(principal)
    fields.update(more)
    return fields


encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode


# The same few callers make most calls.
@lru_cache(maxsize=256)
def _of_caller(text: str) -> str:
    return quoted(limited(text))


def json_of_call(line: CallLine) -> str:
    """Give the same as JSON."""
    # Written out, in one function: this is a quarter of what building the fields and encoding them would take, and it
    # runs for each call.
    head, created, trace, request_id, duration, peer, principal, more = line
    milliseconds = int(created * 1000)
    text = f'{{"timestamp":"{second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z",{head.text or head.as_json()}'
    if trace is not None:
        text += f',"trace_id":"{trace.trace_id}","span_id":"{trace.span_id}"'  # hex digits, whoever chose them
    text += f',"request_id":{quoted(request_id)},"duration_ms":{duration * 1000:.3f}'
    if peer:
        text += f',"peer":{_of_caller(peer)}'
    if principal is not None:
        text += f',"principal":{_of_caller(principal)}'
    for key, value in more:
        text += f',"{key}":{quoted(value) if isinstance(value, str) else value}'
    return one_line(text + "}")
