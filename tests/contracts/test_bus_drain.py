"""How a service leaves: nothing is lost, and nothing waits for longer than it has to."""

from __future__ import annotations

import asyncio

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.errors import Temporary
from tests.contracts.bus_kit import PATIENCE, Inbox, Service, World
from tests.contracts.test_bus_delivery import Gate, publish

TOPIC = "cqi.testing.v1.echo_happened"


async def test_running_handlers_finish_and_are_acknowledged(world: World) -> None:
    service, gate = await world.service(), Gate()
    await service.bus.subscribe(EchoHappened, gate, concurrency=100, prefetch=100)
    await publish(service.bus, *[str(number) for number in range(100)])
    await gate.entered(100)
    draining = asyncio.create_task(service.bus.drain(PATIENCE))
    gate.open.set()
    assert await draining == []
    assert [how for how, _, _ in service.probe.settled] == ["ack"] * 100


async def test_what_was_fetched_and_not_begun_goes_to_others_at_once(world: World) -> None:
    leaving, gate = await world.service(ack_wait=3600.0), Gate()
    await leaving.bus.subscribe(EchoHappened, gate, prefetch=4)
    await publish(leaving.bus, *"abcd")
    await leaving.probe.until(lambda probe: len(probe.delivered) == 4)
    await gate.entered(1)
    draining = asyncio.create_task(leaving.bus.drain(PATIENCE))
    await leaving.probe.until(lambda probe: probe.settled == [("nak", TOPIC, 0.0)] * 3)
    staying, inbox = await world.service(ack_wait=3600.0), Inbox()
    await staying.bus.subscribe(EchoHappened, inbox)
    assert sorted([(await inbox.next()).text for _ in range(3)]) == list("bcd")
    gate.open.set()
    assert await draining == []
    assert gate.runs == ["a"]
    assert leaving.probe.settled[-1] == ("ack", TOPIC, 0.0)


async def test_nothing_is_taken_in_any_more(world: World) -> None:
    leaving, inbox = await world.service(), Inbox()
    await leaving.bus.subscribe(EchoHappened, inbox)
    await leaving.bus.drain(0)
    await publish(leaving.bus, "late")
    staying, other = await world.service(), Inbox()
    await staying.bus.subscribe(EchoHappened, other)
    assert (await other.next()).text == "late"
    assert (inbox.events, leaving.probe.delivered) == ([], [])


async def test_what_still_runs_after_the_grace_is_cut_off_given_back_and_named(world: World) -> None:
    leaving, gate = await world.service(max_deliver=1), Gate()
    await leaving.bus.subscribe(EchoHappened, gate)
    await publish(leaving.bus, "stuck")
    await gate.entered(1)
    (cut,) = await leaving.bus.drain(0.01)
    assert TOPIC in cut
    assert "cqar-cqi_testing_v1_echo_happened" in cut
    assert leaving.probe.settled == [("nak", TOPIC, 0.0)]
    assert gate.inside == 0
    staying, inbox = await world.service(max_deliver=1), Inbox()
    await staying.bus.subscribe(EchoHappened, inbox)
    assert (await inbox.next()).text == "stuck"


async def test_a_handler_that_will_not_end_is_left_behind_and_its_event_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.bus.RunningSubscription.CUT_GRACE", 0.05)
    leaving, free = await world.service(), asyncio.Event()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(event: EchoHappened) -> None:
        begun.set()
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    await leaving.bus.subscribe(EchoHappened, stubborn)
    await publish(leaving.bus, "stuck")
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        assert len(await leaving.bus.drain(0.01)) == 1
        assert leaving.probe.settled == [("nak", TOPIC, 0.0)]
        free.set()
        await ended.wait()


async def test_handlers_can_publish_while_the_bus_drains(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        begun.set()
        await go_on.wait()
        await service.bus.publish("acme.v1.follows", EchoHappened(text="follows"))

    await service.bus.subscribe(EchoHappened, handler)
    await publish(service.bus, "first")
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    draining = asyncio.create_task(service.bus.drain(PATIENCE))
    go_on.set()
    assert await draining == []
    other = await world.service("other")
    await other.bus.subscribe("acme.v1.follows", inbox, message_type=EchoHappened)
    assert (await inbox.next()).text == "follows"


async def test_a_handler_that_fails_while_the_bus_drains_has_its_event_come_again(world: World) -> None:
    leaving, begun, fail = await world.service(), asyncio.Event(), asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        begun.set()
        await fail.wait()
        raise Temporary("no")

    await leaving.bus.subscribe(EchoHappened, handler)
    await publish(leaving.bus, "fails", "was not begun")
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    draining = asyncio.create_task(leaving.bus.drain(PATIENCE))
    await leaving.probe.until(lambda probe: len(probe.settled) == 1)
    fail.set()
    assert await draining == []
    assert [how for how, _, _ in leaving.probe.settled] == ["nak", "nak"]
    staying, inbox = await world.service(), Inbox()
    await staying.bus.subscribe(EchoHappened, inbox)
    assert sorted([(await inbox.next()).text for _ in range(2)]) == ["fails", "was not begun"]


async def test_stopping_drains(world: World) -> None:
    service, gate = await world.service(grace=PATIENCE), Gate()
    await service.bus.subscribe(EchoHappened, gate)
    await publish(service.bus, "a")
    await gate.entered(1)
    stopping = asyncio.create_task(service.bus.stop())
    gate.open.set()
    await stopping
    assert service.probe.settled == [("ack", TOPIC, 0.0)]
    with pytest.raises(Temporary, match="not running"):
        await service.bus.publish(EchoHappened())
    with pytest.raises(Temporary):
        await service.bus.check()


async def test_no_task_and_no_timer_is_left(world: World) -> None:
    before = asyncio.all_tasks()
    service: Service = await world.service()
    gate = Gate()
    await service.bus.subscribe(EchoHappened, gate, concurrency=2)
    await publish(service.bus, *"abcde")
    await gate.entered(2)
    await service.bus.drain(0)
    await service.bus.stop()
    assert asyncio.all_tasks() == before


async def test_draining_twice_and_stopping_after_it_is_harmless(world: World) -> None:
    service = await world.service()
    await service.bus.subscribe(EchoHappened, Inbox())
    assert await service.bus.drain(1) == []
    assert await service.bus.drain(1) == []
    with pytest.raises(RuntimeError, match="takes no more"):
        await service.bus.subscribe(EchoHappened, Inbox())
