"""The stack that a good engineer puts together from well-known packages, one interceptor for each concern.

OpenTelemetry's instrumentation, py-async-grpc-prometheus, a line by python-json-logger, PyJWT, and errors made codes.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from prometheus_client import CollectorRegistry
from py_async_grpc_prometheus.prometheus_async_server_interceptor import PromAsyncServerInterceptor
from pythonjsonlogger.json import JsonFormatter

from tests.bench.measured import Server
from tests.bench.nowhere import Nowhere
from tests.bench.servicer import add_to

_CODES: dict[type[Exception], grpc.StatusCode] = {
    KeyError: grpc.StatusCode.NOT_FOUND,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
    PermissionError: grpc.StatusCode.PERMISSION_DENIED,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_CACHED = 1024

Around = Callable[[Any, Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Wrapping(grpc.aio.ServerInterceptor):
    """Puts a coroutine around each unary call, and around each stream as a whole."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        if handler.unary_unary is not None:
            inner = handler.unary_unary

            async def unary(request: Any, context: Any) -> Any:
                return await self.around(details, context, lambda: inner(request, context))

            return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)
        streaming = handler.unary_stream

        async def stream(request: Any, context: Any) -> Any:
            # An interceptor cannot be around an async generator with one coroutine: each passes the messages on.
            async for message in self.around_stream(details, context, streaming(request, context)):
                yield message

        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)

    async def around(self, details: Any, context: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        raise NotImplementedError

    async def around_stream(self, details: Any, context: Any, messages: Any) -> Any:
        raise NotImplementedError
        yield


class Errors(Wrapping):
    """Exceptions become codes."""

    async def around(self, details: Any, context: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await proceed()
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))

    async def around_stream(self, details: Any, context: Any, messages: Any) -> Any:
        try:
            async for message in messages:
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await context.abort(_CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))


class AccessLog(Wrapping):
    """One line of JSON for each call."""

    def __init__(self) -> None:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{"))
        self._log = logging.getLogger("bench.access")
        self._log.addHandler(handler)
        self._log.setLevel(logging.INFO)
        self._log.propagate = False

    async def around(self, details: Any, context: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        started = time.perf_counter()
        try:
            return await proceed()
        finally:
            self._write(details, context, started)

    async def around_stream(self, details: Any, context: Any, messages: Any) -> Any:
        started = time.perf_counter()
        try:
            async for message in messages:
                yield message
        finally:
            self._write(details, context, started)

    def _write(self, details: Any, context: Any, started: float) -> None:
        span = get_current_span().get_span_context()
        fields = {
            "method": details.method,
            "code": (context.code() or grpc.StatusCode.OK).name,
            "duration_ms": round((time.perf_counter() - started) * 1000, 3),
            "peer": context.peer(),
            "trace_id": format_trace_id(span.trace_id),
            "span_id": format_span_id(span.span_id),
        }
        self._log.info("grpc call completed", extra=fields)


class Auth(Wrapping):
    """Refuses calls without a token that PyJWT accepts; `remember` verifies each token once only."""

    def __init__(self, public_key: str, *, remember: bool) -> None:
        key = load_pem_public_key(public_key.encode())  # once: PEM text would be read for each call

        def verify(token: str) -> dict[str, Any]:
            return jwt.decode(token, key, algorithms=["RS256"], options={"require": ["exp", "sub"]})

        self._verify = functools.lru_cache(_CACHED)(verify) if remember else verify

    def _authenticate(self, details: Any) -> dict[str, Any] | None:
        header = next((value for name, value in details.invocation_metadata if name == "authorization"), "")
        try:
            claims = self._verify(header.removeprefix("Bearer "))
        except jwt.InvalidTokenError:
            return None
        return claims if claims["exp"] > time.time() else None

    async def around(self, details: Any, context: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if self._authenticate(details) is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid credentials")
        return await proceed()

    async def around_stream(self, details: Any, context: Any, messages: Any) -> Any:
        if self._authenticate(details) is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid credentials")
        async for message in messages:
            yield message


async def build(settings: dict[str, Any], public_key: str) -> Server:
    """Start it. Settings: `tracing`, the rate of sampling; `remember`, whether a token is verified only once."""
    rate = settings["tracing"]
    provider = TracerProvider(sampler=ALWAYS_ON if rate == 1 else ParentBased(TraceIdRatioBased(rate)))
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    server = grpc.aio.server(
        interceptors=[
            aio_server_interceptor(tracer_provider=provider),
            PromAsyncServerInterceptor(enable_handling_time_histogram=True, registry=CollectorRegistry()),
            AccessLog(),
            Auth(public_key, remember=settings["remember"]),
            Errors(),
        ]
    )
    add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def stop() -> None:
        await server.stop(None)
        provider.shutdown()

    return Server(port, stop, settle=provider.force_flush)
