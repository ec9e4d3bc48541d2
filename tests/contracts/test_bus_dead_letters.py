"""What nobody can handle is put aside with the reason, and is never lost on the way."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened
from cqi.v1.dead_letter_pb2 import DeadLetter

from chassis.errors import InvalidInput, Temporary
from chassis.retry import Policy
from tests.contracts.bus_kit import LIMIT_EVENTS, PATIENCE, Inbox, Service, World, needs

TOPIC = "cqi.testing.v1.echo_happened"
DEAD_LETTERS = "cqi.dlq.cqar.echo_happened"


async def reader(world: World) -> Inbox:
    ops = await world.service("ops")
    inbox = Inbox()
    await ops.bus.subscribe(DEAD_LETTERS, inbox, message_type=DeadLetter)
    return inbox


async def put(service: Service, payload: bytes, headers: dict[str, str] | None = None) -> None:
    """Publish bytes as they are, past the bus."""
    await service.probe.inner.publish(TOPIC, payload, headers or {}, msg_id="", timeout=PATIENCE)


async def test_an_event_that_always_fails_becomes_a_dead_letter_after_max_deliver(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    service, letters = await world.service(max_deliver=3), await reader(world)
    inbox = Inbox(*[Temporary("the prices are not there")] * 3)
    await service.bus.subscribe(EchoHappened, inbox)
    event_id = await service.bus.publish(EchoHappened(text="poison"), headers={"X-Tenant": "acme"})
    letter = await letters.next()
    assert letter.event_id == event_id
    assert letter.event_type == "echo_happened"
    assert letter.message_type == "cqi.testing.v1.EchoHappened"
    assert letter.subject == TOPIC
    assert EchoHappened.FromString(letter.payload) == inbox.events[-1]
    assert letter.headers["x-tenant"] == "acme"
    assert letter.headers["Nats-Msg-Id"] == event_id
    assert letter.reason == "the prices are not there"
    assert (letter.code, letter.error_type) == ("UNAVAILABLE", "Temporary")
    assert (letter.service, letter.durable) == ("cqar", "cqar-cqi_testing_v1_echo_happened")
    assert letter.deliveries == 3
    assert letter.stream
    assert letter.stream_sequence == inbox.calls[-1].transport.sequence
    assert letter.HasField("dead_lettered_at")
    assert not letter.HasField("first_delivered_at")
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["nak", "nak", "term"])
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "the prices are not there" in record.getMessage()
    assert record.__dict__["event_id"] == event_id


async def test_a_crash_is_told_without_its_text(world: World) -> None:
    service, letters = await world.service(max_deliver=1), await reader(world)
    inbox = Inbox(KeyError("s3cret"))
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    letter = await letters.next()
    assert (letter.code, letter.error_type) == ("INTERNAL", "KeyError")
    assert inbox.calls[0].request_id in letter.reason
    assert b"s3cret" not in letter.SerializeToString()
    assert letter.HasField("first_delivered_at")


@pytest.mark.parametrize(
    ("payload", "headers", "reason"),
    [
        (b"\xff\xff not protobuf", {}, "are no cqi.testing.v1.EchoHappened"),
        (b"", {"cqi-message-type": "acme.v1.Other"}, "is a acme.v1.Other"),
        (b"{}", {"Content-Type": "application/json; charset=utf-8"}, "is application/json"),
    ],
    ids=["not protobuf", "another message", "another encoding"],
)
async def test_what_cannot_be_decoded_is_put_aside_at_once_and_later_events_flow(
    world: World, payload: bytes, headers: dict[str, str], reason: str
) -> None:
    service, letters = await world.service(), await reader(world)
    inbox = Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    await put(service, payload, headers)
    await service.bus.publish(EchoHappened(text="good"))
    letter = await letters.next()
    assert (letter.payload, letter.deliveries) == (payload, 1)
    assert (letter.code, letter.error_type) == ("INVALID_ARGUMENT", "Undecodable")
    assert dict(letter.headers) == headers
    assert reason in letter.reason
    assert (await inbox.next()).text == "good"
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["term", "ack"])


async def test_the_dead_letter_is_with_the_broker_before_the_event_is_ended(world: World) -> None:
    service = await world.service()
    await service.bus.subscribe(EchoHappened, Inbox(InvalidInput("no")))
    ended_before: list[Any] = []
    publish = service.probe.inner.publish

    async def look(subject: str, *arguments: Any, **named: Any) -> None:
        await publish(subject, *arguments, **named)
        if subject == DEAD_LETTERS:
            ended_before.append(list(service.probe.settled))

    service.probe.inner.publish = look  # type: ignore[method-assign]
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["term"])
    assert ended_before == [[]]


async def test_an_event_whose_dead_letter_cannot_be_published_comes_again_until_it_can(world: World) -> None:
    service, letters = await world.service(), await reader(world)
    inbox = Inbox(InvalidInput("no"), None, InvalidInput("no"))
    await service.bus.subscribe(EchoHappened, inbox, backoff=Policy(waits=(0.05,), jitter=0))
    service.probe.refused = ("cqi.dlq.",)
    await service.bus.publish(EchoHappened(text="poison"))
    await service.bus.publish(EchoHappened(text="good"))
    await service.probe.until(lambda probe: sorted(how for how, _, _ in probe.settled[:2]) == ["ack", "nak"])
    service.probe.refused = ()
    letter = await letters.next()
    assert (letter.deliveries, letter.reason) == (2, "no")
    await service.probe.until(lambda probe: probe.settled[-1][0] == "term")
    assert [event.text for event in inbox.events] == ["poison", "good", "poison"]


async def test_a_dead_letter_is_published_once_however_often_that_is_tried(world: World) -> None:
    service, letters = await world.service(), await reader(world)
    await service.bus.subscribe(EchoHappened, Inbox(InvalidInput("one"), InvalidInput("two")))
    event = EchoHappened(text="poison")
    service.probe.lost_confirmations = 0
    await service.bus.publish(event)
    await letters.next()
    await service.probe.until(lambda probe: len(probe.settled) == 1)
    service.probe.lost_confirmations = 2  # of the event, and of its dead letter
    await service.bus.publish(event)
    assert (await letters.next()).reason == "two"
    await service.bus.publish(DEAD_LETTERS, DeadLetter(reason="the last one"))
    assert (await letters.next()).reason == "the last one"


async def test_services_that_give_up_on_the_same_event_each_have_their_dead_letter(world: World) -> None:
    ops = await world.service("ops")
    inbox = Inbox()
    await ops.bus.subscribe("cqi.dlq.one.echo_happened", inbox, message_type=DeadLetter)
    await ops.bus.subscribe("cqi.dlq.two.echo_happened", inbox, message_type=DeadLetter)
    for name in ("one", "two"):
        await (await world.service(name)).bus.subscribe(EchoHappened, Inbox(InvalidInput("no")))
    event_id = await ops.bus.publish(EchoHappened())
    received = [await inbox.next(), await inbox.next()]
    assert sorted(letter.service for letter in received) == ["one", "two"]
    assert {letter.event_id for letter in received} == {event_id}


@needs(LIMIT_EVENTS)
async def test_an_event_too_large_for_a_dead_letter_leaves_its_place_in_the_stream(world: World) -> None:
    service, letters = await world.service(), await reader(world)
    inbox = Inbox(InvalidInput("no"))
    await service.bus.subscribe(EchoHappened, inbox)
    limit = service.probe.max_payload
    assert limit is not None
    await put(service, EchoHappened(text="x" * (limit - 600)).SerializeToString())
    letter = await letters.next()
    assert letter.payload == b""
    assert letter.stream_sequence == inbox.calls[0].transport.sequence
    assert "do not fit" in letter.reason


async def test_a_dead_letter_whose_own_handler_fails_comes_again_and_is_not_buried_twice(world: World) -> None:
    ops = await world.service("cqar", max_deliver=1)
    inbox = Inbox(*[InvalidInput("no")] * 4)
    await ops.bus.subscribe(DEAD_LETTERS, inbox, message_type=DeadLetter)
    await ops.bus.publish(DEAD_LETTERS, DeadLetter(reason="something"))
    await ops.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["nak"] * 4 + ["ack"])
    assert [topic for topic, _ in ops.probe.published] == [DEAD_LETTERS]


async def test_an_event_that_never_came_to_an_end_is_given_up_without_its_handler(world: World) -> None:
    service, letters = await world.service(max_deliver=1), await reader(world)
    inbox = Inbox(*[InvalidInput("no")] * 3)
    await service.bus.subscribe(EchoHappened, inbox)
    service.probe.refused = ("cqi.dlq.",)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: len(probe.settled) >= 4)
    service.probe.refused = ()
    letter = await letters.next()
    assert letter.deliveries > 4
    assert letter.code == "ABORTED"
    assert f"delivered {letter.deliveries} times and never came to an end" in letter.reason
    assert len(inbox.events) == 2
