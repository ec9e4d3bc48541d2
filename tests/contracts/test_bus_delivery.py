"""Who gets which event, when, and in which order."""

from __future__ import annotations

import asyncio

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened, EchoRequest

from chassis.bus import Bus
from chassis.errors import Temporary
from chassis.retry import Policy
from tests.contracts.bus_kit import PATIENCE, Inbox, World

TOPIC = "cqi.testing.v1.echo_happened"


async def publish(bus: Bus, *texts: str) -> None:
    await bus.publish_all([EchoHappened(text=text) for text in texts])


class Gate:
    """A handler that waits to be let on, and knows how many are in it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.most = 0
        self.runs: list[str] = []
        self._changed = asyncio.Condition()

    async def __call__(self, event: EchoHappened) -> None:
        self.runs.append(event.text)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            async with self._changed:
                self._changed.notify_all()
            await self.open.wait()
        finally:
            self.inside -= 1

    async def entered(self, count: int) -> None:
        """Wait until so many runs have begun."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.runs) >= count)


async def test_events_are_handled_one_at_a_time_unless_said(world: World) -> None:
    service = await world.service()
    gate = Gate()
    await service.bus.subscribe(EchoHappened, gate)
    await publish(service.bus, *"abcd")
    await gate.entered(1)
    gate.open.set()
    await service.probe.until(lambda probe: len(probe.settled) == 4)
    assert gate.runs == list("abcd")
    assert gate.most == 1


async def test_as_many_events_are_handled_at_a_time_as_was_said(world: World) -> None:
    service = await world.service()
    gate = Gate()
    await service.bus.subscribe(EchoHappened, gate, concurrency=3)
    await publish(service.bus, *"abcdefg")
    await gate.entered(3)
    gate.open.set()
    await service.probe.until(lambda probe: len(probe.settled) == 7)
    assert gate.most == 3


async def test_no_more_events_are_under_way_than_the_ack_window_has_room_for(world: World) -> None:
    service, another = await world.service(max_ack_pending=2), await world.service(max_ack_pending=2)
    gate, other = Gate(), Inbox()
    for each in (service, another):
        await each.bus.subscribe(EchoHappened, gate, concurrency=5)
    await service.bus.subscribe(EchoRequest, other)
    await publish(service.bus, *"abcd")
    await gate.entered(2)
    await service.bus.publish(EchoRequest())
    await other.next()
    assert gate.inside == 2
    gate.open.set()
    await gate.entered(4)
    assert gate.most == 2


async def test_no_more_events_are_held_than_is_said_by_prefetch(world: World) -> None:
    service = await world.service()
    gate, other = Gate(), Inbox()
    await service.bus.subscribe(EchoHappened, gate, prefetch=2)
    await service.bus.subscribe(EchoRequest, other)
    await publish(service.bus, *"abcd")
    await gate.entered(1)
    await service.bus.publish(EchoRequest())
    await other.next()
    await service.probe.until(lambda probe: probe.delivered.count(TOPIC) == 2)
    gate.open.set()
    await service.probe.until(lambda probe: len(probe.settled) == 5)
    assert gate.runs == list("abcd")


async def test_ordered_events_wait_for_the_one_in_front_of_them_to_be_done_for_good(world: World) -> None:
    first, second = await world.service(max_deliver=4), await world.service(max_deliver=4)
    done: list[str] = []
    failures = {"b": 2, "d": 1}
    finished = asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        if failures.get(event.text, 0) > 0:
            failures[event.text] -= 1
            raise Temporary("later")
        done.append(event.text)
        if event.text == "f":
            finished.set()

    for service in (first, second):
        await service.bus.subscribe(EchoHappened, handler, ordered=True, backoff=Policy(waits=(0.02,), jitter=0))
    await publish(first.bus, *"abcdef")
    async with asyncio.timeout(PATIENCE):
        await finished.wait()
    assert done == list("abcdef")
    assert failures == {"b": 0, "d": 0}


async def test_instances_of_a_service_share_its_events(world: World) -> None:
    first, second = await world.service(), await world.service()
    gate = Gate()
    for service in (first, second):
        await service.bus.subscribe(EchoHappened, gate, prefetch=1)
    await publish(first.bus, *"abcdef")
    await gate.entered(2)  # one in each of them
    gate.open.set()
    for service in (first, second):
        await service.probe.until(lambda probe: len(probe.settled) >= 1)
    await gate.entered(6)
    assert sorted(gate.runs) == list("abcdef")
    assert gate.most == 2


