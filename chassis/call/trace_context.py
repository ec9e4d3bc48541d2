from __future__ import annotations

from typing import NamedTuple

_HEX = frozenset("0123456789abcdef")


class TraceContext(NamedTuple):
    """Where a call stands in its trace (W3C Trace Context level 1, without the vendor's `tracestate`).

    >>> context = TraceContext.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    >>> context.trace_id, context.sampled
    ('0af7651916cd43dd8448eb211c80319c', True)
    >>> TraceContext.parse("not a traceparent") is None
    True
    """

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def parse(cls, header: str | None) -> TraceContext | None:
        """Read a `traceparent` header; None where it is missing or invalid, so that the trace starts anew."""
        if header is None:
            return None
        # HTTP does not tell spaces around a value from none (RFC 9110, 5.5), but gRPC hands them on.
        header = header.strip(" \t")
        # By slices: this runs for every call, and a regular expression takes three times as long.
        if len(header) < 55 or header[2] != "-" or header[35] != "-" or header[52] != "-":
            return None
        version, trace_id, span_id, flags = header[:2], header[3:35], header[36:52], header[53:55]
        if version == "ff" or (version == "00" and len(header) != 55) or (len(header) > 55 and header[55] != "-"):
            return None
        if not _HEX.issuperset(version + trace_id + span_id + flags):
            return None
        if trace_id == "0" * 32 or span_id == "0" * 16:
            return None
        return cls(trace_id, span_id, int(flags, 16) & 1 == 1)

    @property
    def traceparent(self) -> str:
        """The header that hands this context on."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
