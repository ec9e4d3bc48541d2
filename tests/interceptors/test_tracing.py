from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode
from grpc.aio import AioRpcError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode as SpanStatus

from chassis.call import Call, Kind, Method, PerMethod, compose, current_call, enter, leave
from chassis.errors import AlreadyExists, Crash, NotFound, Permanent, Temporary
from chassis.testing.echo import EchoServicer, WritingEchoServicer
from chassis.tracing import Tracing
from interceptors.client import client_interceptors
from interceptors.errors import ErrorsInterceptor
from interceptors.tracing import TracingInterceptor

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOT_SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"

ECHO = "cqi.testing.v1.EchoService"
KINDS = ["Echo", "EchoStream", "Collect", "Converse"]
# Of the gRPC conventions: on the side of the server, the other codes are the caller's doing.
SERVER_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class Kept(SpanProcessor):
    """Spans that ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self._arrived = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)
        self._arrived.set()

    async def arrived(self, count: int = 1) -> list[ReadableSpan]:
        """Wait for spans: a server's may end after its client has the answer, and after the server has stopped."""
        while len(self.spans) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.spans


class Recorded(Kept):
    """Tracing whose spans are kept here."""

    def __init__(self, sample_rate: float = 1, *, service: str = "svc") -> None:
        super().__init__()
        self.tracing = Tracing(service, sample_rate=sample_rate)
        recorder = self.tracing.recorder
        assert recorder is not None
        recorder.provider.add_span_processor(self)
        recorder.begin_delivery(lambda span: self.on_end(span.exported()))

    def one(self) -> ReadableSpan:
        (span,) = self.spans
        return span


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


class Given(Call):
    """A call with these headers, as a transport would make it."""

    __slots__ = ("actual_verb", "event_id", "http_status", "path", "peer", "topic", "verb")  # type: ignore[misc]

    def __init__(self, method: Method, metadata: Mapping[str, str] | None = None, parent: Call | None = None) -> None:
        super().__init__(method, parent=parent, metadata=dict(metadata or {}))
        self.peer = "ipv4:127.0.0.1:57284"  # type: ignore[misc]
        self.event_id = "e-1"
        self.topic = method.path


def grpc_method(side: Any = "server", path: str = "/pkg.Greeter/Greet", target: str = "") -> Method:
    return Method.grpc(path, Kind.UNARY_UNARY, side, target)


Handler = Callable[[Any], Any]


async def run(tracing: Tracing, call: Call, handler: Handler | None = None) -> Any:
    async def innermost(call: Call) -> Any:
        return await handler(call) if handler is not None else "done"

    chain = compose([TracingInterceptor(tracing)], call.method, innermost)
    if not call.method.served:
        return await chain(call)
    token = enter(call)
    try:
        return await chain(call)
    finally:
        leave(token)


def raising(error: BaseException) -> Handler:
    async def handler(call: Call) -> None:
        raise error

    return handler


def hex_ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# On a real server, used alone: each kind, both styles, each ending.


@asynccontextmanager
async def serving(servicer: Any, *interceptors: Any) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=interceptors)
    rpc.add_EchoServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def open_channel(target: str, *interceptors: Any) -> Any:
    return grpc.aio.insecure_channel(target, interceptors=interceptors)


async def exchange(channel: Any, kind: str, request: pb.EchoRequest, **options: Any) -> StatusCode:
    """Make a call of this kind to its end; the code on the wire."""
    stub = rpc.EchoServiceStub(channel)

    async def requests() -> AsyncIterator[pb.EchoRequest]:
        yield request

    call = getattr(stub, kind)(requests() if kind in ("Collect", "Converse") else request, **options)
    try:
        if kind in ("EchoStream", "Converse"):
            async for _ in call:
                pass
        else:
            await call
    except AioRpcError as error:
        return error.code()
    return StatusCode.OK


