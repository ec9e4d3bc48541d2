"""W3C headers from the call being served to those that it makes, where no spans are recorded.

Sources: W3C Trace Context (traceparent, tracestate), W3C Baggage.
"""

from __future__ import annotations

import re

from chassis.call import Call

# What the two specifications ask everyone to carry; more than that is left behind.
MAX_TRACESTATE_LENGTH = 512
MAX_BAGGAGE_LENGTH = 8192
# W3C Trace Context level 1, section 3.3.1: up to 32 members, some of which may be empty.
_MAX_MEMBERS = 32
_KEY = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = rf" *(?:(?:{_KEY})={_VALUE} *)?"
_TRACESTATE = re.compile(rf"{_MEMBER}(?:,{_MEMBER})*")


def hand_on(call: Call) -> None:
    """Put the trace context and the baggage of the served call into the headers of a call going out.

    Headers that the caller's own code has set stay as they are.

    >>> from chassis.call import Kind, Method
    >>> headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    >>> served = Call(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"), metadata=headers)
    >>> going_out = Call(Method.grpc("/pkg.Names/Get", Kind.UNARY_UNARY, "client"), parent=served)
    >>> hand_on(going_out)
    >>> going_out.metadata
    {'traceparent': '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'}
    """
    trace = call.trace
    metadata = call.metadata
    if trace is not None and "traceparent" not in metadata:
        metadata["traceparent"] = trace.traceparent
        if call.parent is not None and (tracestate := tracestate_of(call.parent)):
            metadata["tracestate"] = tracestate
    if call.parent is not None and "baggage" not in metadata and (baggage := baggage_of(call.parent)):
        metadata["baggage"] = baggage


def tracestate_of(call: Call) -> str | None:
    """The `tracestate` that a call came with, if it is one and can be sent on."""
    value = _header(call, "tracestate", MAX_TRACESTATE_LENGTH)
    # Looked at before OpenTelemetry does, which writes a warning for each that is none: callers write no log.
    if value is None or value.count(",") >= _MAX_MEMBERS or _TRACESTATE.fullmatch(value) is None:
        return None
    return value


def baggage_of(call: Call) -> str | None:
    """The `baggage` that a call came with, if it can be sent on."""
    return _header(call, "baggage", MAX_BAGGAGE_LENGTH)


def _header(call: Call, name: str, longest: int) -> str | None:
    if name not in call.metadata:
        return None
    # Both may come in several headers, which mean the same as one with commas between (RFC 9110, 5.3).
    value = ",".join(call.values(name))
    # Whatever a caller sent reaches us; gRPC refuses to send anything but printable ASCII, and would fail the call.
    return value if 0 < len(value) <= longest and value.isascii() and value.isprintable() else None
