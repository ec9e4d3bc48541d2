"""Events that were not stored, delivered once and acknowledged give no figure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chassis.testing.servers import AccountForTest
from tests.bench.events import EVENT_BYTES, STREAM, TOPIC, Broker, event, headers
from tests.bench.publish_clients import Publisher


@pytest.fixture
async def broker(nats_account: AccountForTest) -> AsyncIterator[Broker]:
    connected = await Broker.connected(nats_account.overrides)
    yield connected
    await connected.close()


def test_events_differ_and_are_equally_long() -> None:
    made = [event(number) for number in range(3)]
    assert {len(each.SerializeToString()) for each in made} == {EVENT_BYTES}
    assert len({headers(each)["Nats-Msg-Id"] for each in made}) == 3


async def test_events_that_were_not_stored_are_told(broker: Broker) -> None:
    async def forget_every_other(made: object) -> None:
        nonlocal count
        count += 1
        if count % 2:
            await broker.jetstream.publish(TOPIC, b"")

    count = 0
    publisher = Publisher(broker, forget_every_other, None, 1)
    await publisher.prepare(4)
    await publisher.work(4)
    with pytest.raises(RuntimeError, match="2 events were stored, of 4"):
        await publisher.prove(4)


@pytest.mark.parametrize("acknowledged", [5, 4])
async def test_events_have_to_be_acknowledged_all(broker: Broker, acknowledged: int) -> None:
    await broker.fill(5)
    subscription = await broker.jetstream.pull_subscribe(TOPIC, "durable", STREAM)
    for message in (await subscription.fetch(5))[:acknowledged]:
        await message.ack_sync()
    if acknowledged == 5:
        await broker.wait_until_acknowledged("durable")
        await broker.prove_acknowledged("durable", 5)
    else:
        with pytest.raises(RuntimeError, match="of 5 events 5 were delivered and 4 acknowledged; 1 and 0 wait"):
            await broker.prove_acknowledged("durable", 5)


async def test_an_event_that_came_twice_is_told(broker: Broker) -> None:
    await broker.fill(2)
    subscription = await broker.jetstream.pull_subscribe(TOPIC, "durable", STREAM)
    first, second = await subscription.fetch(2)
    await first.nak()
    (again,) = await subscription.fetch(1)
    await again.ack_sync()
    await second.ack_sync()
    with pytest.raises(RuntimeError, match="of 2 events 3 were delivered"):
        await broker.prove_acknowledged("durable", 2)


async def test_a_stream_that_is_filled_has_nothing_else(broker: Broker) -> None:
    await broker.fill(3)
    await broker.fill(2)
    assert await broker.stored() == 2
