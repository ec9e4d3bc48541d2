from __future__ import annotations

import asyncio

import pytest

from chassis.component import Component
from chassis.errors import Temporary
from chassis.health import Health, HealthWatch


class Part(Component):
    name = "database"
    error: Exception | None = None

    async def check(self) -> None:
        if self.error is not None:
            raise self.error


async def test_a_lost_and_a_returned_part_are_noticed_without_a_probe() -> None:
    part = Part()
    health = Health([part], cache=0)
    changes: asyncio.Queue[bool] = asyncio.Queue()
    health.subscribe(changes.put_nowait)
    watch = HealthWatch(health, interval=0.001)
    await watch.start()
    health.mark_ready()
    assert await changes.get() is True
    part.error = Temporary("down")
    assert await changes.get() is False
    assert not health.ready
    part.error = None
    assert await changes.get() is True
    await watch.stop()


async def test_nothing_is_asked_any_more_once_it_has_stopped() -> None:
    health = Health([Part()], cache=0)
    changed = asyncio.Event()
    health.subscribe(lambda ready: changed.set())
    watch = HealthWatch(health, interval=0.001)
    await watch.start()
    health.mark_ready()
    await changed.wait()
    await watch.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_check_that_hangs_does_not_hold_up_its_stop() -> None:
    begun = asyncio.Event()

    class Hanging(Part):
        async def check(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    watch = HealthWatch(Health([Hanging()]))
    await watch.start()
    await begun.wait()
    await watch.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_it_goes_on_when_a_round_failed(caplog: pytest.LogCaptureFixture) -> None:
    rounds = 0
    enough = asyncio.Event()

    def parts() -> list[Component]:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            enough.set()
        raise RuntimeError("no list")

    watch = HealthWatch(Health(parts), interval=0.001)
    await watch.start()
    await enough.wait()
    await watch.stop()
    assert "could not be checked" in caplog.text


async def test_stopping_what_was_never_started_does_nothing() -> None:
    await HealthWatch(Health()).stop()
