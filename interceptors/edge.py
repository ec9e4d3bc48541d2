"""The edge of a served RPC: between gRPC's own context and the composed chain, and the only place that answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Self

from grpc import StatusCode
from grpc.aio import EOF, AbortError, BaseError

from chassis.call import Call, Method, Proceed, enter, is_cancelled
from chassis.errors import Cancelled, ChassisError, Undecodable, classify
from interceptors.status import message_of, sendable, trailers_of

# A client measures its deadline from its own start, and the time it sends is rounded up by as much as 1 %: it gives up
# a little before the deadline that is seen here, and by as much more as its request took to get here. A cancellation
# this close to the deadline (seconds, or a share of the whole time) is its end.
_ON_THE_WAY = 0.05
_ROUNDED_BY = 0.01

Received = Sequence[tuple[str, str | bytes]]

ReceivedMetadata = tuple[dict[str, str], Received | None, int]
"""The first text of each name; all that came, where that is more; and its size as HTTP/2 counts it."""

told_metadata: ContextVar[ReceivedMetadata] = ContextVar("chassis_metadata")
"""What was read of a call's metadata to find its handler: reading all of it anew would cost as much again."""

# What a header costs beside its name and value (RFC 9113, section 6.5.2).
_OF_EACH_HEADER = 32

_NOTHING_LEFT: tuple[Any, ...] = ()  # by the end of a chain, all replies are written


class Serving:
    """The calls that a server is working on, and whether it has begun to cut off those that did not end in time.

    `max_reply_bytes` is what the server was told to send at most in one message; gRPC itself would find out only after
    everyone has recorded OK. `tells_metadata` says that whoever finds the handlers sets `told_metadata`.
    """

    __slots__ = ("calls", "cut", "max_reply_bytes", "tells_metadata", "waiting")

    def __init__(self, max_reply_bytes: float = math.inf) -> None:
        self.tells_metadata = False
        self.calls: set[Call] = set()
        self.cut = False
        self.max_reply_bytes = max_reply_bytes
        self.waiting: asyncio.Event | None = None  # for the last call to be over

    async def idle(self) -> None:
        """Wait until no call is worked on. gRPC's own stop does not wait for handlers that it cancelled."""
        self.waiting = asyncio.Event()
        if self.calls:
            await self.waiting.wait()


class ClientGone(asyncio.CancelledError):
    """The client went away, or its deadline passed: there is nobody left to answer."""


class ServedCall(Call):
    """A call that came in over gRPC; `transport` is gRPC's own ServicerContext."""

    __slots__ = ("decode", "repeats", "serving")

    ends_in_time = True

    # Given by the edge, and not to the constructor: one of its own would be one more function for every call.
    decode: Callable[[bytes], Any] | None  # what makes the request of its bytes; None when it is made
    serving: Serving
    repeats: Received | None  # all metadata, where it says more than that of the call

    @property
    def request(self) -> Any:
        decode = self.decode
        if decode is not None:
            try:
                self._raw = decode(self._raw)
            except Exception as error:
                raise undecodable(self.method) from error
            self.decode = None
        return self._raw

    def values(self, name: str) -> list[str]:
        value = self.metadata.get(name)
        if value is None:
            return []
        if self.repeats is None:
            return [value]
        return [value for key, value in self.repeats if key == name and isinstance(value, str)]

    @property
    def peer(self) -> str:
        # Once the call is over, gRPC has freed what the context would look at, and looking would end the process.
        return str(self.transport.peer()) if self in self.serving.calls else ""

    def code_of(self, error: BaseException) -> StatusCode:
        # Whatever a handler raises while it is being cancelled, the client has its status already.
        if not isinstance(error, asyncio.CancelledError) and not is_cancelled():
            return super().code_of(error)
        if self.serving.cut:
            return StatusCode.UNAVAILABLE
        remaining = self.time_remaining()
        if remaining is not None:
            total = remaining + time.perf_counter() - self.started
            if remaining <= _ON_THE_WAY + total * _ROUNDED_BY:
                return StatusCode.DEADLINE_EXCEEDED
        return StatusCode.CANCELLED


