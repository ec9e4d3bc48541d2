"""Every event of the contract, through every backend, with whatever it may hold."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cqc.events.v1 import (
    asset_events_pb2,
    market_events_pb2,
    order_events_pb2,
    position_events_pb2,
    risk_events_pb2,
    venue_events_pb2,
)
from google.protobuf import message_factory

from chassis.bus import topic_for, type_for
from tests.contracts.bus_kit import Inbox, World
from tests.contracts.random_messages import random_message

MODULES = (
    asset_events_pb2,
    market_events_pb2,
    order_events_pb2,
    position_events_pb2,
    risk_events_pb2,
    venue_events_pb2,
)
TOPICS = {
    f"cqc.events.v1.{event_type}"
    for event_type in [
        "asset_created",
        "asset_deployment_created",
        "relationship_established",
        "instrument_created",
        "market_created",
        "price_updated",
        "order_placed",
        "position_changed",
        "risk_alert",
        "quality_flag_raised",
        "venue_asset_listed",
        "venue_asset_delisted",
        "venue_market_listed",
        "venue_market_delisted",
    ]
}
EVENTS: list[Any] = [
    message_factory.GetMessageClass(descriptor)
    for module in MODULES
    for descriptor in module.DESCRIPTOR.message_types_by_name.values()
    if topic_for(message_factory.GetMessageClass(descriptor)) in TOPICS
]


def test_the_fourteen_events_of_the_platform_have_the_topics_that_others_know() -> None:
    assert {topic_for(event_type) for event_type in EVENTS} == TOPICS


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda each: each.DESCRIPTOR.name)
def test_a_topic_leads_back_to_its_type(event_type: Any) -> None:
    assert type_for(topic_for(event_type)) is event_type


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda each: each.DESCRIPTOR.name)
async def test_an_event_arrives_as_it_was_published(world: World, event_type: Any) -> None:
    service = await world.service()
    inbox = Inbox()
    await service.bus.subscribe(event_type, inbox)
    generator = random.Random(event_type.DESCRIPTOR.full_name)
    for number in range(20):
        sent = random_message(event_type, generator)
        sent.event_id = f"event-{number}"
        before = sent.SerializeToString(deterministic=True)
        assert await service.bus.publish(sent) == sent.event_id
        assert sent.SerializeToString(deterministic=True) == before
        received = await inbox.next()
        for field in ("timestamp", "actor_id"):
            filled = not (sent.HasField(field) if field == "timestamp" else getattr(sent, field))
            assert received.HasField(field)
            if filled:
                sent.ClearField(field)
                received.ClearField(field)
        assert type(received) is event_type
        assert received == sent
