from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import Span, SpanContext, get_current_span

from chassis.call import Call, Kind, Method, TraceContext, enter, leave
from chassis.errors import NotFound
from chassis.tracing.call_span import CallSpan
from chassis.tracing.conventions import SpanShape
from chassis.tracing.recorder import Recorder

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Given(Call):
    """A call as a transport would make it."""

    __slots__ = ("event_id", "http_status", "path", "peer", "topic", "verb")  # type: ignore[misc]

    def __init__(self, method: Method, headers: dict[str, str], parent: Call | None = None) -> None:
        super().__init__(method, parent=parent, metadata=headers)
        self.peer = "ipv4:127.0.0.1:57284"  # type: ignore[misc]
        self.event_id = "e-1"
        self.topic = method.path


class Kept(SpanProcessor):
    """Spans that the SDK says have ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Recording:
    """A recorder whose spans are kept: those that were noted down, and those that the SDK made at once."""

    def __init__(self, *, noting: bool = True) -> None:
        self.at_once = Kept()
        self.noted: list[CallSpan] = []
        self.recorder = Recorder("svc", "1", "test", 1, random.Random(7))
        self.recorder.provider.add_span_processor(self.at_once)
        if noting:
            self.recorder.begin_delivery(self.noted.append)

    def play(self, call: Call, during: Callable[[Any], None] = lambda span: None) -> None:
        """One call from its beginning to its end."""
        shape = SpanShape(call.method)
        served = call.method.served
        token = enter(call) if served else None
        begin = self.recorder.open_served if served else self.recorder.open_going_out
        place, span, own = begin(call, shape)
        assert place is not None
        assert span is not None
        during(get_current_span())
        self.recorder.detach(place)
        self.recorder.close(call, shape, span, own)
        if token is not None:
            leave(token)

    def one(self) -> ReadableSpan:
        (span,) = [*self.at_once.spans, *(span.exported() for span in self.noted)]
        return span


def greet(side: Any = "server") -> Method:
    return Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, side)


def event(side: Any) -> Method:
    return Method("event", side, "t.v1.created", "nats", "process" if side == "server" else "publish", Kind.EVENT)


def told(span: ReadableSpan) -> dict[str, Any]:
    """All that is exported of a span, but for what differs from one to the next."""
    fields: dict[str, Any] = json.loads(span.to_json())
    for name in ("start_time", "end_time"):
        assert fields.pop(name)
    assert fields["resource"]["attributes"].pop("service.instance.id")
    scope, flags = span.instrumentation_scope, span.context.trace_flags
    return {**fields, "scope": repr(scope), "flags": int(flags), "dropped": span.dropped_attributes}


@pytest.mark.parametrize("headers", [{}, {"traceparent": PARENT}, {"traceparent": PARENT, "tracestate": "a=1"}])
@pytest.mark.parametrize("method", [greet(), greet("client"), event("server"), event("client")])
def test_one_that_was_noted_down_is_exported_as_the_sdk_would_have_made_it(
    method: Method, headers: dict[str, str]
) -> None:
    recordings = [Recording(noting=True), Recording(noting=False)]
    for recording in recordings:
        call = Given(method, {"user-agent": "curl", **headers})
        if not method.served and headers:  # a call going out continues that of the call being served
            call = Given(method, {}, Given(greet(), dict(headers)))
        recording.play(call)

    noted, at_once = recordings
    assert (len(noted.noted), len(noted.at_once.spans)) == (1, 0)
    assert (len(at_once.noted), len(at_once.at_once.spans)) == (0, 1)
    assert told(noted.one()) == told(at_once.one())


ADDITIONS: dict[str, Callable[[Span], None]] = {
    "an attribute": lambda span: span.set_attribute("asset", "BTC"),
    "attributes": lambda span: span.set_attributes({"asset": "BTC"}),
    "an event": lambda span: span.add_event("looked up", {"asset": "BTC"}),
    "a link": lambda span: span.add_link(SpanContext(1, 2, is_remote=True)),
    "a name": lambda span: span.update_name("other"),
    "an exception": lambda span: span.record_exception(ValueError("BTC")),
}


@pytest.mark.parametrize("what", ADDITIONS)
def test_what_a_handler_adds_is_exported_too(what: str) -> None:
    recordings = [Recording(noting=True), Recording(noting=False)]
    for recording in recordings:
        recording.play(Given(greet(), {}), ADDITIONS[what])

    assert not recordings[0].noted
    # Exceptions and links tell their own time and place, which `to_json` shows.
    names = [
        (span.name, dict(span.attributes or {}), [event.name for event in span.events], len(span.links))
        for span in (recording.one() for recording in recordings)
    ]
    assert names[0] == names[1]
    assert (
        names[0] != ("pkg.Greeter/Greet", dict(recordings[0].one().attributes or {}), [], 0) or "asset" in names[0][1]
    )


def test_what_the_sdks_spans_have_beyond_the_api_is_there() -> None:
    seen: list[Any] = []
    recording = Recording()
    recording.play(
        Given(greet(), {}), lambda span: seen.extend([span.name, span.parent, span.resource, span.kind.name])
    )
    assert (seen[0], seen[1], seen[3]) == ("pkg.Greeter/Greet", None, "SERVER")
    assert seen[2].attributes["service.name"] == "svc"


def test_its_context_can_be_asked_for_without_more_being_made() -> None:
    contexts: list[SpanContext] = []
    recording = Recording()
    call = Given(greet(), {"traceparent": PARENT})
    recording.play(call, lambda span: contexts.append(span.get_span_context()))
    (span,) = recording.noted
    assert span.made is None
    assert call.trace == TraceContext(f"{contexts[0].trace_id:032x}", f"{contexts[0].span_id:016x}", True)
    assert contexts[0] == span.exported().get_span_context() == span.context


def test_nothing_is_added_to_what_has_ended() -> None:
    recording = Recording()
    kept: list[Any] = []
    recording.play(Given(greet(), {}), kept.append)
    (span,) = kept
    assert not span.is_recording()
    span.set_attribute("late", "yes")
    span.end()
    assert "late" not in (recording.one().attributes or {})
    assert span.name == "pkg.Greeter/Greet"


def test_a_call_that_failed_is_made_by_the_sdk_with_all_there_is_to_tell() -> None:
    recording = Recording()
    call = Given(greet(), {})
    call.code, call.error = StatusCode.INTERNAL, KeyError("x")
    recording.play(call)
    span = recording.one()
    assert not recording.noted
    assert (span.status.status_code.name, [event.name for event in span.events]) == ("ERROR", ["exception"])


def test_an_error_that_is_the_callers_needs_no_more_than_notes() -> None:
    recording = Recording()
    call = Given(greet(), {})
    call.code, call.error = StatusCode.NOT_FOUND, NotFound("no such asset")
    recording.play(call)
    assert len(recording.noted) == 1
    assert (recording.one().attributes or {})["rpc.response.status_code"] == "NOT_FOUND"


def test_threads_that_add_to_it_at_once_add_to_the_same_span() -> None:
    recording = Recording()

    def add(span: Span) -> None:
        together = threading.Barrier(8)

        def one(number: int) -> None:
            together.wait()
            span.set_attribute(f"of.{number}", number)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    recording.play(Given(greet(), {}), add)
    attributes = recording.one().attributes or {}
    assert sorted(value for key, value in attributes.items() if key.startswith("of.")) == list(range(8))


def test_the_sdks_own_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    recordings = [Recording(noting=True), Recording(noting=False)]
    for recording in recordings:
        recording.play(Given(greet(), {}))
    noted, at_once = recordings
    assert noted.noted
    assert told(noted.one()) == told(at_once.one())
    assert noted.one().dropped_attributes
