"""The span of a call: noted down while the call goes on, and made by the SDK where there is time for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, Tracer
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.span import TraceState

from chassis.call import TraceContext
from chassis.tracing.conventions import Attributes, Notes, SpanShape
from chassis.tracing.sampling import DECIDED, ToldIdGenerator


class SpanMaker:
    """Makes the spans of one service by its SDK: at once where somebody adds to one, or else when it is exported."""

    def __init__(self, tracer: Tracer, ids: ToldIdGenerator, limits: SpanLimits) -> None:
        self._tracer = tracer
        self._ids = ids
        self._limits = limits
        self.lock: Final = threading.Lock()
        # Learnt from one that the SDK makes, so that all others are like it.
        model: Any = tracer.start_span("", DECIDED)
        self._scope = model.instrumentation_scope
        self._resource = model.resource
        self._flags: int = model.get_span_context().trace_flags
        self.deliver: Callable[[CallSpan], None] | None = None

    def at_once(self, span: CallSpan) -> Span:
        """The SDK's own span in place of one that is noted down."""
        new = span.before is DECIDED or not get_current_span(span.before).get_span_context().is_valid
        self._ids.tell(span.trace.trace_id if new else None, span.trace.span_id)
        return self._tracer.start_span(
            span.shape.name,
            span.before,
            span.shape.kind,
            span.shape.beginning(span.notes),
            span.links,
            span.began,
            record_exception=False,
            set_status_on_exception=False,
        )

    def context_of(self, span: CallSpan) -> SpanContext:
        """What others have to know of a span."""
        parent = get_current_span(span.before).get_span_context()
        before = self._flags & ~TraceFlags.SAMPLED if not parent.is_valid else self._flags & parent.trace_flags
        return SpanContext(
            int(span.trace.trace_id, 16),
            int(span.trace.span_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED | before),
            trace_state=parent.trace_state if parent.is_valid else TraceState(),
        )

    def afterwards(self, span: CallSpan) -> ReadableSpan:
        """What is exported of a span that was only noted down."""
        parent = get_current_span(span.before).get_span_context()
        return ReadableSpan(
            name=span.shape.name,
            context=span.get_span_context(),
            parent=parent if parent.is_valid else None,
            resource=self._resource,
            attributes=self._bounded(span.shape.beginning(span.notes) | span.ending),
            links=span.links,
            kind=span.shape.kind,
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )

    def _bounded(self, attributes: Attributes) -> Mapping[str, Any]:
        most, longest = self._limits.max_span_attributes, self._limits.max_span_attribute_length
        within = most is None or len(attributes) <= most
        if within and longest is not None:
            within = all(len(value) <= longest for value in attributes.values() if isinstance(value, str))
        # The SDK's class looks at each of them, which takes as long as all the rest of the span.
        return (
            MappingProxyType(attributes)
            if within
            else BoundedAttributes(most, attributes, immutable=False, max_value_len=longest)
        )


class CallSpan(Span):
    """Few notes, in place of all that the SDK does for a span.

    One call in ten is recorded by default, so the SDK's code is never at hand for it: on the way of a call it takes
    three times what it takes when many are made in a row. Whoever adds to such a span, or asks for more than its
    context, gets the SDK's own from there on.
    """

    __slots__ = (
        "_context", "_maker", "before", "began", "ended", "ending", "links", "made", "notes", "shape", "trace",
    )  # fmt: skip

    def __init__(
        self,
        maker: SpanMaker,
        shape: SpanShape,
        trace: TraceContext,
        before: Context,
        notes: Notes,
        links: tuple[Link, ...],
    ) -> None:
        self._maker = maker
        self._context: SpanContext | None = None
        self.made: Span | None = None  # the SDK's own, once somebody has asked for more than notes
        self.shape = shape
        self.trace = trace
        self.before = before
        self.notes = notes
        self.links = links
        self.began = time.time_ns()
        self.ended: int | None = None
        self.ending: Attributes

    def end_noted(self, ending: Attributes) -> None:
        """The end of one that is only noted down: it goes to where it is exported from."""
        self.ending = ending
        self.ended = time.time_ns()
        deliver = self._maker.deliver
        assert deliver is not None, "it was there when this began"
        deliver(self)

    def exported(self) -> ReadableSpan:
        """What is exported of it; for the thread that does."""
        return self._maker.afterwards(self)

    def _sdk(self) -> Span:
        made = self.made
        if made is None:
            if self.ended is not None:
                return INVALID_SPAN  # nothing can be added to what has ended
            with self._maker.lock:
                made = self.made = self.made or self._maker.at_once(self)
        return made

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            self._context = self._maker.context_of(self)
        return self._context

    @property
    def context(self) -> SpanContext:
        """The same, as the SDK calls it."""
        return self.get_span_context()

    def is_recording(self) -> bool:
        return self.ended is None and (self.made is None or self.made.is_recording())

    def end(self, end_time: int | None = None) -> None:
        self._sdk().end(end_time)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._sdk().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._sdk().set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._sdk().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        self._sdk().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._sdk().update_name(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._sdk().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._sdk().record_exception(exception, attributes, timestamp, escaped)

    def __getattr__(self, name: str) -> Any:
        # What the SDK's spans have beyond the API's: `name`, `parent`, `resource` and the like.
        return getattr(self._sdk() if self.ended is None else self.exported(), name)
