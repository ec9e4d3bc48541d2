"""Who has had which event of a log, for backends whose broker stores events and does not remember that itself."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chassis.bus.backend import Consumer, Delivery


@dataclass(slots=True)
class Stored:
    """An event as a log has it."""

    stream: str
    sequence: int
    subject: str
    payload: bytes
    headers: Mapping[str, str]


class Durable:
    """A place in a log: what is still to be delivered to those who share it, and what they have not settled.

    The log tells it of its events by `add`, the oldest first; those on other subjects are passed over. `read` gives the
    event of a number, or None for one that the log does not keep any more; `done` is called when one is not to be
    delivered again.
    """

    def __init__(
        self, name: str, subject: str, *, read: Callable[[int], Stored | None], done: Callable[[int], None]
    ) -> None:
        self._name = name
        self._subject = subject
        self._read = read
        self._done = done
        self._ack_wait = 0.0
        self._max_ack_pending = 0
        self._subscribers: deque[_Subscriber] = deque()
        self._new: deque[int] = deque()
        # Everything that was delivered and is not settled; of these, those at a subscriber in the order in which they
        # expire, those that wait for their time, and those whose time has come.
        self._pending: dict[int, _Pending] = {}
        self._delivered: dict[int, _Pending] = {}
        self._delayed: list[tuple[float, int]] = []
        self._due: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sequence: int) -> None:
        """An event is in the log."""
        self._new.append(sequence)
        self._dispatch()

    def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> _Subscriber:
        """One more takes a share of the work; ValueError where the durable belongs to another subject.

        What is asked for last holds for all. What one has not settled when it stops comes again for the others when
        `ack_wait` is over.
        """
        if consumer.subject != self._subject:
            raise ValueError(f"the durable {self._name} takes events on {self._subject}, not on {consumer.subject}")
        self._ack_wait = consumer.ack_wait
        self._max_ack_pending = consumer.max_ack_pending
        subscriber = _Subscriber(self, consumer.prefetch, deliver)
        self._subscribers.append(subscriber)
        self._dispatch()
        return subscriber

    def leave(self, subscriber: _Subscriber) -> None:
        """One takes no more."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def settled(self, sequence: int) -> None:
        """An event is not to be delivered again; also where it was taken for lost and is on its way again."""
        if self._pending.pop(sequence, None) is not None:
            self._delivered.pop(sequence, None)
            self._done(sequence)
        self._dispatch()

    def again(self, sequence: int, deliveries: int, delay: float) -> None:
        """An event is to be delivered again; nothing happens where this was not the last delivery."""
        pending = self._delivered.get(sequence)
        if pending is not None and pending.deliveries == deliveries:
            del self._delivered[sequence]
            if delay > 0:
                heapq.heappush(self._delayed, (asyncio.get_running_loop().time() + delay, sequence))
            else:
                self._due.append(sequence)
        self._dispatch()

    def alive(self, sequence: int, deliveries: int) -> None:
        """An event is being worked on."""
        pending = self._delivered.get(sequence)
        if pending is not None and pending.deliveries == deliveries:
            del self._delivered[sequence]
            self._deliver_until(pending)

    def begun(self, sequence: int) -> int:
        """How often the handler of an event was begun, this time included; 1 where it was settled meanwhile."""
        pending = self._pending.get(sequence)
        if pending is None:
            return 1
        pending.begun += 1
        return pending.begun

    def _deliver_until(self, pending: _Pending) -> None:
        pending.expires = asyncio.get_running_loop().time() + self._ack_wait
        self._delivered[pending.event.sequence] = pending

    def _dispatch(self) -> None:
        while (subscriber := self._free()) is not None and (pending := self._next()) is not None:
            pending.deliveries += 1
            self._deliver_until(pending)
            subscriber.take(pending.event, pending.deliveries)
        self._arm()

    def _free(self) -> _Subscriber | None:
        for _ in range(len(self._subscribers)):
            subscriber = self._subscribers[0]
            self._subscribers.rotate(-1)
            if subscriber.has_room:
                return subscriber
        return None

    def _next(self) -> _Pending | None:
        while self._due:
            sequence = self._due.popleft()
            pending = self._pending.get(sequence)
            if pending is not None and self._read(sequence) is not None:
                return pending
            self._pending.pop(sequence, None)
        while self._new and len(self._pending) < self._max_ack_pending:
            sequence = self._new.popleft()
            event = self._read(sequence)
            if event is not None and event.subject == self._subject:
                pending = self._pending[sequence] = _Pending(event)
                return pending
        return None

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
            del self._delivered[pending.event.sequence]
            self._due.append(pending.event.sequence)
        self._dispatch()


class _Pending:
    """An event that was delivered and is not settled."""

    __slots__ = ("begun", "deliveries", "event", "expires")

    def __init__(self, event: Stored) -> None:
        self.event = event
        self.deliveries = 0
        self.begun = 0
        self.expires = 0.0


class _Subscriber:
    """One of those who share a durable."""

    __slots__ = ("_deliver", "_prefetch", "durable", "held")

    def __init__(self, durable: Durable, prefetch: int, deliver: Callable[[Delivery], None]) -> None:
        self.durable = durable
        self.held: set[int] = set()
        self._prefetch = prefetch
        self._deliver = deliver

    @property
    def has_room(self) -> bool:
        """Whether one more event can be handed over."""
        return len(self.held) < self._prefetch

    def take(self, event: Stored, deliveries: int) -> None:
        """Hand an event over."""
        self.held.add(event.sequence)
        self._deliver(_Delivery(self, event, deliveries))

    async def stop(self) -> None:
        """Take in no more."""
        self.durable.leave(self)


class _Delivery:
    """One event on its way to one subscriber."""

    __slots__ = ("_open", "_subscriber", "deliveries", "headers", "payload", "sequence", "stream", "subject")

    stored = b""  # a log counts on: no number comes twice

    def __init__(self, subscriber: _Subscriber, event: Stored, deliveries: int) -> None:
        self._subscriber = subscriber
        self._open = True
        self.stream = event.stream
        self.sequence = event.sequence
        self.subject = event.subject
        self.payload = event.payload
        self.headers = event.headers
        self.deliveries = deliveries

    async def ack(self) -> None:
        """It is done."""
        if self._ends():
            self._subscriber.durable.settled(self.sequence)

    term = ack

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest."""
        if self._ends():
            self._subscriber.durable.again(self.sequence, self.deliveries, delay)

    async def in_progress(self) -> None:
        """`ack_wait` begins anew."""
        if self._open:
            self._subscriber.durable.alive(self.sequence, self.deliveries)

    async def begun(self) -> int:
        """Note that its handler is about to begin."""
        return self._subscriber.durable.begun(self.sequence)

    def _ends(self) -> bool:
        if not self._open:
            return False
        self._open = False
        self._subscriber.held.discard(self.sequence)
        return True
