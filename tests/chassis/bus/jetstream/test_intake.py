"""Taking events in: never too many at a time, never in silence, and nothing kept back at the end."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from nats.js import JetStreamContext

from chassis.bus import Consumer, Delivery
from chassis.bus.jetstream.intake import JetStreamIntake
from chassis.metrics import Metrics
from chassis.testing.servers import AccountForTest
from tests.chassis.bus.jetstream.conftest import Services
from tests.chassis.bus.jetstream.waiting import PATIENCE, Seen, settled, until

TOPIC = "cqc.events.v1.asset_created"
DURABLE = "cqar-asset_created"


class Held:
    """Takes deliveries in and keeps them."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._changed = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until so many are here."""
        async with asyncio.timeout(PATIENCE):
            while len(self.deliveries) < count:
                self._changed.clear()
                await self._changed.wait()


def consumer(prefetch: int, max_ack_pending: int = 1000, durable: str = "d") -> Consumer:
    return Consumer(TOPIC, durable, ack_wait=3600.0, max_ack_pending=max_ack_pending, prefetch=prefetch)


async def put(backend: Any, count: int) -> None:
    await asyncio.gather(*[backend.publish(TOPIC, b"%d" % n, {}, msg_id="", timeout=PATIENCE) for n in range(count)])


async def test_of_a_large_backlog_no_more_is_taken_in_than_prefetch_and_all_of_it_is_handled(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    count, prefetch = 20_000, 50
    backend = await services.backend(nats_account.url)
    for _ in range(count // 1000):
        await put(backend, 1000)
    held, most, done = Held(), [0], asyncio.Event()
    intake = await backend.subscribe(consumer(prefetch), held)
    await held.reach(prefetch)
    info = await peer.consumer_info("cqc_events", "d")
    assert (info.num_ack_pending, info.num_pending) == (prefetch, count - prefetch)
    assert len(held.deliveries) == prefetch
    await intake.stop()
    finished = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal finished
        await asyncio.sleep(0)
        await delivery.ack()
        finished += 1
        if finished == count:
            done.set()

    tasks: set[asyncio.Task[None]] = set()

    def take(delivery: Delivery) -> None:
        task = asyncio.ensure_future(handle(delivery))
        tasks.add(task)
        most[0] = max(most[0], len(tasks))
        task.add_done_callback(tasks.discard)

    for delivery in held.deliveries:
        await delivery.nak()
    second = await backend.subscribe(consumer(prefetch), take)
    async with asyncio.timeout(3 * PATIENCE):
        await done.wait()
    await settled(peer, "d", count)
    # One more than are unsettled, as a task is there for a moment after its acknowledgement.
    assert most[0] <= 2 * prefetch
    await second.stop()


async def test_how_much_is_left_is_a_metric(
    services: Services, nats_account: AccountForTest, peer: JetStreamContext
) -> None:
    metrics = Metrics("cqar")
    backend = await services.backend(nats_account.url, metrics=metrics)
    await put(backend, 10)
    held = Held()
    await backend.subscribe(consumer(prefetch=3), held)
    await held.reach(3)
    assert metrics.value("cqar_event_backlog", topic=TOPIC, durable="d") == 7


async def test_what_arrives_while_a_service_leaves_goes_to_others_at_once(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    publisher = await services.backend(nats_account.url)
    rest: set[str] = set()
    left: list[Held] = []
    numbers = iter(range(100_000))
    stop = asyncio.Event()

    async def publish() -> None:
        while not stop.is_set():
            text = b"%d" % next(numbers)
            await publisher.publish(TOPIC, text, {}, msg_id="", timeout=PATIENCE)
            rest.add(text.decode())

    publishing = [asyncio.create_task(publish()) for _ in range(8)]
    # Each leaves in the middle of the flood; ack_wait is an hour, so that what one of them loses would not come back.
    for number in range(5):
        backend = await services.backend(nats_account.url)
        held = Held()
        left.append(held)
        intake = await backend.subscribe(consumer(prefetch=40 + number), held)
        await held.reach(20)
        await intake.stop()
        count = len(held.deliveries)
        for delivery in held.deliveries[10:]:
            await delivery.nak()
        for delivery in held.deliveries[:10]:
            await delivery.ack()
            rest.discard(delivery.payload.decode())
        await backend.stop()
        assert len(held.deliveries) == count
    stop.set()
    await asyncio.gather(*publishing)
    rest -= {delivery.payload.decode() for held in left for delivery in held.deliveries[:10]}
    last = Held()
    await (await services.backend(nats_account.url)).subscribe(
        consumer(prefetch=100_000, max_ack_pending=100_000), last
    )

    async def all_are_here() -> bool:
        return {delivery.payload.decode() for delivery in last.deliveries} >= rest

    await until(all_are_here)


async def test_a_pull_that_went_silent_is_noticed_counted_and_made_again(
    services: Services,
    nats_account: AccountForTest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(JetStreamIntake, "HEARTBEAT", 0.2)
    metrics = Metrics("cqar")
    bus = await services.bus(nats_account.url, metrics=metrics)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    # The server forgets the pulls without a word, as it does in the cases that nobody has thought of.
    await bus.backend._intakes[0]._listening.withdraw()
    await bus.publish(AssetCreated(source="after the silence"))
    await seen.all_of({"after the silence"})
    assert metrics.value("cqar_event_pull_rebound_total", topic=TOPIC) == 1
    (told,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert TOPIC in told
    assert "nothing was heard" in told


async def test_quiet_times_are_no_silence(
    services: Services, nats_account: AccountForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JetStreamIntake, "HEARTBEAT", 0.1)
    monkeypatch.setattr(JetStreamIntake, "EXPIRES", 0.5)
    metrics = Metrics("cqar")
    first = await services.bus(nats_account.url, metrics=metrics)
    second = await services.bus(nats_account.url, metrics=metrics)
    release, begun = asyncio.Event(), asyncio.Event()

    async def wait(event: AssetCreated) -> None:
        begun.set()
        await release.wait()

    # One handles the only event that may be under way, the other waits with a pull that cannot be served.
    for bus in (first, second):
        await bus.subscribe(AssetCreated, wait, ordered=True)
    await first.publish_all([AssetCreated(source="a"), AssetCreated(source="b")])
    await begun.wait()
    pulls = [bus.backend._intakes[0] for bus in (first, second)]

    async def some_pulls_have_expired() -> bool:
        return max(intake._number for intake in pulls) >= 4

    await until(some_pulls_have_expired)
    release.set()
    assert metrics.value("cqar_event_pull_rebound_total", topic=TOPIC) in (None, 0)


async def test_of_pulls_that_were_given_up_nothing_is_kept(services: Services, nats_account: AccountForTest) -> None:
    bus = await services.bus(nats_account.url)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    connection, (intake,) = bus.backend._connection, bus.backend._intakes
    before = len(connection._client._receivers)
    for _ in range(3):
        await intake._bind_once()
    await bus.publish(AssetCreated(source="later"))
    await seen.all_of({"later"})
    await until(lambda: len(connection._client._receivers) == before)


async def test_a_durable_that_was_deleted_is_made_again(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics("cqar")
    bus = await services.bus(nats_account.url, metrics=metrics)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)

    async def waits_for_events() -> bool:
        return bool((await peer.consumer_info("cqc_events", DURABLE)).num_waiting)

    await until(waits_for_events)
    await peer.delete_consumer("cqc_events", DURABLE)
    await bus.publish(AssetCreated(source="later"))
    await seen.all_of({"later"})
    assert metrics.value("cqar_event_pull_rebound_total", topic=TOPIC) == 1
    assert "409 Consumer Deleted" in caplog.text


async def test_a_stream_that_was_deleted_with_its_durable_is_made_again(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    await peer.delete_stream("cqc_events")
    await bus.publish(AssetCreated(source="later"))
    await seen.all_of({"later"})


async def test_an_event_with_the_number_of_one_that_is_being_handled_is_handled_too_in_a_stream_made_anew(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url)
    begun, done, go_on = list[str](), list[str](), asyncio.Event()

    async def handler(event: AssetCreated) -> None:
        begun.append(event.source)
        await go_on.wait()
        done.append(event.source)
        if event.source == "new":
            await asyncio.Event().wait()

    await bus.subscribe(AssetCreated, handler, concurrency=2)
    await bus.publish(AssetCreated(source="old"))
    await until(lambda: begun == ["old"])
    await peer.delete_stream("cqc_events")
    await bus.publish(AssetCreated(source="new"))
    await until(lambda: begun == ["old", "new"])
    go_on.set()
    await until(lambda: sorted(done) == ["new", "old"])
    await bus.backend._connection.round_trip(5)
    # The word about the old one is none about the new one, which has its number.
    info = await peer.consumer_info("cqc_events", DURABLE)
    assert (info.num_ack_pending, info.ack_floor.stream_seq if info.ack_floor else 0) == (1, 0)


async def test_limits_of_a_durable_are_kept(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await services.backend(nats_account.url)
    settings = {
        "durable_name": "d",
        "filter_subject": TOPIC,
        "ack_policy": "explicit",
        "max_batch": 2,
        "max_expires": 5_000_000_000,
    }
    body = {"stream_name": "cqc_events", "config": settings}
    await peer._api_request("$JS.API.CONSUMER.DURABLE.CREATE.cqc_events.d", json.dumps(body).encode())
    held = Held()
    await backend.subscribe(consumer(prefetch=10), held)
    await put(backend, 10)
    await held.reach(10)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_events_that_fail_come_again_after_the_delay_and_in_progress_begins_ack_wait_anew(
    services: Services, nats_account: AccountForTest
) -> None:
    backend = await services.backend(nats_account.url)
    held = Held()
    await backend.subscribe(Consumer(TOPIC, "d", ack_wait=0.5, max_ack_pending=10, prefetch=10), held)
    await put(backend, 1)
    await held.reach(1)
    await held.deliveries[0].nak(0.2)
    await held.reach(2)
    for _ in range(8):
        await asyncio.sleep(0.1)
        await held.deliveries[1].in_progress()
    assert [each.deliveries for each in held.deliveries] == [1, 2]
    await held.reach(3)
    await held.deliveries[2].term()
    await held.deliveries[2].ack()  # the first word counts
    await backend.check()
    assert [(each.sequence, each.stream) for each in held.deliveries] == [(1, "cqc_events")] * 3
