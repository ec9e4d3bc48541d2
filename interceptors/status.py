"""The richer half of a gRPC status: google.rpc details in trailing metadata, written and read."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from chassis.errors import ChassisError, from_status
from chassis.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message

_DETAILS_KEY = "grpc-status-details-bin"

# Clients take 8 KiB of metadata, all in all, before they begin to refuse an answer that has more.
_MAX_MESSAGE = 2048
_MAX_TRAILERS = 5120
_NAME = re.compile("[a-z0-9_.-]+")
_RULES = "names are a-z, 0-9, '-', '_' and '.', values printable ASCII, or bytes where the name ends with -bin"

_log = logging.getLogger("chassis.errors")


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
    status = Status(code=error.code.value[0], message=message_of(error))
    for detail in details:
        packed = AnyMessage()
        try:
            packed.Pack(detail)
        except Exception:
            _log.warning("details of an error are protobuf messages; %s was left out", type(detail).__name__)
        else:
            status.details.append(packed)
    return (*error.trailers, (_DETAILS_KEY, status.SerializeToString()))


def message_of(error: ChassisError) -> str:
    """The message as it can be sent: what is too long for a status is cut, and what is no Unicode is replaced.

    >>> from chassis.errors import NotFound
    >>> message_of(NotFound("caf\\u00e9 \\ud800")), len(message_of(NotFound("x" * 10_000)))
    ('café ?', 2049)
    """
    text = error.message
    if len(text) <= _MAX_MESSAGE // 12 or (text.isascii() and len(text) <= _MAX_MESSAGE // 3):
        return clean(text)
    # On the wire, a byte that is not printable ASCII takes three.
    room, cut = _MAX_MESSAGE, 0
    text = clean(text)
    for cut, character in enumerate(text):
        room -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if room < 0:
            return text[:cut] + "…"
    return text


def check(trailers: Iterable[tuple[str, str | bytes]]) -> None:
    """Raise ValueError for trailing metadata that gRPC cannot send; it would find out when it is too late."""
    for name, value in trailers:
        if not _is_sendable(name, value):
            raise ValueError(f"trailing metadata {name!r} cannot be sent: {_RULES}")


def sendable(trailers: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    """Those of an error's trailing metadata that can be sent; of the others a log line tells."""
    kept: list[tuple[str, str | bytes]] = []
    room = _MAX_TRAILERS
    for name, value in trailers:
        if not _is_sendable(name, value):
            _log.warning("trailing metadata %r of an error cannot be sent and was left out: %s", name, _RULES)
        elif (room := room - len(name) - len(value) * 4 // 3 - 32) < 0:
            _log.warning("trailing metadata %r of an error was left out: there is more than clients take", name)
        else:
            kept.append((name, value))
    return tuple(kept)


def _is_sendable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return False
    if name.endswith("-bin"):
        return isinstance(value, bytes)
    return isinstance(value, str) and value.isascii() and value.isprintable()


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
