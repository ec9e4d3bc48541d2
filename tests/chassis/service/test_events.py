"""The event handlers of a service, and the resources that they need."""

from __future__ import annotations

import asyncio

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated, AssetDeploymentCreated

from chassis import ServiceChassis
from chassis.bus import Bus, MemoryBackend, MemoryBroker, subscribe
from chassis.testing import running

PATIENCE = 20.0


class Half(ServiceChassis):
    """A service of which one handler begins to work before it turns out that two others cannot."""

    name = "half"
    uses = ("bus",)

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self.seen: list[str] = []
        TOLD.append(self.seen)

    async def on_stop(self) -> None:
        self.seen.append("closed")
        for _ in range(20):  # what is still at work would have its turn
            await asyncio.sleep(0)

    @subscribe(AssetCreated)
    async def one(self, event: AssetCreated) -> None:
        await asyncio.sleep(0)
        self.seen.append("handled")

    @subscribe(AssetDeploymentCreated)
    async def two(self, event: AssetDeploymentCreated) -> None:
        """Handle it."""

    @subscribe(AssetDeploymentCreated)
    async def three(self, event: AssetDeploymentCreated) -> None:
        """Would share the events of the one above."""


TOLD: list[list[str]] = []


async def test_no_handler_is_at_work_when_a_service_that_could_not_start_cleans_up() -> None:
    broker = MemoryBroker()
    publisher = Bus(MemoryBackend(broker), service_name="publisher")
    await publisher.start()
    await publisher.publish_all([AssetCreated() for _ in range(50)])
    TOLD.clear()
    with pytest.raises(ValueError, match="two handlers"):
        async with running(Half, broker=broker):
            pass
    await publisher.stop()
    assert TOLD[0][-1] == "closed"
