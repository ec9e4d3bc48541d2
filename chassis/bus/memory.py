from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from chassis.bus.backend import Consumer, Delivery
from chassis.bus.memory_broker import MemoryBroker
from chassis.bus.memory_durable import Durable, Message
from chassis.errors import Temporary


class MemoryBackend:
    """The event bus within one process: JetStream's behaviour, without its memory of what was before the process.

    Services that are given backends of the same broker reach each other. What differs from JetStream: nothing
    survives the process, and all of it runs on one event loop.

    >>> broker = MemoryBroker()
    >>> cqar, watch = MemoryBackend(broker), MemoryBackend(broker)
    >>> cqar.system
    'memory'
    """

    system = "memory"

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = MemoryBroker() if broker is None else broker
        self._running = False

    @property
    def max_payload(self) -> int | None:
        """As the broker has it."""
        return self.broker.max_payload

    async def start(self) -> None:
        """Nothing has to be reached."""
        self._running = True

    async def stop(self) -> None:
        """What is unsettled by now comes again for others when `ack_wait` is over."""
        self._running = False

    async def check(self) -> None:
        """Raise if it is not running."""
        if not self._running:
            raise Temporary("the memory bus is not running")

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        """Returns when the event is stored; ResourceExhausted where the broker is full of events nobody has handled."""
        await self.check()
        self.broker.publish(subject, payload, headers, msg_id)
        await asyncio.sleep(0)  # as over a network, others have their turn before it is confirmed

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> MemoryIntake:
        """Begin to deliver."""
        await self.check()
        durable = self.broker.durable(consumer)
        intake = MemoryIntake(durable, consumer.prefetch, deliver)
        durable.join(intake)
        return intake


class MemoryIntake:
    """One subscriber of a durable."""

    __slots__ = ("_deliver", "_durable", "_held", "_prefetch")

    def __init__(self, durable: Durable, prefetch: int, deliver: Callable[[Delivery], None]) -> None:
        self._durable = durable
        self._prefetch = prefetch
        self._deliver = deliver
        self._held: set[int] = set()

    @property
    def has_room(self) -> bool:
        """Whether one more event can be handed over."""
        return len(self._held) < self._prefetch

    def take(self, message: Message, deliveries: int) -> None:
        """Hand an event over."""
        self._held.add(message.sequence)
        self._deliver(MemoryDelivery(self, self._durable, message, deliveries))

    def settled(self, message: Message) -> None:
        """One of those that were handed over is here no longer."""
        self._held.discard(message.sequence)

    async def stop(self) -> None:
        """Take in no more."""
        self._durable.leave(self)


class MemoryDelivery:
    """One event on its way to one subscriber."""

    __slots__ = ("_durable", "_intake", "_message", "_open", "deliveries")

    def __init__(self, intake: MemoryIntake, durable: Durable, message: Message, deliveries: int) -> None:
        self._intake = intake
        self.deliveries = deliveries
        self._durable = durable
        self._message = message
        self._open = True

    @property
    def subject(self) -> str:
        """The topic."""
        return self._message.subject

    @property
    def payload(self) -> bytes:
        """The bytes as they were published."""
        return self._message.payload

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers as they were published."""
        return self._message.headers

    @property
    def stream(self) -> str:
        """The stream that keeps it."""
        return self._message.stream

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        return self._message.sequence

    async def ack(self) -> None:
        """It is done; also where it was taken for lost and is on its way again."""
        self._settle(self._durable.done)

    async def term(self) -> None:
        """Never deliver it to this durable again."""
        self._settle(self._durable.done)

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest."""
        self._settle(lambda message: self._durable.again(message, self.deliveries, delay))

    async def in_progress(self) -> None:
        """`ack_wait` begins anew."""
        if self._open:
            self._durable.alive(self._message, self.deliveries)

    def _settle(self, how: Callable[[Message], None]) -> None:
        if self._open:
            self._open = False
            self._intake.settled(self._message)
            how(self._message)
