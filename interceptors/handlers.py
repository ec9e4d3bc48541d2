"""What gRPC finds for a path: a servicer's method, composed once with what is around it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from grpc import StatusCode
from grpc.aio import InternalError

from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose, current_call, on_message
from chassis.errors import ChassisError, ResourceExhausted, Unimplemented, from_status, status_code
from interceptors.edge import ClientGone, Serving, StreamContext, edge, undecodable
from interceptors.status import check

Behaviour = Callable[[Any, Any], Any]

# Seconds until gRPC, which is slower to tell that the client went away than to fail writing to it, has told.
_UNTIL_TOLD = 0.1

UNKNOWN = Method("grpc", "server", "unknown", "", "unknown", Kind.STREAM_STREAM, known=False)
"""The one method that stands for all that do not exist."""


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
        decode = handler.request_deserializer
        self.request_deserializer = None
        if self.request_streaming:
            self.request_deserializer = _decoder(decode, method, on_message(self.interceptors, method))
            decode = None
        serving = serving or Serving()
        encode = _encoder(handler.response_serializer, method, serving.max_reply_bytes)
        self.response_serializer = encode if self.response_streaming else None
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = None
        chain = compose(self.interceptors, method, _innermost(handler, method, encode))
        setattr(self, method.kind.value, edge(chain, method, decode, serving))


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


def _decoder(
    decode: Callable[[bytes], Any] | None, method: Method, looking: Sequence[Callable[[Call, Any], None]]
) -> Callable[[bytes], Any]:
    """For the messages of streams, which gRPC decodes where they are read: in the call's own context."""
    if decode is None:
        decode = _as_it_is

    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except Exception as error:
            raise undecodable(method) from error

    def shown(raw: bytes) -> Any:
        message = decoded(raw)
        call = current_call()
        assert call is not None, "the edge has entered it"
        for look in looking:
            look(call, message)
        return message

    return shown if looking else decoded


def _encoder(encode: Callable[[Any], bytes] | None, method: Method, max_bytes: float) -> Callable[[Any], bytes] | None:
    if encode is None:
        return None

    def encoded(message: Any) -> bytes:
        try:
            raw = encode(message)
        except Exception as error:
            raise TypeError(f"{method.path} answered {type(message).__name__}, which is no reply of its") from error
        if len(raw) > max_bytes:
            raise ResourceExhausted(f"the reply has {len(raw)} bytes; this server sends at most {max_bytes}")
        return raw

    return encoded


def _innermost(handler: Any, method: Method, encode: Callable[[Any], Any] | None) -> Proceed:
    """The servicer's function as the end of a chain: what it says on the context comes out as an exception."""
    kind, behaviour = behaviour_of(handler)
    if inspect.isasyncgenfunction(behaviour) and kind.response_streaming:
        run = _writing(behaviour)
    elif inspect.iscoroutinefunction(behaviour):
        run = behaviour
    elif getattr(behaviour, "__module__", "").endswith("_pb2_grpc"):  # generated, and not overridden by the servicer
        return _missing(method)
    else:
        expected = (
            "an async generator or an async function that writes" if kind.response_streaming else "an async function"
        )
        raise TypeError(
            f"{getattr(behaviour, '__qualname__', behaviour)} serves {method.path} and is no coroutine: "
            f"it must be {expected} (run blocking work in asyncio.to_thread)"
        )
    if kind.request_streaming:
        run = _sure_of_the_end(run)
    return _listening(run, _as_it_is if kind.response_streaming or encode is None else encode)


def _missing(method: Method) -> Proceed:
    async def refuse(call: Call) -> None:
        raise Unimplemented(f"{method.path} is not implemented by this service")

    return refuse


def _writing(behaviour: Behaviour) -> Behaviour:
    """An async generator as a function that writes."""

    async def write(request: Any, context: Any) -> None:
        send = context.write
        async with aclosing(behaviour(request, context)) as messages:
            async for message in messages:
                await send(message)

    return write


def _sure_of_the_end(run: Behaviour) -> Behaviour:
    """For streams of requests read by `context.read()`: their end looks the same whether the caller is done or gone."""
    return lambda request, context: run(request, StreamContext(context, request))


def _listening(run: Behaviour, encode: Callable[[Any], Any]) -> Proceed:
    """Around the servicer: what it says on gRPC's context, rather than by raising, comes out as an exception too."""

    async def listen(call: Call) -> Any:
        context = call.transport
        try:
            result = encode(await run(call.request, context))
        except BaseException as error:
            if isinstance(error, (ChassisError, asyncio.CancelledError)) and not context.done():
                raise  # a meaning of its own beats what was set before, but not what was sent
            if status_code(context.code() or 0) is not StatusCode.OK:
                raise _said(context) from error
            if isinstance(error, InternalError):
                # Could not be written. If that is because the client went away, this is cancelled in a moment.
                await asyncio.sleep(_UNTIL_TOLD)
            raise
        if (code := context.code()) and status_code(code) is not StatusCode.OK:  # 0 where nobody said anything
            raise _said(context)
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # as `is_cancelled` does
            raise ClientGone
        if trailers := context.trailing_metadata():
            check(trailers)
        return result

    return listen


def _said(context: Any) -> ChassisError:
    details = context.details()
    message = details.decode("utf-8", "replace") if isinstance(details, bytes) else (details or "")
    return from_status(status_code(context.code()), message)