ENDINGS = {
    "ok": pb.EchoRequest(text="hello"),
    "domain error": pb.EchoRequest(outcome=pb.OUTCOME_DOMAIN_ERROR, code="NOT_FOUND"),
    "abort": pb.EchoRequest(outcome=pb.OUTCOME_ABORT, code="UNAVAILABLE"),
    "set code": pb.EchoRequest(outcome=pb.OUTCOME_SET_CODE, code="DATA_LOSS"),
    "crash": pb.EchoRequest(outcome=pb.OUTCOME_CRASH),
    "not implemented": pb.EchoRequest(outcome=pb.OUTCOME_NOT_IMPLEMENTED),
    "deadline": pb.EchoRequest(outcome=pb.OUTCOME_WAIT),
}


@pytest.mark.parametrize("servicer", [EchoServicer, WritingEchoServicer])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_span_of_each_kind_and_ending_has_the_code_of_the_wire(
    recorded: Recorded, servicer: Any, kind: str, ending: str
) -> None:
    # With `errors` inside, as always: gRPC makes UNKNOWN of a bare exception, and our edge INTERNAL.
    interceptors = [TracingInterceptor(recorded.tracing), ErrorsInterceptor()]
    async with serving(servicer(), *interceptors) as target, open_channel(target) as channel:
        timeout = {"timeout": 0.3} if ending == "deadline" else {}
        code = await exchange(channel, kind, ENDINGS[ending], **timeout)
        (span,) = await recorded.arrived()
    attributes = attributes_of(span)
    assert (span.name, span.kind) == (f"{ECHO}/{kind}", SpanKind.SERVER)
    assert attributes["rpc.system.name"] == "grpc"
    assert attributes["rpc.method"] == f"{ECHO}/{kind}"
    assert attributes["rpc.response.status_code"] == code.name
    failed = code.name in SERVER_FAULTS
    assert span.status.status_code is (SpanStatus.ERROR if failed else SpanStatus.UNSET)
    assert attributes.get("error.type") == (code.name if failed else None)
    assert [event.name for event in span.events] == (["exception"] if ending == "crash" else [])


