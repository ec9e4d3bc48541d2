"""What is put around the echo service: each interceptor alone, and all of them, in each way that there is to do so."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Interceptor
from chassis.limits import TokenBucket
from chassis.server import GrpcServer
from chassis.testing.echo import EchoServicer, WritingEchoServicer
from interceptors import (
    AuthInterceptor,
    DeadlineInterceptor,
    ErrorsInterceptor,
    IdentityInterceptor,
    LoggingInterceptor,
    MetricsInterceptor,
    RateLimitInterceptor,
    RecoveryInterceptor,
    RequestIdInterceptor,
    Rule,
    TracingInterceptor,
    ValidationInterceptor,
    behind_auth,
    default_stack,
)
from tests.matrix.records import OBSERVERS, Observed

TOKEN = "the-key-of-the-matrix-tests"
STYLES = {"generators": EchoServicer, "context": WritingEchoServicer}


def authenticator() -> ApiKeyAuthenticator:
    """Knows one caller."""
    return ApiKeyAuthenticator({"matrix": [TOKEN]})


@dataclass(frozen=True)
class Stack:
    """Interceptors around the service; `make` gets the observers and the authenticator, if there is one."""

    name: str
    make: Callable[[Observed, ApiKeyAuthenticator | None], Sequence[Interceptor]]
    present: tuple[str, ...] = ()
    composed: bool = False  # by the chassis' own server, or given to a plain one

    def __str__(self) -> str:
        return self.name


def _alone(name: str, make: Callable[[Observed], Interceptor], *present: str) -> Stack:
    def stack(observed: Observed, known: ApiKeyAuthenticator | None) -> Sequence[Interceptor]:
        return [make(observed)] if known is None else [make(observed), AuthInterceptor(known)]

    return Stack(f"{name} alone", stack, present)


def _generous() -> RateLimitInterceptor:
    return RateLimitInterceptor(Rule(TokenBucket(rate=1000, burst=1000)))


def full(observed: Observed, known: ApiKeyAuthenticator | None) -> Sequence[Interceptor]:
    """All there are, in the order of the one list."""
    stack = default_stack(
        tracing=observed.tracing,
        metrics=observed.metrics,
        logs=observed.logs,
        authenticator=known,
        identity=IdentityInterceptor(),
    )
    return behind_auth(stack, _generous(), ValidationInterceptor())


AUTH_ALONE = Stack("auth alone", lambda observed, known: [AuthInterceptor(known or authenticator())])
STACKS = [
    _alone("recovery", lambda observed: RecoveryInterceptor()),
    _alone("tracing", lambda observed: TracingInterceptor(observed.tracing), "span"),
    _alone("metrics", lambda observed: MetricsInterceptor(observed.metrics), "metric"),
    _alone("logging", lambda observed: LoggingInterceptor(observed.logs), "log"),
    _alone("deadline", lambda observed: DeadlineInterceptor()),
    _alone("identity", lambda observed: IdentityInterceptor()),
    _alone("rate limit", lambda observed: _generous()),
    _alone("validation", lambda observed: ValidationInterceptor()),
    _alone("request id", lambda observed: RequestIdInterceptor()),
    _alone("errors", lambda observed: ErrorsInterceptor()),
    Stack("full stack", full, OBSERVERS, composed=True),
    Stack("full stack one by one", full, OBSERVERS),
]


class Witness(grpc.aio.ServerInterceptor):
    """Not one of ours: outside of everything, it only knows whether calls are worked on."""

    def __init__(self) -> None:
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until all calls are over, and so recorded."""
        await self._idle.wait()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        kind = next(kind for kind in _FACTORIES if getattr(handler, kind) is not None)
        behaviour = getattr(handler, kind)

        async def watched(request: Any, context: Any) -> Any:
            with self._watching():
                return await behaviour(request, context)

        async def watched_stream(request: Any, context: Any) -> Any:
            with self._watching():
                async for reply in behaviour(request, context):
                    yield reply

        watching = watched_stream if inspect.isasyncgenfunction(behaviour) else watched
        return _FACTORIES[kind](watching, handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


_FACTORIES: dict[str, Any] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class Served:
    """The echo service with interceptors around it, listening."""

    def __init__(self, interceptors: Iterable[Interceptor], servicer: Any, *, composed: bool) -> None:
        self.address = ""
        self._interceptors = list(interceptors)
        self._servicer = servicer
        self._composed: GrpcServer | None = None
        self._plain: grpc.aio.Server | None = None
        self._witness = Witness()
        if composed:
            self._composed = GrpcServer(self._register, self._interceptors, grace=0.2)

    def _register(self, server: Any) -> None:
        rpc.add_EchoServiceServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Listen on a free port."""
        if self._composed is not None:
            await self._composed.start()
            self.address = self._composed.address
            return
        given: list[Any] = [self._witness, *self._interceptors]
        self._plain = grpc.aio.server(interceptors=given, options=[("grpc.so_reuseport", 0)])
        self._register(self._plain)
        port = self._plain.add_insecure_port("127.0.0.1:0")
        await self._plain.start()
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """End, at once."""
        if self._composed is not None:
            await self._composed.stop()
        if self._plain is not None:
            await self._plain.stop(0)

    async def idle(self) -> None:
        """Wait until all calls are over, and so recorded."""
        if self._composed is not None:
            await asyncio.wait_for(self._composed._serving.idle(), 10)
        else:
            await asyncio.wait_for(self._witness.idle(), 10)
