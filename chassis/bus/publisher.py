from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from google.protobuf.message import Message

from chassis.bus.backend import Backend
from chassis.bus.event import MSG_ID, Envelope, PublishCall
from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose
from chassis.errors import DeadlineExceeded, Temporary
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
        # An OSError, TimeoutError among them, is a backend's way to say that it is not to be done right now.
        self._retry = replace(retry, per_error={OSError: True, **retry.per_error})
        self._attempts = retry.attempts or 1
        self._routes: dict[str, tuple[Method, Proceed]] = {}
        self._others: tuple[Method, Proceed] | None = None

    def send(
        self, topic: str, message: Message, envelope: Envelope, *, parent: Call | None, timeout: float | None = None
    ) -> Awaitable[None]:
        """Wait until the broker has it.

        Raises `Temporary` where the broker did not say so in time (it may have the event all the same),
        `DeadlineExceeded` where it was the parent call's time that ran out, `InvalidInput` for what is too large.
        """
        if timeout is None:
            timeout = self._timeout
        else:
            _check_timeout(timeout)
        method, chain = self._routes.get(topic) or self._route(topic)
        return chain(PublishCall(method, topic, message, envelope, parent, timeout))

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
        event_id = call.event_id
        headers = {MSG_ID: event_id, **call.metadata}
        if "x-request-id" not in headers:
            headers["x-request-id"] = call.request_id
        trace = call.trace
        if trace is not None and "traceparent" not in headers:  # with tracing off, what came in still goes out
            headers["traceparent"] = trace.traceparent
        timeout, deadline = call.timeout, call.deadline
        began = time.monotonic()
        until = began + timeout
        if deadline is not None and deadline < until:
            until = deadline
        limit = min(timeout / self._attempts, until - began)
        try:
            if limit <= 0:
                raise self._unconfirmed(call)
            await self._backend.publish(call.topic, call.payload, headers, msg_id=event_id, timeout=limit)
        except Exception as error:
            # What is confirmed at once, nearly everything, has not paid for any of what follows.
            await self._again(call, headers, began, until, error)

    async def _again(
        self, call: PublishCall, headers: dict[str, str], began: float, until: float, error: Exception
    ) -> None:
        async def attempt() -> None:
            limit = min(call.timeout / self._attempts, until - time.monotonic())
            if limit <= 0:
                raise self._unconfirmed(call)
            await self._backend.publish(call.topic, call.payload, headers, msg_id=headers[MSG_ID], timeout=limit)

        left = began + call.timeout - time.monotonic()
        try:
            await replace(self._retry, total=max(0.0, left)).go_on(error, attempt)
        except (Temporary, OSError) as failure:
            if call.deadline is not None and time.monotonic() >= call.deadline:
                raise DeadlineExceeded(
                    f"the time of the call ran out before the event bus confirmed the event on {call.topic}"
                ) from failure
            if isinstance(failure, OSError):
                raise self._unconfirmed(call) from failure
            raise

    def _unconfirmed(self, call: PublishCall) -> Temporary:
        return Temporary(
            f"the event bus did not confirm the event on {call.topic} in time; it may have been published all the same",
            detail=f"event {call.event_id}: publishing again with this event_id is harmless",
        )


def _check_timeout(timeout: float) -> None:
    if not 0 < timeout < math.inf:
        raise ValueError(f"publishing needs a timeout of more than 0 seconds, not {timeout}")
