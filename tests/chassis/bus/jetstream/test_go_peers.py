"""Side by side with the Go services, on one stream."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from chassis.bus import topic_for
from chassis.testing.servers import AccountForTest
from tests.chassis.bus.jetstream.conftest import Services
from tests.chassis.bus.jetstream.waiting import Seen, settled
from tests.contracts.random_messages import random_message
from tests.contracts.test_bus_events import EVENTS

TOPIC = "cqc.events.v1.asset_created"


async def go_consumer(peer: JetStreamContext, topic: str) -> Any:
    """A consumer as the Go sibling makes it."""
    name = f"default-{topic.rpartition('.')[2]}"
    settings = ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subject=topic,
        ack_policy="explicit",
        max_deliver=3,
        ack_wait=30,
        max_ack_pending=1000,
    )
    await peer.add_consumer("cqc_events", settings)
    return await peer.pull_subscribe_bind(name, "cqc_events")


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda each: each.DESCRIPTOR.name)
async def test_a_go_service_reads_the_bare_bytes_of_an_event(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest, event_type: Any
) -> None:
    bus = await services.bus(nats_account.url)
    consumer = await go_consumer(peer, topic_for(event_type))
    sent = random_message(event_type, random.Random(7))
    sent.event_id, sent.actor_id = "e-1", "service:cqar"
    sent.timestamp.GetCurrentTime()
    await bus.publish(sent)
    (message,) = await consumer.fetch(1, timeout=10)
    assert event_type.FromString(message.data) == sent
    await message.ack()


async def test_events_of_a_go_service_have_no_headers_and_are_handled(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url)
    seen = Seen()
    await bus.subscribe(AssetCreated, seen)
    ack = await peer.publish(TOPIC, AssetCreated(event_id="e-1", source="go").SerializeToString())
    await seen.all_of({"go"})
    await settled(peer, "cqar-asset_created", ack.seq)


async def test_the_durables_of_both_get_every_event(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url)
    consumer, seen = await go_consumer(peer, TOPIC), Seen()
    before = await peer.consumer_info("cqc_events", "default-asset_created")
    await bus.subscribe(AssetCreated, seen)
    texts = [str(number) for number in range(50)]
    await bus.publish_all([AssetCreated(source=text) for text in texts])
    received = await consumer.fetch(50, timeout=10)
    assert [AssetCreated.FromString(message.data).source for message in received] == texts
    await seen.all_of(set(texts))
    assert seen.texts == texts
    assert (await peer.consumer_info("cqc_events", "default-asset_created")).config == before.config


async def test_headers_that_are_there_twice_are_both_seen(
    services: Services, peer: JetStreamContext, nats_account: AccountForTest
) -> None:
    bus = await services.bus(nats_account.url)
    headers: list[dict[str, str]] = []

    async def handler(event: AssetCreated, call: Any) -> None:
        headers.append(dict(call.transport.headers))

    await bus.subscribe(AssetCreated, handler)
    lines = b"NATS/1.0\r\nBaggage: a=1\r\nBaggage: b=2\r\nX: \xc3\xa4\r\n\r\n"
    client = peer._nc
    await client._send_command(b"HPUB %s  %d %d\r\n%s\r\n" % (TOPIC.encode(), len(lines), len(lines), lines))
    await client.flush()
    await settled(peer, "cqar-asset_created", 1)
    assert headers == [{"Baggage": "a=1, b=2", "X": "ä"}]
