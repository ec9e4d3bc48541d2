"""What a publisher is told, and what the broker then has."""

from __future__ import annotations

import asyncio
import time

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.call import Call, Kind, Method, enter
from chassis.errors import DeadlineExceeded, InvalidInput, Temporary
from chassis.retry import Policy
from tests.contracts.bus_kit import LIMIT_EVENTS, Inbox, World, needs

TOPIC = "cqi.testing.v1.echo_happened"


async def test_an_event_without_a_confirmation_is_an_error_to_its_publisher(world: World) -> None:
    service = await world.service()
    service.probe.refused = (TOPIC,)
    with pytest.raises(Temporary, match="did not confirm") as raised:
        await service.bus.publish(EchoHappened())
    (event_id,) = {msg_id for _, msg_id in service.probe.published}
    assert len(service.probe.published) == 3
    assert event_id in str(raised.value.detail)


async def test_a_confirmation_that_was_lost_is_asked_for_again_and_the_event_is_there_once(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    service.probe.lost_confirmations = 2
    await service.bus.publish(EchoHappened(text="once"))
    await service.bus.publish(EchoHappened(text="after it"))
    assert [(await inbox.next()).text for _ in range(2)] == ["once", "after it"]
    assert len(service.probe.published) == 4


async def test_an_event_published_again_under_its_id_is_there_once(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    for text in ("first", "the same again"):
        assert await service.bus.publish(EchoHappened(event_id="e-1", text=text)) == "e-1"
    await service.bus.publish(EchoHappened(event_id="e-2", text="another"))
    assert [(await inbox.next()).text for _ in range(2)] == ["first", "another"]


async def test_events_without_an_id_are_all_different(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    event = EchoHappened(text="hello")
    ids = [await service.bus.publish(event) for _ in range(3)]
    assert len(set(ids)) == 3
    assert [(await inbox.next()).event_id for _ in range(3)] == ids
    assert not event.HasField("event_id")


async def test_no_publish_goes_beyond_the_deadline_of_the_call_that_makes_it(world: World) -> None:
    service = await world.service(publish_retry=Policy(attempts=None, waits=(0.01,)))
    service.probe.refused = (TOPIC,)
    serving = Call(Method.grpc("/pkg.Echo/Echo", Kind.UNARY_UNARY, "server"))
    serving.deadline = time.monotonic() - 1

    async def serve() -> None:
        enter(serving)
        await service.bus.publish(EchoHappened())

    with pytest.raises(DeadlineExceeded, match="ran out"):
        await asyncio.create_task(serve())
    assert service.probe.published == []


async def test_publishing_ends_when_its_time_is_over(world: World) -> None:
    service = await world.service(publish_retry=Policy(attempts=None, waits=(0.01,)), publish_timeout=0.1)
    service.probe.refused = (TOPIC,)
    with pytest.raises(Temporary):
        await service.bus.publish(EchoHappened())
    with pytest.raises(Temporary):
        await service.bus.publish(EchoHappened(), timeout=0.05)


@needs(LIMIT_EVENTS)
async def test_an_event_that_is_too_large_is_refused_with_the_limit(world: World) -> None:
    service = await world.service()
    limit = service.probe.max_payload
    assert limit is not None
    with pytest.raises(InvalidInput, match=f"takes {limit}"):
        await service.bus.publish(EchoHappened(text="x" * limit))
    assert len(service.probe.published) == 1  # nothing is tried again


async def test_many_events_are_published_in_order_a_window_at_a_time(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    texts = [str(number) for number in range(300)]
    ids = await service.bus.publish_all((EchoHappened(text=text) for text in texts), window=16)
    received = [await inbox.next() for _ in texts]
    assert [event.text for event in received] == texts
    assert [event.event_id for event in received] == ids


async def test_many_events_may_have_topics_of_their_own(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    await service.bus.subscribe("acme.v1.one", inbox, message_type=EchoHappened)
    await service.bus.publish_all([("acme.v1.one", EchoHappened(text="a")), EchoHappened(text="b")])
    assert (await inbox.next()).text == "a"
    assert await service.bus.publish_all([]) == []


async def test_when_one_of_many_fails_the_publisher_learns_how_many_were_confirmed(world: World) -> None:
    service, inbox = await world.service(), Inbox()
    service.probe.refused = ("acme.",)
    events = [EchoHappened(text="a"), EchoHappened(text="b"), ("acme.v1.no", EchoHappened()), EchoHappened(text="c")]
    with pytest.raises(Temporary) as raised:
        await service.bus.publish_all(events, window=1)
    assert raised.value.__notes__ == ["2 of the events were published before"]
    await service.bus.subscribe(EchoHappened, inbox)
    assert [(await inbox.next()).text for _ in range(2)] == ["a", "b"]


async def test_a_running_bus_is_healthy(world: World) -> None:
    service = await world.service()
    await service.bus.check()
