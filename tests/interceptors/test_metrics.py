from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from chassis.call import Call, Kind, Method, TraceContext, compose
from chassis.errors import NotFound, PermissionDenied, Unauthorized
from chassis.metrics import Metrics
from interceptors.client import client_interceptors
from interceptors.metrics import MetricsInterceptor

PATH = "/pkg.Greeter/Greet"
TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("svc")


def grpc_method(side: Any = "server", path: str = PATH) -> Method:
    return Method.grpc(path, Kind.UNARY_UNARY, side)


def event_method(name: str) -> Method:
    return Method("event", "client" if name == "publish" else "server", "orders.placed", "memory", name, Kind.EVENT)


def http_method(path: str = "/assets/{id}", verb: str = "GET", *, known: bool = True) -> Method:
    return Method("http", "server", path, "", verb, Kind.UNARY_UNARY, known=known)


async def run(metrics: Metrics, call: Call, ending: BaseException | None = None) -> None:
    async def handler(call: Call) -> str:
        if ending is not None:
            raise ending
        return "done"

    chain = compose([MetricsInterceptor(metrics)], call.method, handler)
    if ending is None:
        assert await chain(call) == "done"
    else:
        with pytest.raises(type(ending)) as caught:
            await chain(call)
        assert caught.value is ending


# Served and made RPCs, handled events: one counter and one histogram by code.

ENDINGS = [
    (None, "OK"),
    (NotFound("no such asset"), "NOT_FOUND"),
    (Unauthorized("who are you?"), "UNAUTHENTICATED"),
    (KeyError("a crash"), "INTERNAL"),
    (asyncio.CancelledError(), "CANCELLED"),
    (SystemExit(3), "INTERNAL"),
]
BY_CODE = [
    (grpc_method(), "svc_grpc_calls_total", "svc_grpc_call_duration_seconds", {"method": PATH}),
    (grpc_method("client"), "svc_grpc_client_calls_total", "svc_grpc_client_call_duration_seconds", {"method": PATH}),
    (
        event_method("process"),
        "svc_event_handled_total",
        "svc_event_handle_duration_seconds",
        {"topic": "orders.placed"},
    ),
]


@pytest.mark.parametrize(("ending", "code"), ENDINGS, ids=[code for _, code in ENDINGS])
@pytest.mark.parametrize(("method", "counter", "duration", "labels"), BY_CODE, ids=[row[1] for row in BY_CODE])
async def test_each_ending_is_counted_and_timed_once_under_its_code(
    metrics: Metrics,
    method: Method,
    counter: str,
    duration: str,
    labels: dict[str, str],
    ending: BaseException | None,
    code: str,
) -> None:
    call = Call(method)
    await run(metrics, call, ending)
    assert call.code.name == code
    assert metrics.value(counter, **labels, status_code=code) == 1
    assert metrics.value(f"{duration}_count", **labels, status_code=code) == 1
    assert metrics.value(f"{duration}_sum", **labels, status_code=code) == call.duration
    page = metrics.exposition()[1].decode()
    assert len([line for line in page.splitlines() if line.startswith(f"{counter}{{")]) == 1


@pytest.mark.parametrize("ending", [None, NotFound("x"), asyncio.CancelledError()])
@pytest.mark.parametrize(
    ("method", "gauge", "labels"),
    [
        (grpc_method(), "svc_grpc_calls_in_flight", {"method": PATH}),
        (event_method("process"), "svc_event_in_flight", {"topic": "orders.placed"}),
    ],
)
async def test_calls_are_in_flight_until_they_end(
    metrics: Metrics, method: Method, gauge: str, labels: dict[str, str], ending: BaseException | None
) -> None:
    seen: list[float | None] = []

    async def handler(call: Call) -> None:
        seen.append(metrics.value(gauge, **labels))
        if ending is not None:
            raise ending

    # Two interceptors on the same metrics, as on two servers of one service, add up.
    inner = compose([MetricsInterceptor(metrics)], method, handler)
    chain = compose([MetricsInterceptor(metrics)], method, lambda call: inner(Call(method)))
    (ended,) = await asyncio.gather(chain(Call(method)), return_exceptions=True)
    assert type(ended) is type(ending)
    assert seen == [2]
    assert metrics.value(gauge, **labels) == 0


