"""What counts against an event: how often its handler was tried, and not how often it was delivered."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.background import end
from chassis.errors import Temporary
from chassis.retry import Policy
from tests.contracts.bus_kit import PATIENCE, Inbox, World
from tests.contracts.test_bus_dead_letters import reader
from tests.contracts.test_bus_delivery import Gate, publish

TOPIC = "cqi.testing.v1.echo_happened"
ACK_WAIT = 0.3
"""Seconds after which the broker delivers again what a killed process held."""


class Handler:
    """Handles all but one event, and does not come back from that one; remembers what it did."""

    def __init__(self, endless: str = "") -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self._endless = endless
        self._changed = asyncio.Condition()

    async def __call__(self, event: EchoHappened) -> None:
        self.begun.append(event.text)
        await self._tell()
        if event.text == self._endless:
            await asyncio.Event().wait()
        self.done.append(event.text)
        await self._tell()

    async def until(self, condition: Any) -> None:
        """Wait until this is so."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def held_and_killed(world: World, count: int, times: int, **options: Any) -> None:
    """Let processes die that held so many events and have handled none."""
    for _ in range(times):
        victim = await world.service(ack_wait=ACK_WAIT, handler_timeout=99, **options)
        await victim.bus.subscribe(EchoHappened, Gate())
        await victim.probe.until(lambda probe: probe.delivered.count(TOPIC) >= count)
        await victim.probe.die()


async def test_an_event_that_never_reached_its_handler_is_no_dead_letter_however_often_it_was_delivered(
    world: World,
) -> None:
    publisher, letters, texts = await world.service(), await reader(world), [str(number) for number in range(12)]
    await publish(publisher.bus, *texts)
    for _ in range(6):  # 3 times max_deliver: services that stop behind an event that hangs, and begin no other
        leaving, gate = await world.service(max_deliver=2), Gate()
        await leaving.bus.subscribe(EchoHappened, gate)
        await leaving.probe.until(lambda probe: probe.delivered.count(TOPIC) >= 12)
        await gate.entered(1)
        await leaving.bus.drain(0)
    last, handler = await world.service(max_deliver=2), Handler()
    await last.bus.subscribe(EchoHappened, handler)
    await handler.until(lambda each: len(each.done) == 12)
    await last.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["ack"] * 12)
    assert sorted(handler.done) == sorted(texts)
    assert letters.events == []


async def test_an_event_that_ends_the_process_is_given_up_and_those_beside_it_are_handled(world: World) -> None:
    publisher, letters = await world.service(), await reader(world)
    await publish(publisher.bus, "poison", *"abc")
    for crashes in range(9):  # noqa: B007
        service, handler = await world.service(max_deliver=1, ack_wait=ACK_WAIT, handler_timeout=99), Handler("poison")
        await service.bus.subscribe(EchoHappened, handler)
        dying = asyncio.ensure_future(handler.until(lambda each: "poison" in each.begun))
        given_up = asyncio.ensure_future(letters.next())
        await asyncio.wait({dying, given_up}, return_when=asyncio.FIRST_COMPLETED)
        await end(dying, given_up)
        if letters.events:
            break
        await service.probe.die()
    assert crashes == 3  # 3 times max_deliver: twice among others, once alone
    await publish(service.bus, "last")
    await handler.until(lambda each: "last" in each.done)
    assert [EchoHappened.FromString(letter.payload).text for letter in letters.events] == ["poison"]


async def test_an_event_that_fails_for_the_first_time_is_tried_again_though_it_came_more_often_than_it_may_be_tried(
    world: World,
) -> None:
    publisher = await world.service()
    await publish(publisher.bus, "unlucky")
    await held_and_killed(world, 1, times=2, max_deliver=2)
    survivor, inbox = await world.service(max_deliver=2, ack_wait=ACK_WAIT), Inbox(Temporary("later"))
    await survivor.bus.subscribe(EchoHappened, inbox, backoff=Policy(waits=(0.01, 3600.0), jitter=0))
    await survivor.probe.until(lambda probe: len(probe.settled) == 2)
    assert survivor.probe.settled == [("nak", TOPIC, 0.01), ("ack", TOPIC, 0.0)]
    assert [call.deliveries for call in inbox.calls] == [3, 4]


