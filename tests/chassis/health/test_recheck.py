"""A part that says by itself that something has changed."""

from __future__ import annotations

from chassis.component import Component
from chassis.errors import Temporary
from chassis.health import Health


class Port(Component):
    name = "port"

    def __init__(self) -> None:
        self.open = True
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if not self.open:
            raise Temporary("it is closed")


async def test_what_was_found_before_counts_no_longer() -> None:
    port = Port()
    health = Health([port], cache=3600)
    health.mark_ready()
    assert (await health.check()).ready
    port.open = False
    assert (await health.check()).ready, "it has not been asked again"

    health.recheck()

    assert not health.ready, "nor is it taken for granted meanwhile"
    assert not (await health.check()).ready
    port.open = True
    health.recheck()
    assert (await health.check()).ready


async def test_those_who_want_to_know_are_told() -> None:
    port = Port()
    told: list[bool] = []
    health = Health([port], cache=3600)
    health.subscribe(told.append)
    health.mark_ready()
    await health.check()
    for state in (False, True):
        port.open = state
        health.recheck()
        await health.check()

    assert told == [True, False, True]
    await health.close()
