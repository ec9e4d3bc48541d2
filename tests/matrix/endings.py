"""The ways in which a call can end, and what the caller must see of each."""

from __future__ import annotations

from dataclasses import dataclass

from cqi.testing.v1 import echo_pb2 as pb
from grpc import StatusCode

from chassis.call import Kind

KINDS = [Kind.UNARY_UNARY, Kind.UNARY_STREAM, Kind.STREAM_UNARY, Kind.STREAM_STREAM]
SERVICE = "cqi.testing.v1.EchoService"
PATHS = {
    Kind.UNARY_UNARY: f"/{SERVICE}/Echo",
    Kind.UNARY_STREAM: f"/{SERVICE}/EchoStream",
    Kind.STREAM_UNARY: f"/{SERVICE}/Collect",
    Kind.STREAM_STREAM: f"/{SERVICE}/Converse",
}
TEXT = "asset not found: Ω≈ç 資産 🙈"
INTERNAL_ERROR = "internal error; ask for it by request id "


@dataclass(frozen=True)
class Ending:
    """One way to end: what is asked for, and the code, the message and the trailing metadata that must come back."""

    name: str
    code: StatusCode
    message: str | None = None  # how it begins; None where the caller's own side words it
    outcome: pb.Outcome = pb.OUTCOME_OK
    raised: str = ""  # the name of the code that the handler ends with
    trailer: bool = False  # whether the handler's trailing metadata must arrive
    known: bool = True  # whether there is such a method
    decodable: bool = True
    credentials: bool = True
    timeouts: tuple[float, ...] = (20.0,)  # seconds; the next is for a machine too busy to begin within the one before
    cancelled: bool = False  # by the caller, once the handler works

    @property
    def waits(self) -> bool:
        """Whether the handler works until the caller or the deadline ends it."""
        return self.outcome == pb.OUTCOME_WAIT

    def __str__(self) -> str:
        return self.name


ENDINGS = [
    Ending("ok", StatusCode.OK, ""),
    Ending("domain error", StatusCode.NOT_FOUND, TEXT, pb.OUTCOME_DOMAIN_ERROR, "NOT_FOUND", trailer=True),
    Ending("abort", StatusCode.ALREADY_EXISTS, TEXT, pb.OUTCOME_ABORT, "ALREADY_EXISTS", trailer=True),
    Ending(
        "abort with status",
        StatusCode.OUT_OF_RANGE,
        TEXT,
        pb.OUTCOME_ABORT_WITH_STATUS,
        "OUT_OF_RANGE",
        trailer=True,
    ),
    Ending("set code", StatusCode.DATA_LOSS, TEXT, pb.OUTCOME_SET_CODE, "DATA_LOSS", trailer=True),
    Ending("crash", StatusCode.INTERNAL, INTERNAL_ERROR, pb.OUTCOME_CRASH),
    Ending(
        "not implemented",
        StatusCode.UNIMPLEMENTED,
        "Method not implemented!",
        pb.OUTCOME_NOT_IMPLEMENTED,
        trailer=True,
    ),
    Ending("bad reply", StatusCode.INTERNAL, INTERNAL_ERROR, pb.OUTCOME_BAD_REPLY),
    Ending("cancelled by the client", StatusCode.CANCELLED, outcome=pb.OUTCOME_WAIT, cancelled=True),
    Ending("deadline", StatusCode.DEADLINE_EXCEEDED, outcome=pb.OUTCOME_WAIT, timeouts=(0.15, 1.0, 5.0)),
    Ending("unknown method", StatusCode.UNIMPLEMENTED, "unknown method", known=False),
    Ending(
        "undecodable request", StatusCode.INVALID_ARGUMENT, "the request is no valid message for /", decodable=False
    ),
]
WITHOUT_CREDENTIALS = [
    Ending("without credentials", StatusCode.UNAUTHENTICATED, "missing credentials", credentials=False),
    Ending(
        "unknown method without credentials",
        StatusCode.UNAUTHENTICATED,
        "missing credentials",
        known=False,
        credentials=False,
    ),
]