async def test_methods_that_do_not_exist_share_one_label(metrics: Metrics) -> None:
    interceptor = MetricsInterceptor(metrics)

    async def refuse(call: Call) -> None:
        raise NotFound("no such method")

    for number in range(10_000):
        method = Method("grpc", "server", f"/hostile/{number}", "", "", Kind.STREAM_STREAM, known=False)
        with pytest.raises(NotFound):
            await compose([interceptor], method, refuse)(Call(method))
    assert metrics.value("svc_grpc_calls_total", method="unknown", status_code="NOT_FOUND") == 10_000
    assert b"hostile" not in metrics.exposition()[1]


async def test_methods_made_anew_for_every_call_keep_their_series(metrics: Metrics) -> None:
    interceptor = MetricsInterceptor(metrics)

    async def handler(call: Call) -> None:
        pass

    for _ in range(5_000):
        method = grpc_method()
        await compose([interceptor], method, handler)(Call(method))
    assert metrics.value("svc_grpc_calls_total", method=PATH, status_code="OK") == 5_000
    assert metrics.value("svc_grpc_calls_in_flight", method=PATH) == 0


@pytest.mark.parametrize("error", [Unauthorized("who?"), PermissionDenied("no")])
async def test_refused_strangers_are_counted_over_all_methods(metrics: Metrics, error: Exception) -> None:
    for path in ("/a/B", "/a/C"):
        await run(metrics, Call(grpc_method(path=path)), error)
    await run(metrics, Call(grpc_method("client")), error)
    await run(metrics, Call(grpc_method()), NotFound("x"))
    code = error.code.name  # type: ignore[attr-defined]
    assert metrics.value("svc_auth_failures_total", system="grpc", status_code=code) == 2
    page = metrics.exposition()[1].decode()
    assert len([line for line in page.splitlines() if line.startswith("svc_auth_failures_total{")]) == 1


@pytest.mark.parametrize("sampled", [True, False])
async def test_a_recorded_trace_is_the_exemplar_of_its_duration(metrics: Metrics, sampled: bool) -> None:
    for method in (grpc_method(), grpc_method("client"), event_method("process"), event_method("publish")):
        call = Call(method)
        call.trace = TRACE._replace(sampled=sampled)
        await run(metrics, call)
    _, page = metrics.exposition("application/openmetrics-text; version=1.0.0")
    exemplars = [
        sample.exemplar.labels
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.exemplar
    ]
    assert exemplars == ([{"trace_id": TRACE.trace_id}] * 4 if sampled else [])


# Publishing.


async def test_published_events_and_errors_are_told_apart(metrics: Metrics) -> None:
    for ending in (None, None, NotFound("no stream")):
        await run(metrics, Call(event_method("publish")), ending)
    assert metrics.value("svc_event_published_total", topic="orders.placed") == 2
    assert metrics.value("svc_event_publish_errors_total", topic="orders.placed", status_code="NOT_FOUND") == 1
    assert metrics.value("svc_event_publish_duration_seconds_count", topic="orders.placed") == 3


# HTTP.


class Request(Call):
    """What the HTTP edge offers beside the facts of every call."""

    def __init__(self, method: Method, status: int, received: int | None, sent: int | None) -> None:
        super().__init__(method)
        self.http_status = status
        self.request_size = received
        self.response_size = sent


