"""Those who publish events and wait for their confirmation: nats-py, FastStream, and the bus of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from cqc.events.v1.asset_events_pb2 import AssetCreated

from tests.bench.events import STREAM, TOPIC, Broker, event, headers
from tests.bench.measured import Client, nothing, repeated

Publish = Callable[[AssetCreated], Awaitable[Any]]


class Publisher(Client):
    """Publishes events that were made before: one at a time, or as many at once as `window` says."""

    def __init__(
        self,
        broker: Broker,
        publish: Publish,
        stop: Callable[[], Awaitable[Any]] | None,
        window: int,
        settle: Callable[[], object] = nothing,
    ) -> None:
        self.settle = settle
        self._broker = broker
        self._publish = publish
        self._stop = stop
        self._window = window
        self._events: list[AssetCreated] = []

    async def prepare(self, count: int) -> None:
        await self._broker.purge()
        self._events = [event(number) for number in range(count)]

    async def work(self, count: int) -> None:
        if self._window == 1:
            await repeated(lambda number: self._publish(self._events[number]), count, 1)
            return
        for start in range(0, count, self._window):
            await asyncio.gather(*map(self._publish, self._events[start : start + self._window]))

    async def prove(self, count: int) -> None:
        if (stored := await self._broker.stored()) != count:
            raise RuntimeError(f"{stored} events were stored, of {count} that were confirmed")

    async def stop(self) -> None:
        if self._stop is not None:
            await self._stop()
        await self._broker.close()


class AllAtOnce(Publisher):
    """Hands them all to a bus that has a window of its own."""

    def __init__(
        self,
        broker: Broker,
        bus: Any,
        stop: Callable[[], Awaitable[Any]],
        window: int,
        settle: Callable[[], object],
    ) -> None:
        super().__init__(broker, bus.publish, stop, window, settle)
        self._publish_all = bus.publish_all

    async def work(self, count: int) -> None:
        await self._publish_all(self._events, window=self._window)


class Windowed(Publisher):
    """nats-py's own window: no more than so many are under way, and all are confirmed in the end."""

    async def work(self, count: int) -> None:
        confirmed = [await self._publish(made) for made in self._events]
        await asyncio.gather(*confirmed)


async def build(settings: dict[str, Any], public_key: str) -> Client:
    """Make it. Settings: `by` (nats, nats_async, faststream, chassis, or publish_all of the chassis), `window`."""
    place, window = settings["place"], settings["window"]
    broker = await Broker.connected(place)
    if settings["by"] == "nats":
        send = broker.jetstream.publish
        return Publisher(
            broker, lambda made: send(TOPIC, made.SerializeToString(), headers=headers(made)), None, window
        )
    if settings["by"] == "nats_async":
        publish_async = broker.connection.jetstream(publish_async_max_pending=window).publish_async
        return Windowed(
            broker, lambda made: publish_async(TOPIC, made.SerializeToString(), headers=headers(made)), None, window
        )
    if settings["by"] == "faststream":
        from faststream.nats import NatsBroker

        faststream = NatsBroker(place["eventbus.servers"], logger=None)
        await faststream.start()
        return Publisher(
            broker,
            lambda made: faststream.publish(made.SerializeToString(), TOPIC, headers=headers(made), stream=STREAM),
            faststream.stop,
            window,
        )
    from tests.bench.chassis_service import settling, started

    service = await started({"uses": ["bus"], **settings}, public_key)
    make = AllAtOnce if settings["by"] == "publish_all" else lambda b, bus, *rest: Publisher(b, bus.publish, *rest)
    return make(broker, service.bus, service.stop, window, settling(service))
