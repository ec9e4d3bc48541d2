from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from chassis.tracing.tracing import Tracing


class ClientSpans:
    """Spans of what is asked of a database, a cache or another backend: one within each recorded span, else none.

    They never begin a trace. Background loops, health checks and warm-ups ask all the time, and a trace of one
    statement tells nothing; work outside of calls that is worth one is begun in a span of its own, with
    `self.tracer.start_as_current_span(…)` of a service, and what it asks for then lies within it.

    `attributes` are those that all spans have (OpenTelemetry's semantic conventions for clients).
    """

    def __init__(self, tracing: Tracing, attributes: Mapping[str, AttributeValue]) -> None:
        # Imported here: a service without tracing does not pay for OpenTelemetry.
        from opentelemetry.trace import SpanKind, StatusCode, get_current_span

        self._tracer = tracing.tracer
        self._attributes = dict(attributes)
        self._kind = SpanKind.CLIENT
        self._error = StatusCode.ERROR
        self._current = get_current_span

    def are_wanted(self) -> bool:
        """Whether what is done here is recorded; for who has to work for the attributes of a span."""
        return self._current().is_recording()

    def begin(self, name: str, attributes: Mapping[str, AttributeValue]) -> Span | None:
        """Begin a span; None where there is nothing to record."""
        if not self._current().is_recording():
            return None
        attributes = {**self._attributes, **attributes}
        span = self._tracer.start_span(name, kind=self._kind, attributes=attributes)
        return span if span.is_recording() else None

    def end(self, span: Span, error_type: str | None = None, description: str | None = None) -> str:
        """End a span, with `error_type` (and a text without secrets) where it failed.

        Returns the id of its trace in hex, for the exemplar of a histogram.
        """
        if error_type is not None:
            span.set_attribute("error.type", error_type)
            span.set_status(self._error, description)
        span.end()
        return f"{span.get_span_context().trace_id:032x}"


def client_spans(tracing: Tracing | None, attributes: Mapping[str, AttributeValue]) -> ClientSpans | None:
    """What makes spans with these attributes; None where nothing is traced, so that nobody pays for the question.

    >>> client_spans(None, {"db.system.name": "redis"}) is None
    True
    """
    return ClientSpans(tracing, attributes) if tracing is not None and tracing.enabled else None