async def test_http_requests_are_recorded_by_route_and_status_with_their_sizes(metrics: Metrics) -> None:
    method = http_method()
    await run(metrics, Request(method, 200, 50, 1_500))
    await run(metrics, Request(method, 200, None, None))
    await run(metrics, Request(method, 404, 150, 90), NotFound("no such asset"))
    route = {"method": "GET", "path": "/assets/{id}"}
    assert metrics.value("svc_http_requests_total", **route, status_code="200") == 2
    assert metrics.value("svc_http_requests_total", **route, status_code="404") == 1
    assert metrics.value("svc_http_request_duration_seconds_count", **route, status_code="200") == 2
    assert metrics.value("svc_http_request_size_bytes_sum", **route) == 200
    assert metrics.value("svc_http_request_size_bytes_bucket", **route, le="100.0") == 1
    assert metrics.value("svc_http_response_size_bytes_count", **route, status_code="200") == 1
    assert metrics.value("svc_http_response_size_bytes_sum", **route, status_code="200") == 1_500
    assert metrics.value("svc_http_response_size_bytes_sum", **route, status_code="404") == 90


async def test_http_paths_and_verbs_that_do_not_exist_share_one_label(metrics: Metrics) -> None:
    for path, verb in (("/a", "GET"), ("/b", "GET"), ("/c", "HACK"), ("/d", "H4CK"), ("/e", "unknown")):
        await run(metrics, Request(http_method(path, verb, known=False), 404, None, 0), NotFound("no such page"))
    assert metrics.value("svc_http_requests_total", method="unknown", path="unknown", status_code="404") == 5


async def test_refused_http_requests_are_counted(metrics: Metrics) -> None:
    await run(metrics, Request(http_method(), 401, None, 30), Unauthorized("who?"))
    assert metrics.value("svc_auth_failures_total", system="http", status_code="UNAUTHENTICATED") == 1


# Where it applies.


def test_it_is_not_there_at_all_when_metrics_are_off() -> None:
    interceptor = MetricsInterceptor(Metrics("svc", enabled=False))
    assert not any(interceptor.applies(method) for method in (grpc_method(), grpc_method("client"), http_method()))


def test_it_leaves_alone_what_the_catalogue_has_nothing_for(metrics: Metrics) -> None:
    method = Method("http", "client", "https://example.org", "", "GET", Kind.UNARY_UNARY)
    assert not MetricsInterceptor(metrics).applies(method)


def test_health_is_counted_where_it_is_asked_and_not_where_it_is_watched(metrics: Metrics) -> None:
    health, reflection = "/grpc.health.v1.Health", "/grpc.reflection.v1.ServerReflection"
    watch = Method.grpc(f"{health}/Watch", Kind.UNARY_STREAM, "server")
    others = [
        Method.grpc(f"{health}/Check", Kind.UNARY_UNARY, "server"),
        Method.grpc(f"{reflection}/ServerReflectionInfo", Kind.STREAM_STREAM, "server"),
        Method.grpc("/pkg.Prices/Watch", Kind.UNARY_STREAM, "server"),
    ]
    interceptor = MetricsInterceptor(metrics)
    assert [interceptor.applies(method) for method in (watch, *others)] == [False, True, True, True]


