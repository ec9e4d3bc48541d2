"""Begins and ends the spans of calls, on the OpenTelemetry SDK."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextvars import Token
from functools import partial
from typing import Any, cast
from urllib.parse import quote, unquote

from grpc import StatusCode
from opentelemetry import baggage
from opentelemetry.context import Context, attach, create_key, detach, get_current
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.span import TraceState

from chassis.call import Call, TraceContext, current_call
from chassis.tracing.call_span import CallSpan, SpanMaker
from chassis.tracing.conventions import SpanShape
from chassis.tracing.failure import crash_in, description, exception
from chassis.tracing.propagation import baggage_of, tracestate_of
from chassis.tracing.resource import resource_of
from chassis.tracing.sampling import DECIDED, RatioSampler, ToldIdGenerator
from chassis.version import __version__

# The key that OpenTelemetry keeps the current span under; learnt once, so that a call needs one dict and no copies.
(_SPAN,) = set_span_in_context(INVALID_SPAN, Context())
_RECEIVED_BAGGAGE = create_key("chassis-received-baggage")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_INSTRUMENTATIONS = "opentelemetry.instrumentation."
# Members of a baggage header that are made readable; all are handed on (W3C Baggage asks for 64 at least).
_MAX_BAGGAGE_MEMBERS = 64
# Long enough for a stack; a request's path or a message cannot make a span larger than this.
_MAX_ATTRIBUTE_LENGTH = 32 * 1024


class UnsampledSpan(NonRecordingSpan):
    """Stands for the call being served, when its trace is not recorded: what is begun within it is not recorded either.

    One object for all of them. It learns which call is meant when it is asked, which most calls are over before.
    """

    def __init__(self) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)

    def get_span_context(self) -> SpanContext:
        call = current_call()
        if call is None or call.trace is None or call.trace.sampled:
            return INVALID_SPAN_CONTEXT
        return _span_context(call.trace, tracestate_of(call), remote=False)


_UNSAMPLED = UnsampledSpan()
_UNSAMPLED_CONTEXT = Context({_SPAN: _UNSAMPLED})

_NO_LINKS: tuple[Link, ...] = ()

# A TraceContext without the function that a named tuple has for its constructor.
_trace_context_of = partial(tuple.__new__, TraceContext)

Opened = tuple[Token[Context] | None, Span | None, bool]
"""What `close` needs: the place in OpenTelemetry's context; the span, if there is one; whether it is ours to end."""


class Recorder:
    """The spans of one service: its own SDK, its sampler, and its ids."""

    def __init__(
        self, service_name: str, version: str, environment: str, sample_rate: float, generator: random.Random
    ) -> None:
        self._draw = generator.getrandbits
        ids = ToldIdGenerator(generator)
        sampler = RatioSampler(sample_rate)
        limits = _limits()
        self._recorded_below = sampler.below
        # Not for exit handlers: the component stops it, and never waits longer than it was told to.
        self.provider = TracerProvider(
            sampler=sampler,
            resource=resource_of(service_name, version, environment),
            id_generator=ids,
            shutdown_on_exit=False,
            span_limits=limits,
        )
        tracer = cast(SdkTracer, self.provider.get_tracer("chassis", __version__))
        self._maker = SpanMaker(tracer, ids, limits)

    def begin_delivery(self, deliver: Callable[[CallSpan], None]) -> None:
        """Note spans down from here on, and give those that have ended to `deliver`; until then the SDK makes all."""
        self._maker.deliver = deliver

    # For interceptors, which import nothing of OpenTelemetry's.
    detach = staticmethod(detach)

    def begin(self) -> None:
        """Let what is begun in this context from here on stand within no span but that of its call.

        Saves each call that is not recorded from saying so for itself.
        """
        if not get_current():
            attach(_UNSAMPLED_CONTEXT)

    def _place(self, parent: TraceContext | None) -> TraceContext:
        """The place of a new span in its trace, and whether it is recorded."""
        if parent is None:
            ids = self._draw(192).to_bytes(24, "big").hex()  # one draw for both
            return _trace_context_of((ids[:32], ids[32:], ids[16:32] < self._recorded_below))
        return _trace_context_of((parent.trace_id, (self._draw(64) or 1).to_bytes(8, "big").hex(), parent.sampled))

    def close(self, call: Call, shape: SpanShape, span: Span, own: bool) -> None:
        """Record how a call ended, and end its span if it is our own."""
        error, ended_well = call.error, shape.ended_well
        noted = span if own and type(span) is CallSpan and span.made is None else None
        if noted is not None and error is None and call.code is StatusCode.OK and ended_well is not None:
            noted.end_noted(ended_well)
            return
        attributes, failed = shape.ending(call)
        if not own:
            if not span.is_recording():  # whose it is has ended it, a moment before us
                return
            attributes = shape.attributes | attributes
        crash = None if error is None else crash_in(error)
        if noted is not None and not failed and crash is None:
            noted.end_noted(attributes)
            return
        span.set_attributes(attributes)
        if failed:
            span.set_status(SpanStatus.ERROR, None if error is None else description(error))
        if crash is not None:
            span.add_event("exception", exception(crash))
        if own:
            span.end()

    def open_served(self, call: Call, shape: SpanShape) -> Opened:
        """Give a call that came in its place in a trace, in `call.trace`, and a span if the trace is recorded."""
        current = get_current()
        # What was current when the server was started is current in its calls too, and nothing to them.
        if (
            current is not _UNSAMPLED_CONTEXT
            and current
            and (adopted := _instrumented(call, shape, current)) is not None
        ):
            call.trace = _trace_context(adopted.get_span_context())
            return None, adopted, False
        parent = call.trace
        trace = call.trace = self._place(parent)
        if not trace.sampled:
            if "baggage" in call.metadata:
                context = _with_baggage(call, _UNSAMPLED)
            elif current is _UNSAMPLED_CONTEXT:  # as in most calls, which begin behind `begin`
                return None, None, True
            else:
                context = _UNSAMPLED_CONTEXT
            return attach(context), None, True
        before, links = DECIDED, _NO_LINKS
        if parent is not None:
            remote = _span_context(parent, tracestate_of(call), remote=True)
            before, links = (
                Context({_SPAN: NonRecordingSpan(remote)}),
                (Link(remote, {}),) if shape.process else _NO_LINKS,
            )
        span = self._start(call, shape, trace, before, links)
        return attach(_with_baggage(call, span) if "baggage" in call.metadata else Context({_SPAN: span})), span, True

    def _start(
        self, call: Call, shape: SpanShape, trace: TraceContext, before: Context, links: tuple[Link, ...] = _NO_LINKS
    ) -> Span:
        span = CallSpan(self._maker, shape, trace, before, shape.note(call), links)
        return span if self._maker.deliver is not None else self._maker.at_once(span)

    def open_going_out(self, call: Call, shape: SpanShape) -> Opened:
        """The same for a call that this process makes; what it sends along says which span it comes from."""
        current = get_current()
        around: Any = current.get(_SPAN)
        tracestate: str | None = None
        context = None if around is None or around is _UNSAMPLED else around.get_span_context()
        if around is not None and context is not None and context.is_valid:
            parent: TraceContext | None = _trace_context(context)
            tracestate = context.trace_state.to_header() or None
            if _is_for(around, shape):
                call.trace = trace = _trace_context(context)
                self._inject(call, trace, tracestate, current)
                return None, around, False
        else:
            context = None
            parent = call.trace  # that of the call being served, which is not recorded here
            if parent is not None and call.parent is not None:
                tracestate = tracestate_of(call.parent)
        trace = call.trace = self._place(parent)
        self._inject(call, trace, tracestate, current)
        if not trace.sampled:
            return None, None, True
        if parent is not None and context is None:
            remote = _span_context(parent, tracestate, remote=True)
            current = Context({**current, _SPAN: NonRecordingSpan(remote)})
        span = self._start(call, shape, trace, current)
        return attach(Context({**current, _SPAN: span})), span, True

    @staticmethod
    def _inject(call: Call, trace: TraceContext, tracestate: str | None, current: Context) -> None:
        metadata = call.metadata
        metadata["traceparent"] = trace.traceparent
        if tracestate:
            metadata["tracestate"] = tracestate
        if len(current) > 1 and (header := _baggage_header(current)):
            metadata["baggage"] = header


