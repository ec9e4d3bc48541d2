"""Those who consume events and acknowledge each: nats-py's fetch, FastStream's subscribers, and those of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cqc.events.v1.asset_events_pb2 import AssetCreated

from tests.bench.events import STREAM, TOPIC, Broker
from tests.bench.measured import Client

_BATCH = 100
_PATIENCE = 60.0


class Consumer(Client):
    """Consumes what is in the stream by a durable of each turn's own; done when the server has all acknowledgements."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._turn = 0
        self.durable = ""

    async def prepare(self, count: int) -> None:
        await self._broker.fill(count)
        self._turn += 1
        self.durable = f"turn_{self._turn}"

    async def work(self, count: int) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self.consume(count)
        await self._broker.wait_until_acknowledged(self.durable)

    async def consume(self, count: int) -> None:
        """Handle so many events."""
        raise NotImplementedError

    async def unsubscribe(self) -> None:
        """Have the subscription of this turn take no more."""

    async def prove(self, count: int) -> None:
        await self.unsubscribe()
        await self._broker.prove_acknowledged(self.durable, count)

    async def stop(self) -> None:
        await self._broker.close()


class Handling(Consumer):
    """Has a handler, which decodes or gets events that are decoded, and is called until all are there."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._left = 0
        self._all_there = asyncio.Event()

    async def consume(self, count: int) -> None:
        self._left = count
        self._all_there.clear()
        await self.subscribe()
        await self._all_there.wait()

    async def subscribe(self) -> None:
        """Begin to have `handled` called."""
        raise NotImplementedError

    def handled(self, event: AssetCreated) -> None:
        """Count an event."""
        assert event.source
        self._left -= 1
        if not self._left:
            self._all_there.set()


class Fetching(Consumer):
    """`fetch(100)` of nats-py, again and again; nothing is decoded."""

    async def consume(self, count: int) -> None:
        subscription = await self._broker.jetstream.pull_subscribe(TOPIC, self.durable, STREAM)
        left = count
        while left:
            for message in await subscription.fetch(min(_BATCH, left)):
                await message.ack()
                left -= 1
        self._unsubscribe = subscription.unsubscribe

    async def unsubscribe(self) -> None:
        await self._unsubscribe()


class Pushed(Handling):
    """A push subscription of nats-py, whose callback decodes: the server sends without being asked for each batch."""

    async def subscribe(self) -> None:
        async def handle(message: Any) -> None:
            self.handled(AssetCreated.FromString(message.data))
            await message.ack()

        self._subscription = await self._broker.jetstream.subscribe(
            TOPIC, durable=self.durable, stream=STREAM, cb=handle, manual_ack=True
        )

    async def unsubscribe(self) -> None:
        await self._subscription.unsubscribe()


class FastStream(Handling):
    """A subscriber of FastStream whose handler decodes: pulling batches of a hundred, or being pushed to."""

    def __init__(self, broker: Broker, faststream: Any, *, pull: bool) -> None:
        super().__init__(broker)
        self._faststream = faststream
        self._pull = pull

    async def subscribe(self) -> None:
        from faststream.nats import PullSub

        pulling = {"durable": self.durable, "pull_sub": PullSub(batch_size=_BATCH)}
        # A queue of its name is what FastStream wants of instances that share a durable they are pushed from.
        options = pulling if self._pull else {"queue": self.durable}
        self._subscriber = self._faststream.subscriber(TOPIC, stream=STREAM, **options)

        @self._subscriber
        async def handle(body: bytes) -> None:
            self.handled(AssetCreated.FromString(body))

        await self._subscriber.start()

    async def unsubscribe(self) -> None:
        await self._subscriber.stop()

    async def stop(self) -> None:
        await self._faststream.stop()
        await super().stop()


class Chassis(Handling):
    """A subscription of a service, whose handler gets decoded events, each in a task."""

    def __init__(self, broker: Broker, service: Any, settle: Callable[[], object], concurrency: int) -> None:
        super().__init__(broker)
        self.settle = settle
        self._service = service
        self._concurrency = concurrency

    async def subscribe(self) -> None:
        async def handle(event: AssetCreated) -> None:
            self.handled(event)

        self._running = await self._service.bus.subscribe(
            AssetCreated, handle, durable=self.durable, concurrency=self._concurrency
        )
        self.durable = self._running.durable

    async def unsubscribe(self) -> None:
        await self._running.drain(1.0)

    async def stop(self) -> None:
        await self._service.stop()
        await super().stop()


async def build(settings: dict[str, Any], public_key: str) -> Client:
    """Make it.

    Settings: `by` (fetch or pushed of nats-py, pull or push of FastStream, chassis), `concurrency` of its handlers.
    """
    place = settings["place"]
    broker = await Broker.connected(place)
    if settings["by"] == "fetch":
        return Fetching(broker)
    if settings["by"] == "pushed":
        return Pushed(broker)
    if settings["by"] == "chassis":
        from tests.bench.chassis_service import settling, started

        service = await started({"uses": ["bus"], **settings}, public_key)
        return Chassis(broker, service, settling(service), settings["concurrency"])
    from faststream.nats import NatsBroker

    faststream = NatsBroker(place["eventbus.servers"], logger=None)
    await faststream.start()
    return FastStream(broker, faststream, pull=settings["by"] == "pull")
