"""Calls over the wire, by grpc's synchronous client.

The aio client reports a bidirectional call that was aborted while it was still sending as INTERNAL now and then, on a
bare server as well: for what is on the wire it is no witness.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.call import Kind
from chassis.testing.echo import OUTCOME_KEY
from tests.matrix.endings import PATHS, TEXT, Ending

UNKNOWN_PATH = "/cqi.testing.v1.EchoService/Nothing"


@dataclass(frozen=True)
class Answer:
    """What the caller saw of a call, and the ids to find its records by."""

    code: StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]
    replies: list[pb.EchoReply] = field(default_factory=list)
    request_id: str = ""
    trace_id: str = ""
    begun: bool = True  # whether the handler, where it says so, was reached in time


class Caller:
    """A client of the echo service, in a thread of its own where need be."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._token = token

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def call(self, kind: Kind, ending: Ending, timeout: float) -> Answer:
        """Make a call that is to end like this."""
        request_id, trace_id = f"r-{secrets.token_hex(8)}", secrets.token_hex(16)
        metadata = [("x-request-id", request_id), ("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01")]
        if ending.credentials:
            metadata.append(("authorization", f"Bearer {self._token}"))
        # On the wire a stream with one reply is the same as one reply; but only of a stream grpc's client tells the
        # initial metadata, by which the handler says that it is at work, before the end.
        by_stream = kind.response_streaming or ending.waits
        arity = f"{'stream' if kind.request_streaming else 'unary'}_{'stream' if by_stream else 'unary'}"
        method = getattr(self._channel, arity)(
            PATHS[kind] if ending.known else UNKNOWN_PATH, response_deserializer=pb.EchoReply.FromString
        )
        requests = _requests(kind, ending)
        start = method if by_stream else method.future
        call = start(iter(requests) if kind.request_streaming else requests[0], metadata=metadata, timeout=timeout)
        begun = not ending.waits or OUTCOME_KEY in dict(call.initial_metadata() or ())
        if ending.cancelled:
            call.cancel()
        replies = list(_replies(call, by_stream))
        trailers = tuple(call.trailing_metadata() or ())
        return Answer(call.code(), call.details() or "", trailers, replies, request_id, trace_id, begun)


def _requests(kind: Kind, ending: Ending) -> list[bytes]:
    asked = pb.EchoRequest(text=TEXT, outcome=ending.outcome, code=ending.raised)
    # Once before anything was sent, and once in the middle of a stream.
    if kind is Kind.UNARY_STREAM and not ending.waits:
        asked.fail_after = 2
    deciding = asked.SerializeToString() if ending.decodable else b"\xff\xff\xff"
    if not kind.request_streaming or ending.waits:
        return [deciding]
    well = pb.EchoRequest(text="well").SerializeToString()
    # The caller goes on sending while the call is ended.
    return [well, deciding, *([well] * 10)]


def _replies(call: Any, by_stream: bool) -> Iterator[pb.EchoReply]:
    try:
        if by_stream:
            yield from call
        else:
            yield call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass  # told by the code
