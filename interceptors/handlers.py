"""What gRPC calls for each request: the edge of a served RPC around its composed chain."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from grpc import StatusCode
from grpc.aio import AbortError, BaseError, InternalError

from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose, enter
from chassis.errors import Cancelled, ChassisError, Undecodable, Unimplemented, classify, from_status, status_code
from interceptors.status import trailers_of

Behaviour = Callable[[Any, Any], Any]

# A client measures its deadline from its own start, and the time it sends is rounded up by as much as 1 %: it gives up
# a little before the deadline that is seen here. A cancellation this close to the deadline (seconds; share) is its end.
_DEADLINE_SLACK = 0.02

UNKNOWN = Method("grpc", "server", "unknown", "", "unknown", Kind.STREAM_STREAM, known=False)
"""The one method that stands for all that do not exist."""


class Serving:
    """The calls that a server is working on, and whether it has begun to cut off those that did not end in time."""

    __slots__ = ("_idle", "calls", "cut")

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self.cut = False
        self._idle: asyncio.Event | None = None

    def ended(self, call: Call) -> None:
        """One call is over, its `finally` blocks included."""
        self.calls.discard(call)
        if self._idle is not None and not self.calls:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is worked on. gRPC's own stop does not wait for handlers that it cancelled."""
        self._idle = asyncio.Event()
        if self.calls:
            await self._idle.wait()


class ClientGone(asyncio.CancelledError):
    """The client went away while something was written to it; grpc.aio says so by an InternalError."""


class ServedCall(Call):
    """A call that came in over gRPC; `transport` is gRPC's own ServicerContext."""

    __slots__ = ("_decode", "_message", "_serving")

    def __init__(
        self, method: Method, context: Any, request: Any, decode: Callable[[Any], Any], serving: Serving
    ) -> None:
        super().__init__(method, context, request)
        self._decode = decode
        self._message: Any = None
        self._serving = serving

    def _read_metadata(self) -> MutableMapping[str, str]:
        metadata: dict[str, str] = {}
        for name, value in self.transport.invocation_metadata() or ():
            if name not in metadata and isinstance(value, str):
                metadata[name] = value
        return metadata

    def _read_deadline(self) -> float | None:
        remaining = self.transport.time_remaining()
        return None if remaining is None else time.monotonic() + remaining

    def _read_request(self) -> Any:
        if self._message is None:
            self._message = self._decode(self._raw)
        return self._message

    def values(self, name: str) -> list[str]:
        pairs = self.transport.invocation_metadata() or ()
        return [value for key, value in pairs if key == name and isinstance(value, str)]

    @property
    def peer(self) -> str:
        return str(self.transport.peer())

    def code_of(self, error: BaseException) -> StatusCode:
        if isinstance(error, ChassisError):
            return error.code
        if not isinstance(error, asyncio.CancelledError):
            return StatusCode.INTERNAL
        if self._serving.cut:
            return StatusCode.UNAVAILABLE
        remaining = self.time_remaining()
        if remaining is not None:
            total = remaining + time.perf_counter() - self.started
            if remaining <= max(_DEADLINE_SLACK, total * _DEADLINE_SLACK):
                return StatusCode.DEADLINE_EXCEEDED
        return StatusCode.CANCELLED


class ComposedHandler(grpc.RpcMethodHandler):  # type: ignore[type-arg]
    """A servicer's method with its interceptors around it, in the form that gRPC calls."""

    def __init__(
        self, handler: Any, method: Method, interceptors: Sequence[Interceptor], serving: Serving | None = None
    ) -> None:
        self.method = method
        self.interceptors = tuple(interceptors)
        self.bare = handler
        self.request_streaming = method.kind.request_streaming
        self.response_streaming = method.kind.response_streaming
        # Unary messages are decoded and encoded inside the chain: left to gRPC, they would fail behind the observers'
        # back. Messages of streams pass through gRPC's own context, which then needs to know how.
        decode = _decoder(handler.request_deserializer, method)
        self.request_deserializer = decode if self.request_streaming else None
        self.response_serializer = handler.response_serializer if self.response_streaming else None
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = None
        chain = compose(self.interceptors, method, _innermost(handler, method))
        edge = _edge(chain, method, _as_it_is if self.request_streaming else decode, serving or Serving())
        setattr(self, method.kind.value, edge)


def unknown_handler(path: str, interceptors: Sequence[Interceptor], serving: Serving | None = None) -> ComposedHandler:
    """The handler for a path that nothing is registered under, with the same interceptors around it."""

    # Streaming both ways, whatever the caller meant: it is called before any request has arrived.
    async def refuse(request: object, context: object) -> None:
        raise Unimplemented(f"unknown method {path[:200]!r}: it is not served here")

    handler = grpc.stream_stream_rpc_method_handler(refuse, _as_it_is, _as_it_is)
    return ComposedHandler(handler, UNKNOWN, interceptors, serving)


