from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from chassis.bus import Consumer, Delivery, MemoryBackend, MemoryBroker, Stream, streams_for
from chassis.errors import InvalidInput, ResourceExhausted

PATIENCE = 20.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Subscriber:
    """Takes deliveries, and has them waited for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Delivery] = asyncio.Queue()

    async def next(self) -> Delivery:
        async with asyncio.timeout(PATIENCE):
            return await self.queue.get()

    def payloads(self) -> list[bytes]:
        """What was delivered and not asked for yet."""
        return [self.queue.get_nowait().payload for _ in range(self.queue.qsize())]


async def started(broker: MemoryBroker) -> MemoryBackend:
    backend = MemoryBackend(broker)
    await backend.start()
    return backend


async def subscribed(broker: MemoryBroker, subject: str = "events.a", durable: str = "d", **options: Any) -> Subscriber:
    subscriber = Subscriber()
    settings = {"ack_wait": 3600.0, "max_ack_pending": 100, "prefetch": 100} | options
    backend = await started(broker)
    await backend.subscribe(Consumer(subject, durable, **settings), subscriber.queue.put_nowait)
    return subscriber


def publish(broker: MemoryBroker, payload: bytes, subject: str = "events.a", msg_id: str = "") -> None:
    broker.publish(subject, payload, {}, msg_id)


def streams(max_age: float = 100.0) -> tuple[Stream, ...]:
    return (Stream("events", ("events.>",), max_age), Stream("letters", ("cqi.dlq.>",), 1000.0))


async def test_an_id_is_known_for_the_duplicate_window() -> None:
    clock = Clock()
    broker = MemoryBroker(duplicate_window=120.0, clock=clock)
    subscriber = await subscribed(broker)
    for moment, payload in ((0.0, b"first"), (119.9, b"again"), (120.0, b"later"), (200.0, b"again")):
        clock.now = moment
        publish(broker, payload, msg_id="e-1")
    assert subscriber.payloads() == [b"first", b"later"]


async def test_streams_know_ids_apart() -> None:
    broker = MemoryBroker(streams())
    events, letters = await subscribed(broker), await subscribed(broker, "cqi.dlq.a", "l")
    publish(broker, b"event", msg_id="same")
    publish(broker, b"letter", "cqi.dlq.a", msg_id="same")
    assert (events.payloads(), letters.payloads()) == ([b"event"], [b"letter"])


async def test_events_are_kept_for_as_long_as_their_stream_says(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    broker = MemoryBroker(streams(max_age=100.0), clock=clock)
    publish(broker, b"old")
    publish(broker, b"letter", "cqi.dlq.a")
    clock.now = 50.0
    publish(broker, b"young")
    clock.now = 100.0
    assert (await subscribed(broker)).payloads() == [b"young"]
    assert (await subscribed(broker, "cqi.dlq.a", "l")).payloads() == [b"letter"]
    assert caplog.records == []


async def test_events_that_grow_too_old_before_anyone_handled_them_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    broker = MemoryBroker(streams(max_age=3600.0), clock=clock)
    subscriber = await subscribed(broker, prefetch=1)
    publish(broker, b"held")
    publish(broker, b"waits")
    clock.now = 3600.0
    publish(broker, b"new")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "2 events of events were 1 h old and nobody had handled them"
    delivery = await subscriber.next()
    await delivery.nak()
    assert (await subscriber.next()).payload == b"new"


async def test_a_full_stream_forgets_what_is_handled_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker(streams(), max_messages=2)
    for payload in (b"a", b"b", b"c", b"d"):
        publish(broker, payload)
    assert (await subscribed(broker)).payloads() == [b"c", b"d"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_stream_full_of_events_that_nobody_handled_refuses_more() -> None:
    broker = MemoryBroker(streams(), max_messages=2)
    subscriber = await subscribed(broker)
    publish(broker, b"a")
    publish(broker, b"b")
    with pytest.raises(ResourceExhausted, match="2 events of events are not handled"):
        publish(broker, b"c")
    publish(broker, b"letter", "cqi.dlq.a")  # another stream
    await (await subscriber.next()).ack()
    publish(broker, b"c")
    assert subscriber.payloads() == [b"b", b"c"]


async def test_bytes_are_bounded_too() -> None:
    broker = MemoryBroker(streams(), max_bytes=10_000)
    await subscribed(broker)
    publish(broker, b"x" * 5000)
    with pytest.raises(ResourceExhausted):
        publish(broker, b"x" * 5000)


async def test_an_event_is_kept_until_the_last_durable_has_settled_it() -> None:
    broker = MemoryBroker(streams(), max_messages=1)
    one, other = await subscribed(broker, durable="one"), await subscribed(broker, durable="other")
    publish(broker, b"a")
    await (await one.next()).ack()
    with pytest.raises(ResourceExhausted):
        publish(broker, b"b")
    await (await other.next()).term()
    publish(broker, b"b")


async def test_a_durable_that_comes_later_has_what_is_kept_settled_anew() -> None:
    broker = MemoryBroker(streams(), max_messages=1)
    publish(broker, b"a")
    late = await subscribed(broker, durable="late")
    with pytest.raises(ResourceExhausted):
        publish(broker, b"b")
    assert late.payloads() == [b"a"]


async def test_an_event_that_nothing_is_heard_of_is_delivered_again_when_ack_wait_is_over() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker, ack_wait=0.02, max_ack_pending=1)
    publish(broker, b"a")
    publish(broker, b"b")
    deliveries = [await subscriber.next() for _ in range(3)]
    assert [(each.payload, each.deliveries) for each in deliveries] == [(b"a", 1), (b"a", 2), (b"a", 3)]
    assert len({(each.stream, each.sequence) for each in deliveries}) == 1


async def test_an_acknowledgement_counts_also_when_it_comes_late() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker, ack_wait=0.02, max_ack_pending=1)
    publish(broker, b"a")
    publish(broker, b"b")
    first = await subscriber.next()
    await subscriber.next()
    await first.ack()
    assert (await subscriber.next()).payload == b"b"


async def test_a_late_nak_does_not_take_the_event_from_who_has_it_now() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker, ack_wait=0.02)
    publish(broker, b"a")
    first, second = await subscriber.next(), await subscriber.next()
    await first.nak()
    await first.in_progress()
    assert subscriber.queue.empty()
    await second.nak()
    assert (await subscriber.next()).deliveries == 3


async def test_a_delivery_is_settled_once() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker)
    publish(broker, b"a")
    delivery = await subscriber.next()
    await delivery.nak()
    await delivery.ack()
    await delivery.in_progress()
    assert (await subscriber.next()).deliveries == 2


async def test_events_that_wait_for_their_time_hold_their_place_in_the_ack_window() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker, max_ack_pending=1)
    publish(broker, b"a")
    publish(broker, b"b")
    await (await subscriber.next()).nak(0.02)
    again = await subscriber.next()
    assert (again.payload, again.deliveries) == (b"a", 2)
    await again.ack()
    assert (await subscriber.next()).payload == b"b"


async def test_what_was_acknowledged_while_it_waited_for_its_time_does_not_come_again() -> None:
    broker = MemoryBroker()
    subscriber = await subscribed(broker, ack_wait=0.02)
    publish(broker, b"a")
    first, second = await subscriber.next(), await subscriber.next()
    await second.nak(0.02)
    await first.ack()
    publish(broker, b"b")
    assert (await subscriber.next()).payload == b"b"
    third = await subscriber.next()
    assert third.payload == b"b"


async def test_a_durable_belongs_to_one_subject() -> None:
    broker = MemoryBroker()
    await subscribed(broker, "events.a")
    with pytest.raises(ValueError, match=r"takes events on events\.a, not on events\.b"):
        await subscribed(broker, "events.b")


async def test_brokers_do_not_see_each_other() -> None:
    one, other = MemoryBroker(), MemoryBroker()
    subscriber = await subscribed(other)
    publish(one, b"a")
    assert subscriber.payloads() == []


async def test_an_event_larger_than_the_broker_takes_is_refused_with_its_headers_counted() -> None:
    backend = await started(MemoryBroker(max_payload=10))
    await backend.publish("events.a", b"12345", {"a": "1234"}, msg_id="", timeout=1)
    with pytest.raises(InvalidInput, match="has 11 bytes with its headers, and the event bus takes 10"):
        await backend.publish("events.a", b"12345", {"a": "12345"}, msg_id="", timeout=1)


async def test_publishing_lets_others_have_their_turn() -> None:
    backend = await started(MemoryBroker())
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    await backend.publish("events.a", b"", {}, msg_id="", timeout=1)
    assert turns == ["other"]


@pytest.mark.parametrize(
    ("subject", "taken"),
    [("a.b", True), ("a.b.c", True), ("a", False), ("a.", False), ("ab.c", False), ("x", True), ("x.y", False)],
)
def test_a_stream_takes_what_its_subjects_cover(subject: str, taken: bool) -> None:
    assert Stream("s", ("a.>", "x")).takes(subject) is taken


def test_the_platforms_streams_have_the_name_of_the_configuration() -> None:
    events, letters = streams_for("CQC_EVENTS")
    assert (events.name, letters.name) == ("CQC_EVENTS", "CQC_EVENTS_dlq")
    assert (events.max_age, letters.max_age) == (86400, 14 * 86400)