async def test_what_came_too_often_is_begun_alone_and_in_order_and_the_rest_after_it_as_before(world: World) -> None:
    publisher = await world.service()
    await publish(publisher.bus, *"abcd")
    await held_and_killed(world, 4, times=2, max_deliver=1)
    survivor, gate = await world.service(max_deliver=1, ack_wait=ACK_WAIT), Gate()
    await survivor.bus.subscribe(EchoHappened, gate, concurrency=4)
    await survivor.probe.until(lambda probe: len(probe.delivered) == 4)
    await publish(publisher.bus, *"efgh")
    await survivor.probe.until(lambda probe: len(probe.delivered) == 8)
    await gate.entered(1)
    assert gate.inside == 1
    for count in range(1, 5):
        await gate.entered(count)
        assert gate.most == 1
        gate.open.set()
        gate.open.clear()
    await gate.entered(8)
    assert gate.inside == 4
    gate.open.set()
    await survivor.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["ack"] * 8)
    assert gate.runs == list("abcdefgh")
    assert gate.most == 4


async def test_events_that_fail_at_one_instance_and_another_come_to_an_end_within_twice_max_deliver(
    world: World,
) -> None:
    letters, tries = await reader(world), Counter[str]()

    async def handler(event: EchoHappened) -> None:
        tries[event.text] += 1
        raise Temporary("no")

    services = [await world.service(max_deliver=3) for _ in range(5)]
    for service in services:
        await service.bus.subscribe(EchoHappened, handler, prefetch=1)
    await publish(services[0].bus, *"abcdef")
    assert [(await letters.next()).reason for _ in range(6)] == ["no"] * 6
    assert sorted(tries) == list("abcdef")
    assert all(3 <= count <= 6 for count in tries.values())


async def test_events_that_fail_at_several_instances_keep_nothing_else_waiting(world: World) -> None:
    letters, done, over = await reader(world), Inbox(), asyncio.Event()
    tries, busy = Counter[str](), set[int]()

    def handler(instance: int) -> Any:
        async def handle(event: EchoHappened, call: Any) -> None:
            if event.text == "busy":  # an event begun alone would wait for it, and all others for that event
                busy.add(instance)
                await over.wait()
            elif event.text.startswith("fails"):
                tries[event.text] += 1
                raise Temporary("the prices are not there")
            await done(event, call)

        return handle

    services = [await world.service(max_deliver=3, handler_timeout=99) for _ in range(2)]
    for instance, service in enumerate(services):
        await service.bus.subscribe(EchoHappened, handler(instance), concurrency=32)
    async with asyncio.timeout(PATIENCE):
        while len(busy) < 2:
            await publish(services[0].bus, "busy")
            await asyncio.sleep(0.01)
    for number in range(12):
        await publish(services[0].bus, f"fails {number}", f"good {number}")
    assert sorted([(await done.next()).text for _ in range(12)]) == sorted(f"good {number}" for number in range(12))
    assert {(await letters.next()).reason for _ in range(12)} == {"the prices are not there"}
    assert len(tries) == 12
    assert all(3 <= count <= 6 for count in tries.values())
    over.set()


async def test_what_waits_to_be_begun_alone_is_given_back_when_the_service_leaves(world: World) -> None:
    publisher = await world.service()
    await publish(publisher.bus, *"abc")
    await held_and_killed(world, 3, times=2, max_deliver=1)
    leaving, handler = await world.service(max_deliver=1, ack_wait=ACK_WAIT), Handler("a")
    await leaving.bus.subscribe(EchoHappened, handler)
    await leaving.probe.until(lambda probe: len(probe.delivered) == 3)
    await handler.until(lambda each: each.begun)
    await leaving.bus.drain(0)
    assert leaving.probe.settled == [("nak", TOPIC, 0.0)] * 3
    assert handler.begun == ["a"]
