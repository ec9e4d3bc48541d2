from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from chassis.bus.backend import Backend, Consumer, Delivery, Intake, too_large
from chassis.bus.memory_broker import MemoryBroker, size_of


class MemoryBackend(Backend):
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

    @property
    def max_payload(self) -> int | None:
        """As the broker has it."""
        return self.broker.max_payload

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        """Returns when the event is stored; ResourceExhausted where the broker is full of events nobody has handled."""
        limit, size = self.broker.max_payload, size_of(payload, headers)
        if limit is not None and size > limit:
            raise too_large(subject, size, limit)
        self.broker.publish(subject, payload, headers, msg_id)
        await asyncio.sleep(0)  # as over a network, others have their turn before it is confirmed

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Intake:
        """Begin to deliver."""
        return self.broker.durable(consumer.durable, consumer.subject).subscribe(consumer, deliver)
