"""Interceptors on calls going out: grpc.aio's four client parts around one composed chain."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

import grpc
from grpc import StatusCode
from grpc.aio import AioRpcError, ClientCallDetails

from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose, current_call

Continuation = Callable[[ClientCallDetails, Any], Awaitable[Any]]


class OutgoingCall(Call):
    """A call going out over gRPC; `metadata` is what will be sent, beside what the caller's code gave itself."""

    __slots__ = ("_continuation", "_details", "rpc", "started_rpc")

    ends_in_time = True

    def __init__(self, method: Method, continuation: Continuation, details: ClientCallDetails, request: Any) -> None:
        timeout = details.timeout
        deadline = timeout if timeout is None or timeout == math.inf else time.monotonic() + timeout
        metadata = {name: value for name, value in details.metadata or () if isinstance(value, str)}
        super().__init__(method, None, request, current_call(), metadata, deadline)
        self._continuation = continuation
        self._details = details
        self.rpc: Any = None
        self.started_rpc: asyncio.Future[Any] | None = None

    def code_of(self, error: BaseException) -> StatusCode:
        if isinstance(error, AioRpcError):
            return error.code()
        return super().code_of(error)

    async def begin(self) -> Any:
        """Start the RPC with what the concerns have decided; called once a try.

        A call with a stream has one try: what was sent or read already cannot be taken back. Another ends as the first.
        """
        if self.rpc is not None and self.method.kind is not Kind.UNARY_UNARY:
            raise self.error or RuntimeError(f"{self.method.path} has streams and was called already")
        given = tuple(self._details.metadata or ())
        names = {name for name, _ in given}
        added = ((name, value) for name, value in self.metadata.items() if name not in names)
        deadline = self.deadline
        self.rpc = await self._continuation(
            ClientCallDetails(
                method=self._details.method,
                timeout=None if deadline is None or deadline == math.inf else max(deadline - time.monotonic(), 0),
                metadata=grpc.aio.Metadata(*given, *added),
                credentials=self._details.credentials,
                wait_for_ready=self._details.wait_for_ready,
            ),
            self._raw,
        )
        if self.started_rpc is not None and not self.started_rpc.done():
            self.started_rpc.set_result(self.rpc)
        return self.rpc


class _Part:
    """What the four parts share: one chain for each method, composed when it is first called."""

    kind: Kind

    def __init__(self, interceptors: Sequence[Interceptor], target: str, running: set[asyncio.Future[Any]]) -> None:
        self._interceptors = tuple(interceptors)
        self._target = target
        self._composed: dict[Any, tuple[Method, Proceed]] = {}
        # Chains of streams live in tasks of their own, and asyncio holds tasks only weakly.
        self._running = running

    def _method(self, path: Any) -> tuple[Method, Proceed]:
        composed = self._composed.get(path)
        if composed is None:
            text = path.decode() if isinstance(path, bytes) else path
            method = Method.grpc(text, self.kind, "client", self._target)
            innermost = _until_over if self.kind.response_streaming else _until_answered
            composed = self._composed[path] = (method, compose(self._interceptors, method, innermost))
        return composed

    async def _begin(self, continuation: Continuation, details: ClientCallDetails, request: Any) -> tuple[Any, Any]:
        """Run the chain beside the caller, who needs the RPC before it is over; returns both."""
        method, chain = self._method(details.method)
        call = OutgoingCall(method, continuation, details, request)
        started = call.started_rpc = asyncio.get_running_loop().create_future()
        over = asyncio.ensure_future(chain(call))
        self._running.add(over)
        over.add_done_callback(self._ended)
        try:
            await asyncio.wait({started, over}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            over.cancel()
            raise
        if not started.done():
            started.cancel()
            over.result()  # rejected by a concern: raises what it raised
            raise TypeError(
                f"an interceptor answered {method.path} by itself, which has streams: it can only reject it"
            )
        return call.rpc, over

    def _ended(self, over: asyncio.Future[Any]) -> None:
        self._running.discard(over)
        # Read by whoever reads the stream; where nobody does, asyncio shall not complain.
        if not over.cancelled():
            over.exception()


async def _until_answered(call: Any) -> Any:
    rpc = await call.begin()
    await rpc
    return rpc


async def _until_over(call: Any) -> Any:
    rpc = await call.begin()
    try:
        code = await rpc.code()
    except asyncio.CancelledError:
        rpc.cancel()
        raise
    if code is not StatusCode.OK:
        # The other side's CANCELLED is an answer; gRPC's core has a word on it, and none on what was cancelled here.
        if code is StatusCode.CANCELLED and not await rpc.debug_error_string():
            raise asyncio.CancelledError
        raise AioRpcError(code, await rpc.initial_metadata(), await rpc.trailing_metadata(), await rpc.details())
    return rpc


class _UnaryUnary(_Part, grpc.aio.UnaryUnaryClientInterceptor):
    kind = Kind.UNARY_UNARY

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        method, chain = self._method(client_call_details.method)
        return await chain(OutgoingCall(method, continuation, client_call_details, request))


class _UnaryStream(_Part, grpc.aio.UnaryStreamClientInterceptor):
    kind = Kind.UNARY_STREAM

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return _read(*await self._begin(continuation, client_call_details, request))


class _StreamUnary(_Part, grpc.aio.StreamUnaryClientInterceptor):
    kind = Kind.STREAM_UNARY

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return _Answer(*await self._begin(continuation, client_call_details, request_iterator))


class _StreamStream(_Part, grpc.aio.StreamStreamClientInterceptor):
    kind = Kind.STREAM_STREAM

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return _read(*await self._begin(continuation, client_call_details, request_iterator))


async def _read(rpc: Any, over: asyncio.Future[Any]) -> AsyncIterator[Any]:
    """The stream as its reader sees it; ends as the chain ended, with its error and not with grpc's."""
    try:
        try:
            async for message in rpc:
                yield message
        except AioRpcError:
            await over
            raise
        await over
    finally:
        # Left early: the RPC would go on, and be held, until its deadline.
        if not over.done():
            rpc.cancel()


class _Answer:
    """A call whose requests are still being written, and whose reply is the chain's result."""

    def __init__(self, rpc: Any, over: asyncio.Future[Any]) -> None:
        self._rpc = rpc
        self._over = over

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)

    def __await__(self) -> Generator[Any, None, Any]:
        rpc = yield from self._over.__await__()
        return (yield from rpc.__await__())


def client_interceptors(interceptors: Sequence[Interceptor], target: str = "") -> list[grpc.aio.ClientInterceptor]:
    """The same interceptors for `grpc.aio.insecure_channel(target, interceptors=…)`, outermost first.

    `target` is what the channel is opened to, for log lines and spans.

    A class that is all four kinds at once would be registered by grpc.aio for unary-unary calls alone.
    """
    running: set[asyncio.Future[Any]] = set()
    return [part(interceptors, target, running) for part in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
