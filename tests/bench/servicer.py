"""The handlers that are measured: the echo contract with as little in them as can be, so that only the rest counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

_SERVICE = "cqi.testing.v1.EchoService"
UNARY = f"/{_SERVICE}/Echo"
STREAM = f"/{_SERVICE}/EchoStream"
METHODS = 2
"""As many as all servers have unless it is about that."""
MESSAGE_BYTES = 107


def request(count: int | None = None) -> bytes:
    """A request of 107 bytes; with `count`, one that asks for so many replies in a stream."""
    message = pb.EchoRequest(count=count)
    message.text = "t" * (MESSAGE_BYTES - len(message.SerializeToString()) - 2)  # two for the text's tag and length
    encoded = message.SerializeToString()
    assert len(encoded) == MESSAGE_BYTES
    return encoded


def reply_bytes(encoded: bytes, count: int = 1) -> int:
    """How long the bodies of all replies to a request are, with gRPC's prefix of 5 bytes each."""
    text = pb.EchoRequest.FromString(encoded).text
    return sum(5 + len(pb.EchoReply(text=text, index=index).SerializeToString()) for index in range(count))


class Echo(rpc.EchoServiceServicer):
    """Says back what it was told."""

    async def Echo(self, request: pb.EchoRequest, context: Any) -> pb.EchoReply:
        """Answer one request with one reply."""
        return pb.EchoReply(text=request.text)

    async def EchoStream(self, request: pb.EchoRequest, context: Any) -> AsyncIterator[pb.EchoReply]:
        """Answer one request with as many replies as it asks for."""
        text = request.text
        for index in range(request.count):
            yield pb.EchoReply(text=text, index=index)


def add_to(server: Any, methods: int = METHODS) -> None:
    """Register its unary and its streaming method, and so many beside them as make up `methods`."""
    if methods < METHODS:
        raise ValueError(f"there are {METHODS} methods at least, and not {methods}")
    echo = Echo()
    unary = _handler(grpc.unary_unary_rpc_method_handler, echo.Echo)
    stream = _handler(grpc.unary_stream_rpc_method_handler, echo.EchoStream)
    _register(server, _SERVICE, {"Echo": unary, "EchoStream": stream})
    others = {f"Method{number}": unary for number in range(methods - METHODS)}
    if others:
        _register(server, "cqi.testing.v1.Many", others)


def _handler(make: Any, behaviour: Any) -> Any:
    return make(
        behaviour,
        request_deserializer=pb.EchoRequest.FromString,
        response_serializer=pb.EchoReply.SerializeToString,
    )


def _register(server: Any, service: str, handlers: dict[str, Any]) -> None:
    # As generated code does it, which would register all four methods of the contract: to grpc.aio each of them costs
    # something in every call.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)
