from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class Span(NamedTuple):
    """One span as it was sent."""

    span_id: str
    parent_id: str
    service: str
    kind: str
    name: str
    start: int
    end: int

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


class Collector:
    """Where the demo's spans go: OTLP over gRPC, as Jaeger, Tempo or an OpenTelemetry collector take them."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = defaultdict(list)
        self._arrived = asyncio.Condition()
        self._server = grpc.aio.server()
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # generated without types
        register(self, self._server)

    async def __aenter__(self) -> Collector:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    async def Export(self, request: Any, context: object) -> Any:
        """Take spans; OTLP's only method."""
        async with self._arrived:
            for resource in request.resource_spans:
                attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._spans[span.trace_id.hex()].append(
                            Span(
                                span.span_id.hex(),
                                span.parent_span_id.hex(),
                                attributes.get("service.name", "?"),
                                _KINDS.get(span.kind, "?"),
                                span.name,
                                span.start_time_unix_nano,
                                span.end_time_unix_nano,
                            )
                        )
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    async def trace(self, trace_id: str, *, services: set[str], spans: int, timeout: float) -> list[Span]:
        """Wait until a trace has this many spans, of all these services and all within one; raises TimeoutError."""

        def complete() -> bool:
            found = self._spans[trace_id]
            # Spans come as they are gathered, and not in the order of their ends.
            known = {span.span_id for span in found}
            outermost = [span for span in found if span.parent_id not in known]
            return len(found) >= spans and services <= {span.service for span in found} and len(outermost) == 1

        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(complete)
        return list(self._spans[trace_id])