async def test_services_each_get_every_event(world: World) -> None:
    publisher = await world.service("publisher")
    inboxes = [Inbox(), Inbox()]
    for name, inbox in zip(("one", "two"), inboxes, strict=True):
        await (await world.service(name)).bus.subscribe(EchoHappened, inbox)
    await publish(publisher.bus, *"abc")
    for inbox in inboxes:
        assert [(await inbox.next()).text for _ in range(3)] == list("abc")


async def test_a_service_that_comes_later_sees_what_was_published_before(world: World) -> None:
    early = await world.service("early")
    await publish(early.bus, *"abc")
    late, inbox = await world.service("late"), Inbox()
    await late.bus.subscribe(EchoHappened, inbox)
    assert [(await inbox.next()).text for _ in range(3)] == list("abc")


async def test_a_service_that_comes_back_goes_on_where_it_was(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    await publish(service.bus, "before")
    await service.probe.until(lambda probe: len(probe.settled) == 1)
    await service.bus.drain()
    await publish(service.bus, "meanwhile")
    again, anew = await world.service(), Inbox()
    await again.bus.subscribe(EchoHappened, anew)
    assert (await anew.next()).text == "meanwhile"
    assert [event.text for event in inbox.events] == ["before"]


async def test_what_a_killed_process_had_comes_to_another_instance(world: World) -> None:
    victim, gate = await world.service(ack_wait=0.3), Gate()
    await victim.bus.subscribe(EchoHappened, gate, concurrency=2)
    await publish(victim.bus, *"ab")
    await gate.entered(2)
    await victim.probe.die()
    survivor, inbox = await world.service(ack_wait=0.3), Inbox()
    await survivor.bus.subscribe(EchoHappened, inbox)
    assert sorted([(await inbox.next()).text, (await inbox.next()).text]) == ["a", "b"]
    assert [call.deliveries for call in inbox.calls] == [2, 2]


async def test_a_handler_that_is_slower_than_ack_wait_keeps_its_event(world: World) -> None:
    service, gate = await world.service(ack_wait=1), Gate()
    waiting = await world.service(ack_wait=1)
    await service.bus.subscribe(EchoHappened, gate)
    await waiting.bus.subscribe(EchoHappened, gate)
    await publish(service.bus, "slow")
    await gate.entered(1)
    worker = service if service.probe.delivered else waiting
    await worker.probe.until(lambda probe: probe.signals >= 5)  # one each third of ack_wait, or a little less
    gate.open.set()
    await worker.probe.until(lambda probe: probe.settled == [("ack", TOPIC, 0.0)])
    assert gate.runs == ["slow"]


async def test_an_event_that_waits_its_turn_behind_a_slow_handler_stays_here_too(world: World) -> None:
    service, gate = await world.service(ack_wait=1), Gate()
    await service.bus.subscribe(EchoHappened, gate)
    await publish(service.bus, "slow", "waits")
    await service.probe.until(lambda probe: probe.signals >= 10)
    gate.open.set()
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["ack", "ack"])
    assert gate.runs == ["slow", "waits"]
    assert service.probe.delivered == [TOPIC, TOPIC]


async def test_a_redelivery_of_an_event_that_is_being_handled_is_not_handled_beside_it(world: World) -> None:
    service, gate, other = await world.service(ack_wait=0.2), Gate(), Inbox()
    await service.bus.subscribe(EchoHappened, gate, concurrency=4)
    await service.bus.subscribe(EchoRequest, other)
    service.probe.deaf = True
    await publish(service.bus, "slow")
    await service.probe.until(lambda probe: probe.delivered.count(TOPIC) == 3)
    await service.bus.publish(EchoRequest())
    await other.next()
    gate.open.set()
    await service.probe.until(lambda probe: len([each for each in probe.settled if each[1] == TOPIC]) == 1)
    await publish(service.bus, "next")
    await gate.entered(2)
    assert gate.runs == ["slow", "next"]
    assert gate.most == 1


@pytest.mark.parametrize("swallows", [False, True], ids=["ends", "cleans up first"])
async def test_a_handler_that_takes_too_long_is_cancelled_and_its_event_comes_again(
    world: World, swallows: bool
) -> None:
    service = await world.service()
    endings: list[str] = []

    async def handler(event: EchoHappened) -> None:
        if endings:
            endings.append("done")
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            endings.append("cancelled")
            if swallows:
                return
            raise

    await service.bus.subscribe(EchoHappened, handler, timeout=0.05)
    await publish(service.bus, "slow")
    expected = ["ack"] if swallows else ["nak", "ack"]
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == expected)
    assert endings == (["cancelled"] if swallows else ["cancelled", "done"])
