from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

# What Python needs for a message beside its bytes, about.
_OVERHEAD = 1024


class Message:
    """A stored event."""

    __slots__ = ("gone", "headers", "payload", "published", "sequence", "size", "stream", "subject", "unsettled")

    def __init__(
        self, stream: str, sequence: int, subject: str, payload: bytes, headers: Mapping[str, str], published: float
    ) -> None:
        self.stream = stream
        self.sequence = sequence
        self.subject = subject
        self.payload = payload
        self.headers = dict(headers)
        self.published = published
        self.size = size_of(payload, headers)
        self.unsettled = 0  # durables that are not done with it
        self.gone = False


class Subscriber(Protocol):
    """Who takes the events of a durable."""

    @property
    def has_room(self) -> bool:
        """Whether one more event can be handed over."""

    def take(self, message: Message, deliveries: int) -> None:
        """Hand an event over."""


class _Pending:
    """An event that was delivered and is not settled."""

    __slots__ = ("deliveries", "expires", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.deliveries = 0
        self.expires = 0.0


class Durable:
    """A place in a stream: what is still to be delivered to those who share it, and what they have not settled."""

    def __init__(self, name: str, subject: str, settled: Callable[[Message], None]) -> None:
        self.name = name
        self.subject = subject
        self._settled = settled
        self._ack_wait = 0.0
        self._max_ack_pending = 0
        self._subscribers: deque[Subscriber] = deque()
        self._new: deque[Message] = deque()
        # Everything that was delivered and is not settled; of these, those at a subscriber in the order in which they
        # expire, those that wait for their time, and those whose time has come.
        self._pending: dict[int, _Pending] = {}
        self._delivered: dict[int, _Pending] = {}
        self._delayed: list[tuple[float, int]] = []
        self._due: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, ack_wait: float, max_ack_pending: int) -> None:
        """Take over what a subscription asks for."""
        self._ack_wait = ack_wait
        self._max_ack_pending = max_ack_pending

    def join(self, subscriber: Subscriber) -> None:
        """One more takes a share of the work."""
        self._subscribers.append(subscriber)
        self._dispatch()

    def leave(self, subscriber: Subscriber) -> None:
        """One takes no more; what it has not settled comes again when `ack_wait` is over."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def add(self, message: Message) -> None:
        """An event was published."""
        self._new.append(message)
        self._dispatch()

    def done(self, message: Message) -> None:
        """An event is not to be delivered again."""
        if self._pending.pop(message.sequence, None) is not None:
            self._delivered.pop(message.sequence, None)
            message.unsettled -= 1
            if message.unsettled == 0:
                self._settled(message)
        self._dispatch()

    def again(self, message: Message, deliveries: int, delay: float) -> None:
        """An event is to be delivered again; nothing happens where this was not the last delivery."""
        pending = self._delivered.get(message.sequence)
        if pending is not None and pending.deliveries == deliveries:
            del self._delivered[message.sequence]
            if delay > 0:
                heapq.heappush(self._delayed, (asyncio.get_running_loop().time() + delay, message.sequence))
            else:
                self._due.append(message.sequence)
        self._dispatch()

    def alive(self, message: Message, deliveries: int) -> None:
        """An event is being worked on."""
        pending = self._delivered.get(message.sequence)
        if pending is not None and pending.deliveries == deliveries:
            del self._delivered[message.sequence]
            self._deliver_until(pending)

    def _deliver_until(self, pending: _Pending) -> None:
        pending.expires = asyncio.get_running_loop().time() + self._ack_wait
        self._delivered[pending.message.sequence] = pending

    def _dispatch(self) -> None:
        while (subscriber := self._free()) is not None and (pending := self._next()) is not None:
            pending.deliveries += 1
            self._deliver_until(pending)
            subscriber.take(pending.message, pending.deliveries)
        self._arm()

    def _free(self) -> Subscriber | None:
        for _ in range(len(self._subscribers)):
            subscriber = self._subscribers[0]
            self._subscribers.rotate(-1)
            if subscriber.has_room:
                return subscriber
        return None

    def _next(self) -> _Pending | None:
        while self._due:
            pending = self._pending.get(self._due.popleft())
            if pending is not None and not self._forgotten(pending.message):
                return pending
        while self._new and len(self._pending) < self._max_ack_pending:
            message = self._new.popleft()
            if not message.gone:
                pending = self._pending[message.sequence] = _Pending(message)
                return pending
        return None

    def _forgotten(self, message: Message) -> bool:
        if message.gone:
            del self._pending[message.sequence]
        return message.gone

    def _arm(self) -> None:
        times = [self._delayed[0][0]] if self._delayed else []
        if self._delivered:
            times.append(next(iter(self._delivered.values())).expires)
        # One that rings too early is cheaper than a new one for every event.
        if times and (self._timer is None or self._timer.when() > min(times)):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(min(times), self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[1])
        while self._delivered:
            pending = next(iter(self._delivered.values()))
            if pending.expires > now:
                break
            del self._delivered[pending.message.sequence]
            self._due.append(pending.message.sequence)
        self._dispatch()


def size_of(payload: bytes, headers: Mapping[str, str]) -> int:
    """Bytes of memory that an event takes, about."""
    return len(payload) + sum(len(name) + len(value) for name, value in headers.items()) + _OVERHEAD