def sdk_disabled() -> bool:
    """Whether OpenTelemetry's own switch turns all of its SDKs off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _limits() -> SpanLimits:
    names = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
    return SpanLimits() if any(map(os.environ.get, names)) else SpanLimits(max_attribute_length=_MAX_ATTRIBUTE_LENGTH)


def _trace_context(context: SpanContext) -> TraceContext:
    return TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled)


def _span_context(trace: TraceContext, tracestate: str | None, *, remote: bool) -> SpanContext:
    return SpanContext(
        int(trace.trace_id, 16),
        int(trace.span_id, 16),
        is_remote=remote,
        trace_flags=_SAMPLED if trace.sampled else _NOT_SAMPLED,
        trace_state=TraceState.from_header([tracestate]) if tracestate else None,
    )


# OpenTelemetry's own instrumentation may be active in the process: then a call has its span already.


def _instrumented(call: Call, shape: SpanShape, current: Context) -> SdkSpan | None:
    span = current.get(_SPAN)
    if not isinstance(span, SdkSpan) or not _is_for(span, shape):
        return None
    # It is this call's, and not an outer one's, if it continues what this call came with.
    came_with = TraceContext.parse(call.metadata.get("traceparent"))
    before = None if span.parent is None else f"{span.parent.span_id:016x}"
    return span if before == (None if came_with is None else came_with.span_id) else None


def _is_for(span: Span, shape: SpanShape) -> bool:
    if not isinstance(span, SdkSpan) or span.kind is not shape.kind or not span.is_recording():
        return False
    scope = span.instrumentation_scope
    if scope is None or not scope.name.startswith(_INSTRUMENTATIONS):
        return False
    return shape.http or not shape.method.known or span.name.lstrip("/") == shape.name


# Baggage: readable with OpenTelemetry's API in between, and handed on as it came where nobody changed it.


def _with_baggage(call: Call, span: Span) -> Context:
    context = Context({_SPAN: span})
    header = baggage_of(call)
    if header is None:
        return context
    for member in header.split(",")[:_MAX_BAGGAGE_MEMBERS]:
        name, equals, value = member.partition(";")[0].partition("=")
        if equals and name.strip():
            context = baggage.set_baggage(unquote(name.strip()), unquote(value.strip()), context)
    return Context({**context, _RECEIVED_BAGGAGE: (header, dict(baggage.get_all(context)))})


def _baggage_header(current: Context) -> str | None:
    pairs = baggage.get_all(current)
    received = current.get(_RECEIVED_BAGGAGE)
    if isinstance(received, tuple) and received[1] == pairs:
        return str(received[0])
    return ",".join(f"{quote(name, safe='')}={quote(str(value), safe='')}" for name, value in pairs.items())