def read_metadata(received: Received | None) -> ReceivedMetadata:
    """Metadata as a call has it, and what it takes, from what gRPC tells."""
    received = received or ()
    metadata: dict[str, Any] = dict(received)
    count = len(received)
    if len(metadata) == count:
        # Texts, and each once, as of nearly all calls: what costs least that says so, and how long they are.
        try:
            return metadata, None, len("".join(metadata)) + len("".join(metadata.values())) + _OF_EACH_HEADER * count
        except TypeError:
            pass  # bytes are among them
    metadata = dict(reversed(received))
    if bytes in map(type, metadata.values()):
        metadata = {name: value for name, value in metadata.items() if isinstance(value, str)}
    size = sum(map(len, itertools.chain.from_iterable(received))) + _OF_EACH_HEADER * len(received)
    return metadata, received if len(metadata) < len(received) else None, size


class Requests:
    """A stream of requests, that ends only if its caller ended it."""

    __slots__ = ("_context", "_ended", "_messages")

    def __init__(self, messages: Any, context: Any) -> None:
        self._messages = messages
        self._context = context
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._messages.__anext__()
        except StopAsyncIteration:
            await self._be_sure()
            raise

    async def read(self) -> Any:
        """What gRPC's `context.read()` gives, EOF only where this is so."""
        message = await self._context.read()
        if message is EOF and not self._ended:
            await self._be_sure()
        return message

    async def _be_sure(self) -> None:
        # grpc.aio ends the stream in the same way when the caller is gone, and tells the difference, by cancelling,
        # a moment later. Until one more read has come back it has told.
        await self._context.read()
        self._ended = True


class StreamContext:
    """gRPC's context for who is given `Requests`, but for `read`, which is theirs."""

    __slots__ = ("_context", "read", "write")

    def __init__(self, context: Any, requests: Requests) -> None:
        self._context = context
        self.read = requests.read
        self.write = context.write  # which is called for each reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def undecodable(method: Method) -> Undecodable:
    """What is said of bytes that are no request."""
    return Undecodable(f"the request is no valid message for {method.path}")


def edge(
    chain: Proceed, method: Method, decode: Callable[[bytes], Any] | None, serving: Serving
) -> Callable[[Any, Any], Any]:
    """The function that gRPC calls for each request of a method; `decode` makes one of its bytes, but for streams."""
    calls = serving.calls
    streaming = method.kind.request_streaming
    tells_metadata = serving.tells_metadata

    async def serve(request: Any, context: Any) -> Any:
        told = told_metadata.get() if tells_metadata else read_metadata(context.invocation_metadata())
        metadata, repeats, _ = told
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        if streaming:
            request = Requests(request, context)
        call = ServedCall(method, context, request, None, metadata, deadline)
        call.decode = decode
        call.serving = serving
        call.repeats = repeats
        enter(call)  # never left: grpc.aio runs each RPC in a task, and so in a context, of its own
        calls.add(call)
        try:
            return await chain(call)
        except BaseException as error:
            return await _tell(call, context, error)
        finally:
            calls.discard(call)
            if serving.waiting is not None and not calls:
                serving.waiting.set()

    if not method.kind.response_streaming:
        return serve

    # gRPC takes a coroutine that writes as well, but others' interceptors (OpenTelemetry's) iterate over the behaviour.
    async def stream(request: Any, context: Any) -> Any:
        await serve(request, context)
        for message in _NOTHING_LEFT:
            yield message

    return stream


async def _tell(call: Call, context: Any, error: BaseException) -> None:
    """Answer the client once: the only place from which a status is sent."""
    if context.done():
        return  # the servicer aborted by itself, and gRPC has sent that
    if isinstance(error, ClientGone):
        raise error
    if is_cancelled():  # by gRPC: the client went away, or the deadline passed
        raise ClientGone from error
    if isinstance(error, asyncio.CancelledError):
        # Stray: something that the handler awaited was cancelled. Unanswered, the client would wait for its deadline.
        told: ChassisError = Cancelled("cancelled by the service while it worked on this call", code=call.code)
    else:
        told = classify(error, call.request_id)
    trailers = sendable((*(context.trailing_metadata() or ()), *trailers_of(told)))
    try:
        if not trailers:  # gRPC would take what the servicer had set, which cannot be sent
            context.set_trailing_metadata(())
        await context.abort(call.code, message_of(told), trailers)
    except AbortError:
        raise
    except BaseError as refused:  # the client went away in this moment
        raise ClientGone from refused
