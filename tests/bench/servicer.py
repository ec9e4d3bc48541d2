"""The handlers that are measured: the echo contract with as little in them as can be, so that only the rest counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

UNARY = "/cqi.testing.v1.EchoService/Echo"
STREAM = "/cqi.testing.v1.EchoService/EchoStream"
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


def add_to(server: Any, methods: int) -> None:
    """Register the servicer, and so many methods beside its unary and its streaming one as make up `methods`."""
    rpc.add_EchoServiceServicer_to_server(Echo(), server)
    handlers = {
        f"Method{number}": grpc.unary_unary_rpc_method_handler(
            Echo().Echo,
            request_deserializer=pb.EchoRequest.FromString,
            response_serializer=pb.EchoReply.SerializeToString,
        )
        for number in range(methods - 4)  # the echo service has four
    }
    if handlers:
        # As generated code does it: grpc.aio keeps such methods elsewhere than those of a generic handler.
        server.add_registered_method_handlers("cqi.testing.v1.Many", handlers)