def behaviour_of(handler: Any) -> tuple[Kind, Behaviour]:
    """The kind of a gRPC method handler, and the servicer's function in it."""
    kind = next(
        kind
        for kind in Kind
        if kind is not Kind.EVENT
        and kind.request_streaming == bool(handler.request_streaming)
        and kind.response_streaming == bool(handler.response_streaming)
    )
    return kind, getattr(handler, kind.value)


def _as_it_is(value: Any) -> Any:
    return value


def _decoder(decode: Callable[[bytes], Any] | None, method: Method) -> Callable[[Any], Any]:
    if decode is None:
        return _as_it_is

    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except Exception as error:
            raise Undecodable(f"the request is no valid message for {method.path}") from error

    return decoded


def _innermost(handler: Any, method: Method) -> Proceed:
    """The servicer's function as the end of a chain: what it says on the context comes out as an exception."""
    kind, behaviour = behaviour_of(handler)
    if inspect.isasyncgenfunction(behaviour) and kind.response_streaming:
        return _listening(_generating(behaviour))
    if inspect.iscoroutinefunction(behaviour):
        return _listening(_writing(behaviour) if kind.response_streaming else _replying(behaviour, handler, method))
    if getattr(behaviour, "__module__", "").endswith("_pb2_grpc"):  # generated, and not overridden by the servicer
        return _missing(method)
    expected = "an async generator or an async function that writes" if kind.response_streaming else "an async function"
    raise TypeError(
        f"{getattr(behaviour, '__qualname__', behaviour)} serves {method.path} and is no coroutine: "
        f"it must be {expected} (run blocking work in asyncio.to_thread)"
    )


def _missing(method: Method) -> Proceed:
    async def refuse(call: Call) -> None:
        raise Unimplemented(f"{method.path} is not implemented by this service")

    return refuse


def _replying(behaviour: Behaviour, handler: Any, method: Method) -> Proceed:
    encode = handler.response_serializer or _as_it_is

    async def reply(call: Call) -> Any:
        message = await behaviour(call.request, call.transport)
        try:
            return encode(message)
        except Exception as error:
            raise TypeError(f"{method.path} returned {type(message).__name__}, which is no message of its") from error

    return reply


def _writing(behaviour: Behaviour) -> Proceed:
    async def write(call: Call) -> None:
        await behaviour(call.request, call.transport)

    return write


def _generating(behaviour: Behaviour) -> Proceed:
    async def generate(call: Call) -> None:
        context = call.transport
        write = context.write
        async with aclosing(behaviour(call.request, context)) as messages:
            async for message in messages:
                await write(message)

    return generate


def _listening(run: Proceed) -> Proceed:
    """Around the servicer: what it says on gRPC's context, rather than by raising, comes out as an exception too."""

    async def listen(call: Call) -> Any:
        context = call.transport
        try:
            result = await run(call)
        except (ChassisError, asyncio.CancelledError):
            raise  # a meaning of its own beats what was set before
        except BaseException as error:
            if status_code(context.code() or 0) is not StatusCode.OK:
                raise _said(context) from error
            if isinstance(error, InternalError):
                raise ClientGone from error
            raise
        if context.code() is not None and status_code(context.code()) is not StatusCode.OK:
            raise _said(context)
        return result

    return listen


def _said(context: Any) -> ChassisError:
    details = context.details()
    message = details.decode("utf-8", "replace") if isinstance(details, bytes) else (details or "")
    error = from_status(status_code(context.code()), message)
    error.answer = context
    return error


def _edge(chain: Proceed, method: Method, decode: Callable[[Any], Any], serving: Serving) -> Behaviour:
    async def serve(request: Any, context: Any) -> Any:
        call = ServedCall(method, context, request, decode, serving)
        enter(call)  # never left: grpc.aio runs each RPC in a task, and so in a context, of its own
        serving.calls.add(call)
        try:
            return await chain(call)
        except BaseException as error:
            return await _tell(call, context, error)
        finally:
            serving.ended(call)

    if not method.kind.response_streaming:
        return serve

    # gRPC takes a coroutine that writes as well, but others' interceptors (OpenTelemetry's) iterate over the behaviour.
    async def stream(request: Any, context: Any) -> Any:
        await serve(request, context)
        return
        yield

    return stream


async def _tell(call: Call, context: Any, error: BaseException) -> None:
    """Answer the client once: the only place from which a status is sent."""
    if context.done():
        return  # the servicer aborted by itself, and gRPC has sent that
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if isinstance(error, ClientGone) or context.cancelled() or (task is not None and task.cancelling()):
            raise error
        # Stray: something that the handler awaited was cancelled. Unanswered, the client would wait for its deadline.
        told: ChassisError = Cancelled("cancelled by the service while it worked on this call", code=call.code)
    else:
        told = classify(error, call.request_id)
    trailers: Iterable[tuple[str, str | bytes]] = (*(context.trailing_metadata() or ()), *trailers_of(told))
    try:
        await context.abort(call.code, told.message, tuple(trailers))
    except AbortError:
        raise
    except BaseError as refused:  # the client went away in this moment
        raise ClientGone from refused
