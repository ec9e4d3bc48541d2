"""The line that each call leaves behind: one tuple on the event loop, made into text where lines are written."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring as quoted
from typing import Any

from chassis.call import TraceContext
from chassis.logging.line import timestamp
from chassis.logging.plain import limited, one_line


class CallHead:
    """What all lines of a method that ended alike have in common; made once, and turned into text once."""

    __slots__ = ("fields", "level", "text")

    def __init__(self, level: int, fields: Mapping[str, Any]) -> None:
        self.level = level
        self.fields = fields
        self.text: str | None = None


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


def json_of_call(line: CallLine, head_text: str) -> str:
    """Give the same as JSON; `head_text` is that of the head's fields, without braces."""
    # Written out: this is a third of what building the fields and encoding them would take, and it runs for each call.
    _, created, trace, request_id, duration, peer, principal, more = line
    traced = f',"trace_id":{quoted(trace.trace_id)},"span_id":{quoted(trace.span_id)}' if trace is not None else ""
    text = (
        f'{{"timestamp":"{timestamp(created)}",{head_text}{traced},'
        f'"request_id":{quoted(request_id)},"duration_ms":{duration * 1000:.3f}'
    )
    if peer:
        text += f',"peer":{quoted(limited(peer))}'
    if principal is not None:
        text += f',"principal":{quoted(limited(principal))}'
    for key, value in more:
        text += f',"{key}":{quoted(value) if isinstance(value, str) else value}'
    return one_line(text + "}")
