"""Handlers that crash in ways that nobody foresaw: what callers are told, and what log and span."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from grpc import StatusCode
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode as SpanStatus

from chassis import ServiceChassis
from chassis.testing import running

PATIENCE = 20.0
SECRET = "資産-ΩÅ-\ud83d-canary"
"""Not even a text that could be encoded."""

REQUEST_ID = "r-4711"
# Nothing goes to this address: an exporter in memory stands in for what is there.
TRACED = {"tracing.enabled": True, "tracing.sample_rate": 1, "tracing.endpoint": "127.0.0.1:4317"}
METHODS = {"unary": "Echo", "mid-stream": "EchoStream", "from a stream": "Collect", "between streams": "Converse"}


class Unprintable(Exception):
    """One that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


def _grouped() -> BaseException:
    return BaseExceptionGroup(SECRET, [ValueError(SECRET), BaseExceptionGroup(SECRET, [GeneratorExit(SECRET)])])


CRASHES: dict[str, Any] = {
    "ValueError": lambda: ValueError(SECRET),
    "AssertionError": lambda: AssertionError(SECRET),
    "MemoryError": lambda: MemoryError(SECRET),
    "RecursionError": lambda: RecursionError(SECRET),
    "ConnectionResetError": lambda: ConnectionResetError(104, SECRET),
    "ExceptionGroup": lambda: ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)]),
    "BaseExceptionGroup": _grouped,
    "SystemExit": lambda: SystemExit(SECRET),
    "KeyboardInterrupt": lambda: KeyboardInterrupt(SECRET),
    "GeneratorExit": lambda: GeneratorExit(SECRET),
    "StopAsyncIteration": lambda: StopAsyncIteration(SECRET),
    "a grpc error of its own": lambda: grpc.RpcError(SECRET),
    "one that cannot be shown": Unprintable,
}


class Crashing(ServiceChassis, rpc.EchoServiceServicer):
    name = "crashing"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.collector = self._assembly.tracing._exporter = InMemorySpanExporter()

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_EchoServiceServicer_to_server(self, server)

    async def Echo(self, request: Any, context: Any) -> Any:
        if request.text:
            raise CRASHES[request.text]()
        return pb.EchoReply(text="alive")

    async def EchoStream(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:  # type: ignore[override]
        yield pb.EchoReply(text="first")
        raise CRASHES[request.text]()

    async def Collect(self, request_iterator: Any, context: Any) -> Any:
        async for request in request_iterator:
            raise CRASHES[request.text]()

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.EchoReply]:  # type: ignore[override]
        async for request in request_iterator:
            yield pb.EchoReply(text="first")
            raise CRASHES[request.text]()


def _called(address: str, method: str, crash: str) -> tuple[list[str], grpc.RpcError]:
    """Call by the synchronous client: grpc's aio client reports some streams that fail as something else."""
    request = pb.EchoRequest(text=crash)
    texts: list[str] = []
    with grpc.insecure_channel(address) as channel:
        call = getattr(rpc.EchoServiceStub(channel), method)
        given: Any = iter([request]) if method in ("Collect", "Converse") else request
        try:
            answer = call(given, metadata=[("x-request-id", REQUEST_ID)], timeout=PATIENCE)
            for reply in answer if method in ("EchoStream", "Converse") else [answer]:
                texts.append(reply.text)
        except grpc.RpcError as error:
            return texts, error
    raise AssertionError("the call went well")


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("crash", CRASHES)
async def test_callers_are_told_an_id_and_the_log_has_the_rest(
    crash: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    method = METHODS[kind]
    async with running(Crashing, TRACED) as service:
        texts, error = await asyncio.to_thread(_called, service.service.grpc_address, method, crash)
        stub: Any = rpc.EchoServiceStub(service.channel())
        assert (await stub.Echo(pb.EchoRequest(), timeout=PATIENCE)).text == "alive"
        path = f"/cqi.testing.v1.EchoService/{method}"
        labels = {"method": path, "status_code": "INTERNAL"}
        assert service.service.metrics.value("crashing_grpc_calls_total", **labels) == 1

    seen: Any = error
    assert seen.code() is StatusCode.INTERNAL
    assert seen.details() == f"internal error; ask for it by request id {REQUEST_ID}"
    assert "canary" not in repr(seen.trailing_metadata())
    assert texts == (["first"] if method in ("EchoStream", "Converse") else [])
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["level"] == "error"]
    assert (line["request_id"], line["method"], line["code"]) == (REQUEST_ID, path, "INTERNAL")
    assert method in line["stack"]
    _is_told_as_a_crash(service.service.collector, path)


def _is_told_as_a_crash(collector: InMemorySpanExporter, path: str) -> None:
    """The span says INTERNAL, and what the exception says is nowhere but in its event."""
    (span,) = [
        span
        for span in collector.get_finished_spans()
        if span.kind is SpanKind.SERVER and span.name == path[1:] and span.status.status_code is not SpanStatus.UNSET
    ]
    attributes = dict(span.attributes or {})
    assert (attributes["rpc.response.status_code"], attributes["error.type"]) == ("INTERNAL", "INTERNAL")
    assert span.status.status_code is SpanStatus.ERROR
    assert span.status.description == f"internal error; ask for it by request id {REQUEST_ID}"
    (event,) = span.events
    assert event.name == "exception"
    assert dict(event.attributes or {}).keys() == {"exception.type", "exception.message", "exception.stacktrace"}
    assert "canary" not in f"{span.name} {attributes} {span.resource.attributes} {span.links}"
