from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from typing import Any, ClassVar

from grpc import StatusCode

from chassis.call.method import Method
from chassis.call.principal import Principal
from chassis.call.trace_context import TraceContext
from chassis.errors import ChassisError, classify

_current: ContextVar[Call | None] = ContextVar("chassis_call", default=None)

# Request ids only have to be unlike others; the system's own generator would take a system call for each. Not the
# module's shared generator, because a user's `random.seed(0)` would give all replicas the same ids. Their bytes are
# written out, which takes half the time of formatting the number.
_ids = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)


class Call:
    """The facts of one call, collected once; every concern reads them here and looks nothing up twice.

    | attribute | |
    |---|---|
    | `method` | the shared `Method` |
    | `transport` | the transport's own object: gRPC's ServicerContext, aiohttp's Request, the delivery of an event |
    | `parent` | for a call going out: the served call that makes it |
    | `metadata` | headers by lower-case name: those received, or, for a call going out, those to send (add yours) |
    | `principal` | who is calling, once auth has said so |
    | `trace` | where the call stands in its trace: its span, or with tracing off what the caller sent; or None |
    | `deadline` | when the caller stops waiting, on the clock of `time.monotonic`, or None |
    | `code`, `error` | how it ended, stamped by the links of the chain; never set by a concern |

    Transports subclass it. They give what they know of headers and deadline when they make it: everyone looks at these,
    and as attributes they cost nothing.
    """

    __slots__ = (
        "_duration", "_raw", "_request_id", "code", "deadline", "error", "logged", "metadata", "method", "parent",
        "principal", "started", "trace", "transport",
    )  # fmt: skip

    # Whether the transport itself ends the call at its deadline: a timer for each would only cost.
    ends_in_time: ClassVar[bool] = False

    # Clients and proxies choose request ids; what is longer or holds control characters is replaced.
    MAX_REQUEST_ID_LENGTH: ClassVar[int] = 128

    def __init__(
        self,
        method: Method,
        transport: Any = None,
        request: Any = None,
        parent: Call | None = None,
        metadata: MutableMapping[str, str] | None = None,
        deadline: float | None = None,
    ) -> None:
        self.method = method
        self.transport = transport
        self.parent = parent
        self.metadata = metadata = {} if metadata is None else metadata
        self.deadline = deadline
        self.principal: Principal | None = None
        self.code: StatusCode = StatusCode.OK
        self.error: BaseException | None = None
        self.logged: BaseException | None = None  # the error that a log line with its stack has been written for
        self.started = time.perf_counter()
        self._raw = request
        self._duration: float | None = None
        self._request_id: str | None = None
        self.trace: TraceContext | None = None
        if method.served:
            if "traceparent" in metadata:
                self.trace = TraceContext.parse(metadata["traceparent"])
        elif parent is not None:
            self.trace = parent.trace

    # What a transport knows.

    def values(self, name: str) -> list[str]:
        """All values of a header, in order; most have none or one."""
        value = self.metadata.get(name)
        return [] if value is None else [value]

    @property
    def peer(self) -> str:
        """The other side's address, as the transport tells it."""
        return ""

    def code_of(self, error: BaseException) -> StatusCode:
        """The code that the caller sees when this error leaves the chain."""
        if isinstance(error, ChassisError):
            # Another service's answer is not this one's, unless a servicer says so by an error of its own.
            return error.code if error.remote is None or not self.method.served else classify(error).code
        if isinstance(error, asyncio.CancelledError):
            return StatusCode.CANCELLED
        return StatusCode.INTERNAL

    # What every call has.

    @property
    def request(self) -> Any:
        """The request: a message, or for request streams the iterator of messages. Decoded when first asked for.

        Raises `Undecodable` where the bytes are no message of the method's type.
        """
        return self._raw

    def time_remaining(self) -> float | None:
        """Seconds until the deadline (negative behind it), None where there is none."""
        deadline = self.deadline
        return None if deadline is None else deadline - time.monotonic()

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, that of the call being served, or a new one of 32 hex digits."""
        if self._request_id is None:
            if self.method.served:
                given = self.metadata.get("x-request-id")
                if given and len(given) <= self.MAX_REQUEST_ID_LENGTH and _is_readable(given):
                    self._request_id = given
                    return given
            elif self.parent is not None:
                self._request_id = self.parent.request_id
                return self._request_id
            self._request_id = _ids.getrandbits(128).to_bytes(16, "big").hex()
        return self._request_id

    @property
    def duration(self) -> float:
        """Seconds since the start; once the call is over, those that it took."""
        return time.perf_counter() - self.started if self._duration is None else self._duration

    def over(self) -> float:
        """For those who record the call: it is over. Returns the seconds that it took, the same to all of them."""
        if self._duration is None:
            self._duration = time.perf_counter() - self.started
        return self._duration

    def __repr__(self) -> str:
        return f"<Call {self.method.path} {self.code.name}>"


def _is_readable(text: str) -> bool:
    return text.isascii() and text.isprintable() and not text.isspace()


def current_call() -> Call | None:
    """The call being served here; None outside of one. Calls going out have it as `parent`."""
    return _current.get()


def current_principal() -> Principal | None:
    """Who makes the call being served here; None outside of one, or where nobody had to say.

    >>> current_principal() is None
    True
    """
    call = _current.get()
    return None if call is None else call.principal


enter: Callable[[Call], Token[Call | None]] = _current.set
"""Make this the call being served in this context; for edges."""

leave: Callable[[Token[Call | None]], None] = _current.reset
"""Undo `enter`, where a context serves more than one call."""


def headers_of(pairs: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name, as `Call.metadata` holds them.

    >>> headers_of({"X-Request-ID": "r-1"})
    {'x-request-id': 'r-1'}
    """
    return {name.lower(): value for name, value in pairs.items()}


def time_left() -> float | None:
    """Seconds that the call being served here has left, negative behind its deadline; None where nothing limits it.

    >>> time_left() is None
    True
    """
    call = _current.get()
    return None if call is None else call.time_remaining()


def is_cancelled() -> bool:
    """Whether the task that runs here is being cancelled from outside: its client went away, or its server stops.

    A CancelledError that comes up without that is stray: what was awaited has been cancelled.

    >>> async def main():
    ...     return is_cancelled()
    >>> asyncio.run(main())
    False
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