# Alone on a plain server and a plain channel: all four kinds, both handler styles.


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Behaviours by path, on bytes."""

    def __init__(self, **behaviours: Callable[..., Any]) -> None:
        self._handlers = {
            f"/pkg.Echo/{name}": make(behaviour)
            for name, behaviour in behaviours.items()
            for make in (getattr(grpc, f"{name.rpartition('__')[0].lower()}_rpc_method_handler"),)
        }

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


@asynccontextmanager
async def serving(metrics: Metrics, **behaviours: Callable[..., Any]) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[MetricsInterceptor(metrics)])
    server.add_generic_rpc_handlers([Handlers(**behaviours)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    interceptors = client_interceptors([MetricsInterceptor(metrics)])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
        try:
            yield channel
        finally:
            await server.stop(None)


async def read_all(responses: Any) -> int:
    return len([response async for response in responses])


async def requests() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"request"


async def unary_unary(request: bytes, context: Any) -> bytes:
    return request


async def unary_stream_generating(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for _ in range(3):
        yield request


async def unary_stream_writing(request: bytes, context: Any) -> None:
    for _ in range(3):
        await context.write(request)


async def stream_unary(stream: AsyncIterator[bytes], context: Any) -> bytes:
    return b"".join([request async for request in stream])


async def stream_stream(stream: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in stream:
        yield request


async def test_a_stream_counts_once_on_both_sides(metrics: Metrics) -> None:
    async with serving(
        metrics,
        unary_unary__a=unary_unary,
        unary_stream__generating=unary_stream_generating,
        unary_stream__writing=unary_stream_writing,
        stream_unary__a=stream_unary,
        stream_stream__a=stream_stream,
    ) as channel:
        assert await channel.unary_unary("/pkg.Echo/unary_unary__a")(b"x") == b"x"
        assert await read_all(channel.unary_stream("/pkg.Echo/unary_stream__generating")(b"x")) == 3
        assert await read_all(channel.unary_stream("/pkg.Echo/unary_stream__writing")(b"x")) == 3
        assert len(await channel.stream_unary("/pkg.Echo/stream_unary__a")(requests())) == 21
        assert await read_all(channel.stream_stream("/pkg.Echo/stream_stream__a")(requests())) == 3
    for name in (
        "unary_unary__a",
        "unary_stream__generating",
        "unary_stream__writing",
        "stream_unary__a",
        "stream_stream__a",
    ):
        for counter in ("svc_grpc_calls_total", "svc_grpc_client_calls_total"):
            assert metrics.value(counter, method=f"/pkg.Echo/{name}", status_code="OK") == 1
        assert metrics.value("svc_grpc_calls_in_flight", method=f"/pkg.Echo/{name}") == 0


async def test_the_code_on_the_wire_is_the_code_that_is_counted(metrics: Metrics) -> None:
    async def abort(request: bytes, context: Any) -> bytes:
        await context.abort(StatusCode.ABORTED, "lost a race")
        return b""

    async def set_code(request: bytes, context: Any) -> bytes:
        context.set_code(StatusCode.RESOURCE_EXHAUSTED)
        return b""

    async def crash(request: bytes, context: Any) -> bytes:
        raise KeyError("crash")

    async def stream_and_abort(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await context.abort(StatusCode.OUT_OF_RANGE, "no more")

    behaviours: dict[str, Callable[..., Any]] = {
        "unary_unary__abort": abort,
        "unary_unary__set_code": set_code,
        "unary_unary__crash": crash,
        "unary_stream__abort": stream_and_abort,
    }
    async with serving(metrics, **behaviours) as channel:
        for name in (*behaviours, "unary_unary__missing"):
            path = f"/pkg.Echo/{name}"
            calling = channel.unary_unary(path)(b"x") if name.startswith("unary_unary") else None
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (calling or read_all(channel.unary_stream(path)(b"x")))
            code = caught.value.code().name
            label = "unknown" if name == "unary_unary__missing" else path
            # What aborts has the answer sent before it is over.
            while (counted := metrics.value("svc_grpc_calls_total", method=label, status_code=code)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert counted == 1
            assert metrics.value("svc_grpc_client_calls_total", method=path, status_code=code) == 1
    assert metrics.value("svc_grpc_calls_total", method="unknown", status_code="UNIMPLEMENTED") == 1


async def test_a_call_that_the_client_cancels_is_counted_as_cancelled(metrics: Metrics) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(metrics, unary_unary__wait=wait) as channel:
        call = channel.unary_unary("/pkg.Echo/unary_unary__wait")(b"x")
        task = asyncio.ensure_future(call)
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()
    assert metrics.value("svc_grpc_calls_total", method="/pkg.Echo/unary_unary__wait", status_code="CANCELLED") == 1
    assert metrics.value("svc_grpc_calls_in_flight", method="/pkg.Echo/unary_unary__wait") == 0
