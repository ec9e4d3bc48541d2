"""Spans of what is asked of a cache, by OpenTelemetry's semantic conventions for Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from chassis.cache.recording import Operation

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_COMMANDS: Final[Mapping[Operation, str]] = {"get": "GET", "set": "SET", "delete": "DEL", "exists": "EXISTS"}


class Spans:
    """Makes a span for each operation within a trace that is recorded, and none elsewhere."""

    def __init__(self, tracer: Tracer, system: str, attributes: Mapping[str, str | int]) -> None:
        self._tracer = tracer
        common = {"db.system.name": system, **attributes}
        self._attributes = {
            operation: {**common, "db.operation.name": command} for operation, command in _COMMANDS.items()
        }

    def begin(self, operation: Operation) -> Span | None:
        """Begin a span; None where there is nothing to record."""
        if not get_current_span().is_recording():
            return None
        return self._tracer.start_span(
            _COMMANDS[operation], kind=SpanKind.CLIENT, attributes=self._attributes[operation]
        )

    @staticmethod
    def end(span: Span, failure: BaseException | None) -> None:
        """End it, saying how it went."""
        if failure is not None:
            span.set_attribute("error.type", type(failure).__name__)
            span.set_status(StatusCode.ERROR, str(failure))
        span.end()