class Waiting(rpc.EchoServiceServicer):
    """Waits for ever once it has a request."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def wait(self) -> pb.EchoReply:
        self.begun.set()
        await asyncio.get_running_loop().create_future()
        return pb.EchoReply()

    async def Echo(self, request: Any, context: Any) -> Any:
        return await self.wait()

    async def EchoStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield await self.wait()

    async def Collect(self, request_iterator: Any, context: Any) -> Any:
        async for _ in request_iterator:
            await self.wait()

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in request_iterator:
            yield await self.wait()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_the_client_cancels_is_recorded_as_cancelled_and_no_fault(
    recorded: Recorded, kind: str
) -> None:
    servicer = Waiting()
    interceptor = TracingInterceptor(recorded.tracing)
    async with serving(servicer, interceptor) as target, open_channel(target) as channel:
        exchanging = asyncio.ensure_future(exchange(channel, kind, pb.EchoRequest()))
        await servicer.begun.wait()
        exchanging.cancel()
        (span,) = await recorded.arrived()
    assert attributes_of(span)["rpc.response.status_code"] == "CANCELLED"
    assert (span.status.status_code, span.events) == (SpanStatus.UNSET, ())


async def test_a_method_that_does_not_exist_gives_its_name_to_no_span(recorded: Recorded) -> None:
    interceptor = TracingInterceptor(recorded.tracing)
    async with serving(EchoServicer(), interceptor) as target, open_channel(target) as channel:
        with pytest.raises(AioRpcError):
            await channel.unary_unary("/made.up/Name")(b"")
    span = recorded.one()
    assert span.name == "grpc"
    assert attributes_of(span)["rpc.method"] == "_OTHER"
    assert attributes_of(span)["rpc.response.status_code"] == "UNIMPLEMENTED"


# Against OpenTelemetry's own instrumentation.


def in_current_words(span: ReadableSpan) -> dict[str, Any]:
    """What the instrumentation recorded, in the conventions of 2026, which it does not speak yet.

    Its guess that 127.0.0.1 is called localhost is left out, and its ports are numbers, as the conventions say.
    """
    old = attributes_of(span)
    new = {
        "rpc.system.name": old.pop("rpc.system"),
        "rpc.method": f"{old.pop('rpc.service')}/{old.pop('rpc.method')}",
    }
    number = old.pop("rpc.grpc.status_code")
    code = next(code for code in StatusCode if code.value[0] == number)
    new["rpc.response.status_code"] = code.name
    if span.status.status_code is SpanStatus.ERROR:
        new["error.type"] = code.name
    if span.kind is SpanKind.SERVER:
        new["user_agent.original"] = old.pop("rpc.user_agent")
        new["client.address"] = new["network.peer.address"] = old.pop("net.peer.ip")
        new["client.port"] = new["network.peer.port"] = int(old.pop("net.peer.port"))
        old.pop("net.peer.name")
    assert old == {}, "a new attribute of the instrumentation that is not translated here"
    return new


def comparable(span: ReadableSpan, attributes: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: "any" if key.endswith(".port") else value for key, value in attributes.items()}
    return {
        "name": span.name.lstrip("/"),
        "kind": span.kind,
        "status": span.status.status_code,
        "attributes": known,
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["OK", "NOT_FOUND", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
async def test_spans_say_what_those_of_opentelemetrys_instrumentation_say(
    recorded: Recorded, kind: str, ending: str
) -> None:
    request = pb.EchoRequest(text="x")
    if ending != "OK":
        request = pb.EchoRequest(outcome=pb.OUTCOME_ABORT, code=ending)

    async def make_a_call(server: Any, client: Any) -> None:
        async with serving(EchoServicer(), server) as target, open_channel(target, *client) as channel:
            assert (await exchange(channel, kind, request)).name == ending

    def by_kind(spans: Iterable[ReadableSpan]) -> dict[SpanKind, ReadableSpan]:
        return {span.kind: span for span in spans}

    theirs = Kept()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(theirs)
    await make_a_call(
        aio_server_interceptor(tracer_provider=provider), aio_client_interceptors(tracer_provider=provider)
    )
    reference = by_kind(await theirs.arrived(2))
    interceptor = TracingInterceptor(recorded.tracing)
    await make_a_call(interceptor, client_interceptors([interceptor]))
    ours = by_kind(await recorded.arrived(2))
    assert ours.keys() == reference.keys() == {SpanKind.SERVER, SpanKind.CLIENT}
    for each, span in ours.items():
        expected = comparable(reference[each], in_current_words(reference[each]))
        assert comparable(span, attributes_of(span)) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("traced", [True, False], ids=["a client that traces", "a client that does not"])
async def test_where_the_instrumentation_is_active_a_call_has_one_server_span(
    recorded: Recorded, kind: str, traced: bool
) -> None:
    theirs = Kept()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(theirs)
    # The chassis' server runs it as its own interceptor, before all handlers.
    interceptors = (aio_server_interceptor(tracer_provider=provider), TracingInterceptor(recorded.tracing))
    metadata = (("traceparent", SAMPLED),) if traced else ()
    request = pb.EchoRequest(outcome=pb.OUTCOME_DOMAIN_ERROR, code="INTERNAL")
    async with serving(EchoServicer(), *interceptors) as target, open_channel(target) as channel:
        assert await exchange(channel, kind, pb.EchoRequest(text="hi"), metadata=metadata) is StatusCode.OK
        assert await exchange(channel, kind, request, metadata=metadata) is StatusCode.INTERNAL
    assert recorded.spans == []
    ok, failed = await theirs.arrived(2)
    assert attributes_of(ok)["rpc.response.status_code"] == "OK"
    assert attributes_of(failed)["rpc.response.status_code"] == "INTERNAL"
    assert failed.status.status_code is SpanStatus.ERROR


@pytest.mark.parametrize("kind", KINDS)
async def test_where_the_instrumentation_is_active_a_call_going_out_has_one_client_span(
    recorded: Recorded, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, served = Kept(), Recorded(sample_rate=0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(theirs)
    interceptors = [
        *aio_client_interceptors(tracer_provider=provider),
        *client_interceptors([TracingInterceptor(recorded.tracing)]),
    ]
    async with (
        serving(EchoServicer(), TracingInterceptor(served.tracing)) as target,
        open_channel(target, *interceptors) as channel,
    ):
        assert await exchange(channel, kind, pb.EchoRequest(text="hi")) is StatusCode.OK
        (client,) = await theirs.arrived()
        (server,) = await served.arrived()
    assert recorded.spans == []
    assert server.parent is not None
    assert client.context is not None
    assert server.parent.span_id == client.context.span_id
    assert caplog.messages == []


async def test_a_span_that_was_current_when_the_server_started_is_nothing_to_its_calls(recorded: Recorded) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("opentelemetry.instrumentation.grpc")
    around, outermost = f"/{ECHO}/Echo", f"/{ECHO}/Collect"
    interceptor = TracingInterceptor(recorded.tracing)
    with (
        tracer.start_as_current_span(outermost, kind=SpanKind.SERVER),
        tracer.start_as_current_span(around, kind=SpanKind.SERVER) as outer,
    ):
        async with serving(EchoServicer(), interceptor) as target, open_channel(target) as channel:
            await exchange(channel, "Echo", pb.EchoRequest())
            (span,) = await recorded.arrived()
    assert span.parent is None
    assert span.context is not None
    assert span.context.trace_id != outer.get_span_context().trace_id


# The place in the trace.


async def test_a_sampled_parent_is_continued_whatever_the_rate() -> None:
    recorded = Recorded(sample_rate=0)
    call = Given(grpc_method(), {"traceparent": SAMPLED, "tracestate": "congo=t61rcWkgMzE"})
    await run(recorded.tracing, call)
    span = recorded.one()
    trace_id, span_id = hex_ids(span)
    assert trace_id == TRACE_ID
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.parent.is_remote
    assert call.trace == (TRACE_ID, span_id, True)


async def test_an_unsampled_parent_is_respected_whatever_the_rate(recorded: Recorded) -> None:
    call = Given(grpc_method(), {"traceparent": NOT_SAMPLED})
    await run(recorded.tracing, call)
    assert recorded.spans == []
    assert call.trace is not None
    assert (call.trace.trace_id, call.trace.sampled) == (TRACE_ID, False)
    assert call.trace.span_id != SPAN_ID


async def test_a_call_without_parent_begins_a_trace_that_its_id_decides_about() -> None:
    recorded = Recorded(sample_rate=0.5)
    calls = [Given(grpc_method()) for _ in range(64)]
    for call in calls:
        await run(recorded.tracing, call)
    kept = {call.trace[:2] for call in calls if call.trace is not None and int(call.trace.trace_id[16:], 16) < 1 << 63}
    assert {hex_ids(span) for span in recorded.spans} == kept
    assert all(call.trace is not None and call.trace.sampled == (call.trace[:2] in kept) for call in calls)


traceparents = st.one_of(
    st.text(max_size=70),
    st.builds(
        "-".join,
        st.tuples(
            st.sampled_from(["00", "01", "ff", "0", "zz"]),
            st.text("0123456789abcdefABCg", min_size=30, max_size=33),
            st.text("0123456789abcdefABCg", min_size=15, max_size=17),
            st.sampled_from(["00", "01", "03", "1", "0g"]),
        ),
    ),
)


@given(traceparents)
def test_a_bad_traceparent_fails_nothing_and_restarts_the_trace(header: str) -> None:
    recorded = Recorded()
    call = Given(grpc_method(), {"traceparent": header})
    valid = call.trace
    asyncio.run(run(recorded.tracing, call))
    assert call.trace is not None
    assert len(call.trace.trace_id) == 32
    assert len(call.trace.span_id) == 16
    if valid is None:
        assert call.trace.sampled
        assert recorded.one().parent is None
    else:
        assert call.trace.trace_id == valid.trace_id


# Spans of one's own.


async def test_spans_of_ones_own_lie_within_the_calls(recorded: Recorded) -> None:
    async def handler(call: Call) -> None:
        with recorded.tracing.tracer.start_as_current_span("load prices"):
            pass

    await run(recorded.tracing, Given(grpc_method()), handler)
    inner, outer = recorded.spans
    assert inner.name == "load prices"
    assert inner.parent == outer.context


async def test_spans_of_ones_own_in_an_unsampled_call_are_not_recorded_and_keep_its_trace(recorded: Recorded) -> None:
    sent = Given(grpc_method("client"))

    async def handler(call: Call) -> None:
        current = trace.get_current_span().get_span_context()
        assert (f"{current.trace_id:032x}", f"{current.span_id:016x}") == call.trace[:2]  # type: ignore[index]
        with recorded.tracing.tracer.start_as_current_span("load prices") as span:
            assert not span.is_recording()
            assert f"{span.get_span_context().trace_id:032x}" == TRACE_ID
            await run(recorded.tracing, sent)

    await run(recorded.tracing, Given(grpc_method(), {"traceparent": NOT_SAMPLED, "tracestate": "a=1"}), handler)
    assert recorded.spans == []
    assert sent.metadata["traceparent"].startswith(f"00-{TRACE_ID}-")
    assert sent.metadata["traceparent"].endswith("-00")
    assert sent.metadata["tracestate"] == "a=1"


@pytest.mark.parametrize("header", [SAMPLED, NOT_SAMPLED])
async def test_opentelemetrys_context_is_afterwards_as_it_was(recorded: Recorded, header: str) -> None:
    before = get_current()
    await run(recorded.tracing, Given(grpc_method(), {"traceparent": header}))
    with pytest.raises(KeyError):
        await run(recorded.tracing, Given(grpc_method(), {"traceparent": header}), raising(KeyError("x")))
    assert get_current() is before


async def test_a_call_that_is_thrown_away_complains_of_nothing(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(call: Call) -> None:
        await asyncio.get_running_loop().create_future()

    chain = compose([TracingInterceptor(recorded.tracing)], method := grpc_method(), handler)
    coroutine: Any = chain(Given(method))
    token = attach(get_current())
    coroutine.send(None)
    detach(token)
    asyncio.get_running_loop().call_soon(coroutine.close)  # in another context than it ran in
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.messages == []


# Calls going out.


async def test_what_a_call_sends_along_names_its_own_span(recorded: Recorded) -> None:
    sent = Given(grpc_method("client", target="dns:///prices.internal:9000"))

    async def handler(call: Call) -> None:
        with recorded.tracing.tracer.start_as_current_span("of one's own"):
            await run(recorded.tracing, sent)

    await run(recorded.tracing, Given(grpc_method(), {"traceparent": SAMPLED, "tracestate": "a=1"}), handler)
    client, own, served = recorded.spans
    assert (client.kind, client.parent, own.parent) == (SpanKind.CLIENT, own.context, served.context)
    assert sent.metadata == {"traceparent": "00-" + "-".join(hex_ids(client)) + "-01", "tracestate": "a=1"}
    assert sent.trace == (*hex_ids(client), True)
    attributes = attributes_of(client)
    assert (attributes["server.address"], attributes["server.port"]) == ("prices.internal", 9000)


@pytest.mark.parametrize("rate", [0, 1])
async def test_a_call_outside_of_any_other_begins_a_trace(rate: float) -> None:
    recorded = Recorded(sample_rate=rate)
    sent = Given(grpc_method("client"))
    await run(recorded.tracing, sent)
    assert len(recorded.spans) == rate
    assert sent.trace is not None
    assert sent.metadata == {"traceparent": sent.trace.traceparent}
    assert sent.trace.sampled == bool(rate)


async def test_a_client_continues_the_served_calls_trace_where_the_server_does_not_trace(recorded: Recorded) -> None:
    served = Given(grpc_method(), {"traceparent": SAMPLED, "tracestate": "a=1"})
    sent = Given(grpc_method("client"), parent=served)
    await run(recorded.tracing, sent)
    span = recorded.one()
    assert hex_ids(span)[0] == TRACE_ID
    assert sent.metadata["tracestate"] == "a=1"


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.OK], ids=lambda code: code.name)
async def test_for_the_caller_any_code_but_ok_is_a_failure(recorded: Recorded, code: StatusCode) -> None:
    with pytest.raises(Temporary):
        await run(recorded.tracing, Given(grpc_method("client")), raising(Temporary("no", code=code)))
    span = recorded.one()
    assert attributes_of(span)["rpc.response.status_code"] == attributes_of(span)["error.type"] == code.name
    assert (span.status.status_code, span.status.description) == (SpanStatus.ERROR, "no")


async def test_one_trace_goes_through_two_services_in_one_process() -> None:
    client, first, second = (
        Recorded(service="client"),
        Recorded(service="cqar"),
        Recorded(service="cqvx", sample_rate=0),
    )

    def tracing_channel(target: str, recorded: Recorded) -> Any:
        return open_channel(target, *client_interceptors([TracingInterceptor(recorded.tracing)]))

    class Passing(EchoServicer):
        async def Echo(self, request: Any, context: Any) -> Any:
            await exchange(onward, "Converse", request)
            return await super().Echo(request, context)

    async with (
        serving(EchoServicer(), TracingInterceptor(second.tracing)) as last_target,
        tracing_channel(last_target, first) as onward,
        serving(Passing(), TracingInterceptor(first.tracing)) as target,
        tracing_channel(target, client) as channel,
    ):
        assert await exchange(channel, "Echo", pb.EchoRequest(text="hi")) is StatusCode.OK
        for recorded, count in ((client, 1), (first, 2), (second, 1)):
            await recorded.arrived(count)
    begun = client.one()
    going_out = next(span for span in first.spans if span.kind is SpanKind.CLIENT)
    served = next(span for span in first.spans if span.kind is SpanKind.SERVER)
    last = second.one()
    assert {hex_ids(span)[0] for span in (begun, served, going_out, last)} == {hex_ids(begun)[0]}
    chain = [(served, begun), (going_out, served), (last, going_out)]
    assert all(inner.parent is not None and outer.context is not None for inner, outer in chain)
    assert [inner.parent.span_id for inner, _ in chain] == [outer.context.span_id for _, outer in chain]  # type: ignore[union-attr]


# Baggage.


@pytest.mark.parametrize("header", [SAMPLED, NOT_SAMPLED])
async def test_baggage_can_be_read_and_goes_on_as_it_came(recorded: Recorded, header: str) -> None:
    sent = Given(grpc_method("client"))
    seen: dict[str, object] = {}

    async def handler(call: Call) -> None:
        seen.update(baggage.get_all())
        await run(recorded.tracing, sent)

    carried = "user=a%20b;p=1, team=x,nonsense"
    await run(recorded.tracing, Given(grpc_method(), {"traceparent": header, "baggage": carried}), handler)
    assert seen == {"user": "a b", "team": "x"}
    assert sent.metadata["baggage"] == carried


async def test_baggage_that_was_added_to_goes_on_as_it_is_now(recorded: Recorded) -> None:
    sent = Given(grpc_method("client"))

    async def handler(call: Call) -> None:
        token = attach(baggage.set_baggage("team", "ä b"))
        await run(recorded.tracing, sent)
        detach(token)

    await run(recorded.tracing, Given(grpc_method(), {"baggage": "user=u%2C1"}), handler)
    assert sent.metadata["baggage"] == "user=u%2C1,team=%C3%A4%20b"


async def test_hostile_baggage_is_neither_read_nor_sent(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    sent = Given(grpc_method("client"))

    async def handler(call: Call) -> None:
        assert dict(baggage.get_all()) == {}
        await run(recorded.tracing, sent)

    await run(recorded.tracing, Given(grpc_method(), {"baggage": "k=ÿ"}), handler)
    assert "baggage" not in sent.metadata
    assert caplog.messages == []


# Off.


def test_off_it_is_not_even_composed_into_served_calls() -> None:
    interceptor = TracingInterceptor(Tracing("svc", enabled=False))
    assert not interceptor.applies(grpc_method("server"))
    assert interceptor.applies(grpc_method("client"))


async def test_off_what_came_in_is_handed_on() -> None:
    served = Given(grpc_method(), {"traceparent": SAMPLED, "tracestate": "a=1", "baggage": "k=v"})
    sent = Given(grpc_method("client"), parent=served)
    await run(Tracing("svc", enabled=False), sent)
    assert sent.metadata == served.metadata


# What a span tells of an error.


async def test_a_crash_is_told_with_its_type_and_stack(recorded: Recorded) -> None:
    with pytest.raises(ZeroDivisionError):
        await run(recorded.tracing, Given(grpc_method()), raising(ZeroDivisionError("by zero")))
    span = recorded.one()
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ZeroDivisionError"
    assert event.attributes["exception.message"] == "by zero"
    assert "in handler\n" in str(event.attributes["exception.stacktrace"])
    assert span.status.description == "ZeroDivisionError"


async def test_a_crash_that_was_translated_is_told_as_what_it_was(recorded: Recorded) -> None:
    crash = Crash("internal error; ask for it by request id r-1")
    crash.__cause__ = json.JSONDecodeError("bad", "{", 0)
    with pytest.raises(Crash):
        await run(recorded.tracing, Given(grpc_method()), raising(crash))
    span = recorded.one()
    assert span.events[0].attributes is not None
    assert span.events[0].attributes["exception.type"] == "json.decoder.JSONDecodeError"
    assert span.status.description == crash.message


@pytest.mark.parametrize("error", [NotFound("no such asset"), Permanent("out of order"), asyncio.CancelledError()])
async def test_an_error_that_was_foreseen_is_no_exception_event(recorded: Recorded, error: BaseException) -> None:
    with pytest.raises(type(error)):
        await run(recorded.tracing, Given(grpc_method()), raising(error))
    assert recorded.one().events == ()


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "error", [Unreadable(), OSError("\udcff"), ExceptionGroup("several", [KeyError("a"), OSError("b")])]
)
async def test_no_exception_is_too_odd_to_be_exported(recorded: Recorded, error: Exception) -> None:
    with pytest.raises(type(error)):
        await run(recorded.tracing, Given(grpc_method(), {"user-agent": "odd\udcff"}), raising(error))
    assert encode_spans(recorded.spans).SerializeToString()
    assert len(recorded.one().events) == 1


# Events.


def event_method(name: str, *, topic: str = "cqc.events.v1.asset_created", known: bool = True) -> Method:
    side: Any = "client" if name == "publish" else "server"
    return Method("event", side, topic, "nats", name, Kind.EVENT, known=known)


async def test_an_event_is_one_trace_from_publisher_to_handler(recorded: Recorded) -> None:
    published = Given(event_method("publish"))
    await run(recorded.tracing, published)
    await run(recorded.tracing, Given(event_method("process"), published.metadata))
    producer, consumer = recorded.spans
    assert (producer.kind, consumer.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert producer.name == "publish cqc.events.v1.asset_created"
    assert consumer.name == "process cqc.events.v1.asset_created"
    common = {
        "messaging.system": "nats",
        "messaging.destination.name": "cqc.events.v1.asset_created",
        "messaging.message.id": "e-1",
    }
    assert attributes_of(producer) == common | {
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
    }
    assert attributes_of(consumer) == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }
    assert consumer.parent is not None
    assert producer.context is not None
    assert consumer.parent.span_id == producer.context.span_id
    assert [link.context.span_id for link in consumer.links] == [producer.context.span_id]


async def test_a_wildcard_is_the_template_of_the_topic_it_got(recorded: Recorded) -> None:
    call = Given(event_method("process", topic="cqc.events.v1.*"))
    call.topic = "cqc.events.v1.venue_listed"
    await run(recorded.tracing, call)
    span = recorded.one()
    assert span.name == "process cqc.events.v1.*"
    assert attributes_of(span)["messaging.destination.template"] == "cqc.events.v1.*"
    assert attributes_of(span)["messaging.destination.name"] == "cqc.events.v1.venue_listed"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no"), SpanStatus.ERROR),
        (KeyError("crash"), SpanStatus.ERROR),
        (AlreadyExists("done before"), SpanStatus.UNSET),
        (asyncio.CancelledError(), SpanStatus.UNSET),
    ],
)
async def test_an_event_that_was_not_handled_is_an_error(
    recorded: Recorded, error: BaseException, status: SpanStatus
) -> None:
    call = Given(event_method("process"))
    with pytest.raises(type(error)):
        await run(recorded.tracing, call, raising(error))
    span = recorded.one()
    assert (span.status.status_code, attributes_of(span)["error.type"]) == (status, call.code.name)


async def test_topics_beyond_those_that_are_remembered_name_no_span(recorded: Recorded) -> None:
    call = Given(event_method("publish", topic="", known=False))
    call.topic = "one.of.thousands"
    await run(recorded.tracing, call)
    assert recorded.one().name == "publish"
    assert attributes_of(recorded.one())["messaging.destination.name"] == "one.of.thousands"


# HTTP.


def http_call(path: str, *, verb: str = "GET", route: str = "/assets/{id}", status: int = 200, **options: Any) -> Given:
    call = Given(Method("http", "server", route, "", verb, Kind.UNARY_UNARY, **options))
    call.transport = SimpleNamespace(scheme="http", version=SimpleNamespace(major=1, minor=1))
    call.metadata.update({"host": "cqar.internal:8080", "user-agent": "curl/8"})
    call.peer = "[::1]:57284"  # type: ignore[misc]
    call.verb, call.path, call.http_status = verb, path, status
    return call


async def test_an_http_span_is_named_by_its_route(recorded: Recorded) -> None:
    await run(recorded.tracing, http_call("/assets/a-1"))
    span = recorded.one()
    assert (span.name, span.kind, span.status.status_code) == ("GET /assets/{id}", SpanKind.SERVER, SpanStatus.UNSET)
    assert attributes_of(span) == {
        "http.request.method": "GET",
        "http.route": "/assets/{id}",
        "http.response.status_code": 200,
        "url.path": "/assets/a-1",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "cqar.internal",
        "server.port": 8080,
        "client.address": "::1",
        "client.port": 57284,
        "network.peer.address": "::1",
        "network.peer.port": 57284,
        "user_agent.original": "curl/8",
    }


@pytest.mark.parametrize(("status", "failed"), [(200, False), (404, False), (499, False), (500, True), (503, True)])
async def test_of_http_statuses_those_from_500_on_are_the_servers_fault(
    recorded: Recorded, status: int, failed: bool
) -> None:
    await run(recorded.tracing, http_call("/assets/a-1", status=status))
    span = recorded.one()
    assert attributes_of(span)["http.response.status_code"] == status
    assert attributes_of(span).get("error.type") == (str(status) if failed else None)
    assert span.status.status_code is (SpanStatus.ERROR if failed else SpanStatus.UNSET)


async def test_paths_and_verbs_that_do_not_exist_name_no_span(recorded: Recorded) -> None:
    await run(recorded.tracing, http_call("/wp-admin", verb="BREW", route="unknown", known=False, status=404))
    span = recorded.one()
    attributes = attributes_of(span)
    assert span.name == "HTTP"
    assert "http.route" not in attributes
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == ("_OTHER", "BREW")
    assert attributes["url.path"] == "/wp-admin"


def test_nothing_of_it_is_global(recorded: Recorded) -> None:
    before: MutableMapping[str, Any] = vars(trace)
    provider = trace.get_tracer_provider()
    asyncio.run(run(recorded.tracing, Given(grpc_method())))
    assert trace.get_tracer_provider() is provider
    assert before["_TRACER_PROVIDER"] is None
    assert current_call() is None


async def test_methods_made_anew_for_every_call_do_not_pile_up(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PerMethod, "MAX", 3)
    interceptor = TracingInterceptor(recorded.tracing)
    for number in range(10):
        method = grpc_method(path=f"/pkg.Greeter/Greet{number}")
        await compose([interceptor], method, lambda call: asyncio.sleep(0))(Given(method))
    assert len(interceptor._shapes) <= 3
