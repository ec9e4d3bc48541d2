"""What can go wrong, said once: a class of error decides gRPC code, HTTP status, event verdict, log level and retry.

Raise one of these from a servicer, an HTTP route or an event handler; the chassis answers in the transport's words.

>>> error = NotFound.of("asset", "a-1")
>>> str(error), error.code.name, error.meaning.http_status
('asset not found: a-1', 'NOT_FOUND', 404)

What the caller may see is the message. What only the log gets is `detail` and the cause:

>>> try:
...     raise ConnectionResetError("10.0.0.7 said no")
... except OSError as cause:
...     error = Temporary("prices are not available right now", detail="replica 2")
...     error.__cause__ = cause
>>> str(error), error.detail
('prices are not available right now', 'replica 2')
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from grpc import StatusCode

from chassis.text import text_of

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Verdict(enum.Enum):
    """What happens to an event whose handler ended this way."""

    ACK = "ack"
    NAK = "nak"  # at once
    RETRY = "retry"  # nak with backoff, then dead letter
    DEAD_LETTER = "dead_letter"  # at once


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table: how a class of error is told to callers, brokers, logs and retries."""

    code: StatusCode
    http_status: int
    verdict: Verdict
    log_level: int
    retryable: bool = False


class ChassisError(Exception):
    """Base of all errors with a meaning; raise one of its subclasses.

    `message` is for the caller and goes over the wire. `detail` is for the log alone. `details` are
    google.rpc messages that travel in the status, `trailers` metadata that travels beside it, and
    `retry_after` (seconds) tells the caller when to try again: what is negative counts as 0, and what is not finite
    as nothing said. `code` is for one that the class does not stand for; OK is none of an error.
    """

    meaning: ClassVar[Meaning] = Meaning(StatusCode.INTERNAL, 500, Verdict.DEAD_LETTER, logging.ERROR)

    def __init__(
        self,
        message: str = "",
        *,
        detail: str | None = None,
        details: Sequence[Message] = (),
        trailers: Sequence[tuple[str, str | bytes]] = (),
        retry_after: float | None = None,
        code: StatusCode | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message if isinstance(message, str) else str(message)  # people raise `NotFound(error)`
        self.detail = detail
        self.details = tuple(details)
        self.trailers = tuple(trailers)
        if retry_after is not None:
            retry_after = max(0.0, retry_after) if math.isfinite(retry_after) else None
        self.retry_after = retry_after
        self.code = self.meaning.code if code is None or code is StatusCode.OK else code
        # Set by a client: the method that answered with this error. It is another service's word then, not ours.
        self.remote: str | None = None
        # Set where a handler answered in HTTP's own words (web.HTTPException): they stand.
        self.answer: Any = None

    def __str__(self) -> str:
        return self.message


class NotFound(ChassisError):
    """What was asked for does not exist."""

    meaning = Meaning(StatusCode.NOT_FOUND, 404, Verdict.RETRY, logging.INFO)

    @classmethod
    def of(cls, resource: str, key: object) -> Self:
        """Say which `resource` was looked for under which `key`.

        >>> str(NotFound.of("venue", "binance"))
        'venue not found: binance'
        """
        return cls(f"{resource} not found: {key}")


class InvalidInput(ChassisError):
    """The request can never succeed as it was sent."""

    meaning = Meaning(StatusCode.INVALID_ARGUMENT, 400, Verdict.DEAD_LETTER, logging.INFO)

    @classmethod
    def field(cls, field: str, description: str) -> Self:
        """Say which field is wrong and what is expected; travels as google.rpc.BadRequest too.

        >>> str(InvalidInput.field("symbol", "must not be empty"))
        'invalid input for symbol: must not be empty'
        """
        from google.rpc.error_details_pb2 import BadRequest

        violation = BadRequest.FieldViolation(field=field, description=description)
        return cls(f"invalid input for {field}: {description}", details=[BadRequest(field_violations=[violation])])


class Undecodable(InvalidInput):
    """The bytes are no message of the expected type."""

    meaning = Meaning(StatusCode.INVALID_ARGUMENT, 400, Verdict.DEAD_LETTER, logging.ERROR)


class Unauthorized(ChassisError):
    """Who is calling could not be established."""

    meaning = Meaning(StatusCode.UNAUTHENTICATED, 401, Verdict.DEAD_LETTER, logging.INFO)


class PermissionDenied(ChassisError):
    """The caller is known and may not do this."""

    meaning = Meaning(StatusCode.PERMISSION_DENIED, 403, Verdict.DEAD_LETTER, logging.INFO)


class AlreadyExists(ChassisError):
    """What should be created is there already."""

    meaning = Meaning(StatusCode.ALREADY_EXISTS, 409, Verdict.ACK, logging.INFO)


class FailedPrecondition(ChassisError):
    """The system is not in the state that this needs; the caller has to change something first."""

    meaning = Meaning(StatusCode.FAILED_PRECONDITION, 400, Verdict.DEAD_LETTER, logging.INFO)


class Aborted(ChassisError):
    """Lost against a concurrent change; the whole operation may be tried again."""

    meaning = Meaning(StatusCode.ABORTED, 409, Verdict.RETRY, logging.WARNING, retryable=True)


class ResourceExhausted(ChassisError):
    """A quota or a limit is used up; `retry_after` (seconds) says when to try again."""

    meaning = Meaning(StatusCode.RESOURCE_EXHAUSTED, 429, Verdict.RETRY, logging.WARNING, retryable=True)


class Temporary(ChassisError):
    """Not possible right now; the same call may succeed later."""

    meaning = Meaning(StatusCode.UNAVAILABLE, 503, Verdict.RETRY, logging.WARNING, retryable=True)


class DeadlineExceeded(ChassisError):
    """There was not enough time."""

    meaning = Meaning(StatusCode.DEADLINE_EXCEEDED, 504, Verdict.RETRY, logging.WARNING)


class Cancelled(ChassisError):
    """The caller gave up."""

    meaning = Meaning(StatusCode.CANCELLED, 499, Verdict.NAK, logging.INFO)


class Unimplemented(ChassisError):
    """There is no such operation here."""

    meaning = Meaning(StatusCode.UNIMPLEMENTED, 501, Verdict.DEAD_LETTER, logging.INFO)


class Permanent(ChassisError):
    """Failed for a reason of our own that trying again will not mend."""

    meaning = Meaning(StatusCode.INTERNAL, 500, Verdict.DEAD_LETTER, logging.ERROR)


class Crash(ChassisError):
    """Anything that was raised and has no meaning of its own; the cause is the exception itself."""

    meaning = Meaning(StatusCode.INTERNAL, 500, Verdict.RETRY, logging.ERROR)


TABLE: tuple[type[ChassisError], ...] = (
    NotFound,
    InvalidInput,
    Unauthorized,
    PermissionDenied,
    AlreadyExists,
    FailedPrecondition,
    Aborted,
    ResourceExhausted,
    Temporary,
    DeadlineExceeded,
    Cancelled,
    Unimplemented,
    Permanent,
)
"""The classes a user raises, one for each code; Undecodable and Crash are the chassis' own."""

_BY_CODE: Mapping[StatusCode, type[ChassisError]] = {cls.meaning.code: cls for cls in TABLE} | {
    StatusCode.OUT_OF_RANGE: InvalidInput,
    StatusCode.DATA_LOSS: Permanent,
    StatusCode.UNKNOWN: Permanent,
}
_BY_NUMBER: Mapping[int, StatusCode] = {code.value[0]: code for code in StatusCode}
_BY_HTTP_STATUS: Mapping[int, StatusCode] = {cls.meaning.http_status: cls.meaning.code for cls in reversed(TABLE)} | {
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ALREADY_EXISTS,
    412: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.RESOURCE_EXHAUSTED,
}


def status_code(value: object) -> StatusCode:
    """Read a gRPC status code that may be a StatusCode or a number; anything else is UNKNOWN.

    >>> status_code(5).name, status_code(StatusCode.OK).name, status_code(99).name
    ('NOT_FOUND', 'OK', 'UNKNOWN')
    """
    if isinstance(value, StatusCode):
        return value
    return _BY_NUMBER.get(value, StatusCode.UNKNOWN) if isinstance(value, int) else StatusCode.UNKNOWN


def from_status(code: StatusCode, message: str, *, details: Sequence[Message] = ()) -> ChassisError:
    """Make the error that has this gRPC status; a code without a class of its own keeps its code.

    >>> error = from_status(StatusCode.OUT_OF_RANGE, "page 12 of 3")
    >>> type(error).__name__, error.code.name
    ('InvalidInput', 'OUT_OF_RANGE')
    """
    return _BY_CODE.get(code, Permanent)(message, code=code, details=details)


def code_of_http_status(status: int) -> StatusCode:
    """The gRPC code that says the same as an HTTP status.

    >>> code_of_http_status(404).name, code_of_http_status(204).name, code_of_http_status(418).name
    ('NOT_FOUND', 'OK', 'INVALID_ARGUMENT')
    """
    if status < 400:
        return StatusCode.OK
    return _BY_HTTP_STATUS.get(status, StatusCode.INVALID_ARGUMENT if status < 500 else StatusCode.INTERNAL)


# What another service says of itself is no statement about the call that is served here, except that
# there is no capacity or no time; a caller's retries and its patience need to know that.
_PASSED_ON = (Temporary, ResourceExhausted, DeadlineExceeded, Cancelled)


def classify(error: BaseException, correlation_id: str = "") -> ChassisError:
    """Give any exception its meaning: a ChassisError is itself, whatever else was raised is a Crash.

    An error that a client brought from another service is a Crash here too, unless it says that capacity or
    time ran out; to pass it on, raise one of your own `from` it. The Crash's message never holds anything of the cause.

    >>> classify(KeyError("secret"), "0af7").message
    'internal error; ask for it by request id 0af7'
    """
    if not isinstance(error, ChassisError):
        detail = f"{type(error).__name__}: {text_of(error)}"
    elif error.remote is None:
        return error
    elif isinstance(error, _PASSED_ON):
        own = type(error)(
            "a service that this call depends on did not answer in time or has no capacity",
            detail=f"{error.remote}: {error.message}",
            retry_after=error.retry_after,
        )
        own.__cause__ = error
        return own
    else:
        detail = f"{error.remote} answered {error.code.name}: {error.message}"
    hint = f"; ask for it by request id {correlation_id}" if correlation_id else ""
    crash = Crash(f"internal error{hint}", detail=detail)
    crash.__cause__ = error
    return crash
