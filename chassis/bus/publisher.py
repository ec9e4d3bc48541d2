from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from google.protobuf.message import Message

from chassis.bus.backend import Backend
from chassis.bus.event import EVENT_ID, PublishCall
from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose
from chassis.errors import DeadlineExceeded, InvalidInput, Temporary
from chassis.retry import Policy


class Publisher:
    """Brings events to the broker and returns when it has them: one Call each, through what goes around it.

    A confirmation that does not come within its share of `timeout` (seconds) is asked for again under the same id,
    by which the broker knows that it has the event already.
    """

    MAX_TOPICS: ClassVar[int] = 1000
    """Topics beyond these share one Method: what is made up at run time may fill neither memory nor metrics."""

    def __init__(self, backend: Backend, around: Iterable[Interceptor], *, timeout: float, retry: Policy) -> None:
        _check_timeout(timeout)
        self._backend = backend
        self._around: Sequence[Interceptor] = tuple(around)
        self._timeout = timeout
        self._retry = replace(retry, total=timeout)
        self._routes: dict[str, tuple[Method, Proceed]] = {}
        self._others: tuple[Method, Proceed] | None = None

    async def send(
        self,
        topic: str,
        message: Message,
        payload: bytes,
        event_id: str,
        headers: Mapping[str, str],
        *,
        parent: Call | None,
        timeout: float | None = None,
    ) -> None:
        """Return when the broker has it.

        Raises `Temporary` where the broker did not say so in time (it may have the event all the same),
        `DeadlineExceeded` where it was the parent call's time that ran out, `InvalidInput` for what is too large.
        """
        if timeout is None:
            timeout = self._timeout
        else:
            _check_timeout(timeout)
        method, chain = self._routes.get(topic) or self._route(topic)
        call = PublishCall(method, topic, message, payload, event_id, headers, parent, timeout)
        # The deadline is the caller's alone: what the bus allows itself ends in Temporary, which may be tried again.
        call.deadline = None if parent is None else parent.deadline
        await chain(call)

    def _route(self, topic: str) -> tuple[Method, Proceed]:
        if len(self._routes) < self.MAX_TOPICS:
            method = Method("event", "client", topic, self._backend.system, "publish", Kind.EVENT)
            route = self._routes[topic] = (method, compose(self._around, method, self._publish))
            return route
        if self._others is None:
            method = Method("event", "client", "", self._backend.system, "publish", Kind.EVENT, known=False)
            self._others = (method, compose(self._around, method, self._publish))
        return self._others

    async def _publish(self, call: Call) -> None:
        assert isinstance(call, PublishCall)
        headers = dict(call.metadata)
        headers["Nats-Msg-Id"] = headers.pop(EVENT_ID)  # brokers know it in this spelling alone
        headers.setdefault("x-request-id", call.request_id)
        if call.trace is not None:  # with tracing off, what came in still goes out
            headers.setdefault("traceparent", call.trace.traceparent)
        self._check_size(call, headers)
        until = time.monotonic() + call.timeout
        if call.deadline is not None:
            until = min(until, call.deadline)
        retry = self._retry if call.timeout == self._timeout else replace(self._retry, total=call.timeout)
        share = call.timeout / (retry.attempts or 1)

        async def attempt() -> None:
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise self._unconfirmed(call)
            limit = min(share, remaining)
            try:
                await self._backend.publish(call.topic, call.payload, headers, msg_id=call.event_id, timeout=limit)
            except (TimeoutError, OSError) as error:
                raise self._unconfirmed(call) from error

        try:
            await retry.call(attempt)
        except Temporary as error:
            remaining = call.time_remaining()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceeded(
                    f"the time of the call ran out before the event bus confirmed the event on {call.topic}"
                ) from error
            raise

    def _unconfirmed(self, call: PublishCall) -> Temporary:
        return Temporary(
            f"the event bus did not confirm the event on {call.topic} in time; it may have been published all the same",
            detail=f"event {call.event_id}: publishing again with this event_id is harmless",
        )

    def _check_size(self, call: PublishCall, headers: Mapping[str, str]) -> None:
        limit = self._backend.max_payload
        if limit is None:
            return
        size = size_of(call.payload, headers)
        if size > limit:
            raise InvalidInput(
                f"the event on {call.topic} has {size} bytes with its headers, and the event bus takes {limit}: "
                "publish a reference to the data instead"
            )


def _check_timeout(timeout: float) -> None:
    if not 0 < timeout < math.inf:
        raise ValueError(f"publishing needs a timeout of more than 0 seconds, not {timeout}")


# NATS client protocol, HPUB: the version line, `Name: value` lines, and the end of the headers.
_FRAME = len("NATS/1.0\r\n\r\n")
_LINE = len(": \r\n")


def size_of(payload: bytes, headers: Mapping[str, str]) -> int:
    """Bytes that an event takes on the wire.

    >>> size_of(b"12345", {"a": "b"})
    23
    """
    return len(payload) + sum(len(name) + len(value) + _LINE for name, value in headers.items()) + _FRAME
