"""The richer half of a gRPC status: google.rpc details in trailing metadata, written and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from chassis.errors import ChassisError, from_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

_DETAILS_KEY = "grpc-status-details-bin"


def trailers_of(error: ChassisError) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that an error sends: its own, and its details as google.rpc.Status.

    >>> from chassis.errors import NotFound, ResourceExhausted
    >>> trailers_of(NotFound("no"))
    ()
    >>> [name for name, value in trailers_of(ResourceExhausted("later", retry_after=2))]
    ['grpc-status-details-bin']
    """
    if not error.details and error.retry_after is None:
        return error.trailers
    # Imported here: only errors with details need it, and it costs every start otherwise.
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    details: list[Message] = list(error.details)
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(retry)
    status = Status(code=error.code.value[0], message=error.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return (*error.trailers, (_DETAILS_KEY, status.SerializeToString()))


def error_of(code: StatusCode, message: str, trailers: Sequence[tuple[str, Any]]) -> ChassisError:
    """The error that another service answered with, of the class that it raised, with its details."""
    own = tuple((name, value) for name, value in trailers if name != _DETAILS_KEY)
    raw = next((value for name, value in trailers if name == _DETAILS_KEY), None)
    error = from_status(code, message)
    error.trailers = own
    if raw is not None:
        error.details, error.retry_after = _read_details(raw)
    return error


def _read_details(raw: bytes) -> tuple[tuple[Message, ...], float | None]:
    from google.protobuf import symbol_database
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2
    from google.rpc.status_pb2 import Status

    details: list[Message] = []
    retry_after = None
    try:
        status = Status.FromString(raw)
        for packed in status.details:
            if packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                packed.Unpack(retry)
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
                continue
            try:
                message = symbol_database.Default().GetSymbol(packed.TypeName())()
            except KeyError:  # a type that is not known here stays as it came
                details.append(packed)
                continue
            packed.Unpack(message)
            details.append(message)
    except DecodeError:  # a proxy's or a foreign server's; the code and the message are still right
        return (), None
    return tuple(details), retry_after
