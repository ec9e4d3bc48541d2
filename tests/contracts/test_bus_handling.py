"""What becomes of an event, by how its handler ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened, EchoReply, EchoRequest
from grpc import StatusCode

from chassis.bus import EventCall
from chassis.call import Call, Interceptor, Kind, Method, Principal, Proceed, TraceContext, current_call, enter
from chassis.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    ChassisError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Permanent,
    PermissionDenied,
    ResourceExhausted,
    Temporary,
    Unauthorized,
    Undecodable,
    Unimplemented,
)
from chassis.metrics import Metrics
from chassis.retry import Policy
from tests.contracts.bus_kit import PATIENCE, Inbox, World

TOPIC = "cqi.testing.v1.echo_happened"


class Recording(Interceptor):
    """Remembers the calls that went through it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def around(self, call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self.calls.append(call)


async def test_a_handler_that_returns_acknowledges(world: World) -> None:
    service = await world.service()
    inbox = Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened(text="hello"))
    assert (await inbox.next()).text == "hello"
    await service.probe.until(lambda probe: probe.settled == [("ack", TOPIC, 0.0)])


@pytest.mark.parametrize(
    ("error", "settled"),
    [
        (NotFound("no"), ["nak", "ack"]),
        (InvalidInput("no"), ["term"]),
        (Undecodable("no"), ["term"]),
        (Unauthorized("no"), ["term"]),
        (PermissionDenied("no"), ["term"]),
        (AlreadyExists("done before"), ["ack"]),
        (FailedPrecondition("no"), ["term"]),
        (Aborted("lost"), ["nak", "ack"]),
        (ResourceExhausted("full"), ["nak", "ack"]),
        (Temporary("later"), ["nak", "ack"]),
        (DeadlineExceeded("slow"), ["nak", "ack"]),
        (Cancelled("gone"), ["nak", "ack"]),
        (Unimplemented("no"), ["term"]),
        (Permanent("no"), ["term"]),
        (RuntimeError("crash"), ["nak", "ack"]),
        (asyncio.CancelledError(), ["nak", "ack"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "-".join(value),
)
async def test_the_table_of_errors_decides(world: World, error: BaseException, settled: list[str]) -> None:
    service = await world.service()
    inbox = Inbox(error)
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened(text="first"))
    await service.probe.until(lambda probe: len(probe.settled) == len(settled))
    assert [how for how, _, _ in service.probe.settled] == settled
    assert [call.deliveries for call in inbox.calls] == list(range(1, len(inbox.calls) + 1))
    assert len(inbox.calls) == len([how for how in settled if how != "term"]) or settled == ["term"]


async def test_an_event_that_failed_waits_as_the_backoff_says(world: World) -> None:
    backoff = Policy(waits=(0.02, 0.01, 0.03), jitter=0)
    service = await world.service(backoff=backoff, max_deliver=4)
    inbox = Inbox(*[RuntimeError("crash")] * 3)
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: len(probe.settled) == 4)
    assert service.probe.settled == [
        ("nak", TOPIC, 0.02),
        ("nak", TOPIC, 0.01),
        ("nak", TOPIC, 0.03),
        ("ack", TOPIC, 0.0),
    ]


async def test_an_error_that_says_when_to_try_again_is_waited_for(world: World) -> None:
    service = await world.service()
    inbox = Inbox(ResourceExhausted("full", retry_after=0.05))
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: len(probe.settled) == 2)
    assert service.probe.settled[0] == ("nak", TOPIC, 0.05)


async def test_a_subscription_can_have_its_own_backoff_and_count(world: World) -> None:
    service = await world.service(max_deliver=1)
    inbox = Inbox(Temporary("later"), Temporary("later"))
    await service.bus.subscribe(EchoHappened, inbox, max_deliver=3, backoff=Policy(waits=(0.01,), jitter=0))
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: len(probe.settled) == 3)
    assert service.probe.settled == [("nak", TOPIC, 0.01), ("nak", TOPIC, 0.01), ("ack", TOPIC, 0.0)]


async def test_events_behind_one_that_fails_are_handled_meanwhile(world: World) -> None:
    service = await world.service(backoff=Policy(waits=(3600.0,), jitter=0, maximum=3600))
    inbox = Inbox(Temporary("later"))
    await service.bus.subscribe(EchoHappened, inbox)
    for text in ("fails", "second", "third"):
        await service.bus.publish(EchoHappened(text=text))
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["nak", "ack", "ack"])
    assert [event.text for event in inbox.events] == ["fails", "second", "third"]


async def test_the_call_tells_the_facts_of_the_event(world: World) -> None:
    service = await world.service()
    inbox = Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    event_id = await service.bus.publish(EchoHappened(text="hello"), headers={"X-Tenant": "acme"})
    received = await inbox.next()
    call = inbox.calls[0]
    assert isinstance(call, EventCall)
    assert call.event_id == received.event_id == event_id
    assert call.actor_id == received.actor_id == "service:cqar"
    assert (call.topic, call.deliveries, call.principal) == (TOPIC, 1, None)
    assert call.request is received
    assert EchoHappened.FromString(call.payload) == received
    assert call.metadata["x-tenant"] == "acme"
    assert call.metadata["nats-msg-id"] == event_id
    assert call.metadata["content-type"] == "application/protobuf"
    assert call.metadata["cqi-message-type"] == "cqi.testing.v1.EchoHappened"
    remaining = call.time_remaining()
    assert remaining is None or remaining > 0


async def test_a_message_without_the_common_fields_has_them_in_its_headers(world: World) -> None:
    service = await world.service("echo")
    inbox = Inbox()
    await service.bus.subscribe(EchoRequest, inbox)
    event_id = await service.bus.publish(EchoRequest(text="hello"))
    await inbox.next()
    assert inbox.calls[0].event_id == event_id
    assert inbox.calls[0].actor_id == "service:echo"


async def test_trace_request_id_and_actor_go_from_a_call_through_the_event_to_its_handler(world: World) -> None:
    observer = Recording()
    service = await world.service(around=[observer])
    inbox = Inbox()
    seen = []

    async def handler(event: EchoHappened) -> None:
        seen.append(current_call())
        await inbox(event, current_call())

    await service.bus.subscribe(EchoHappened, handler)
    serving = Call(Method.grpc("/pkg.Echo/Echo", Kind.UNARY_UNARY, "server"))
    serving.principal = Principal("7d5e", "user", "jwt")
    serving.trace = TraceContext("a" * 32, "b" * 16, True)

    async def serve() -> None:
        enter(serving)
        await service.bus.publish(EchoHappened())

    await asyncio.create_task(serve())
    event = await inbox.next()
    await service.probe.until(lambda probe: len(probe.settled) == 1)
    handled = seen[0]
    assert handled is not None
    assert handled.trace == serving.trace
    assert handled.request_id == serving.request_id
    assert event.actor_id == "user:7d5e"
    published, processed = sorted(observer.calls, key=lambda call: call.method.served)
    assert published.parent is serving
    assert processed is handled
    system = service.probe.system
    described = [(each.method.side, each.method.name, each.method.service) for each in (published, processed)]
    assert described == [("client", "publish", system), ("server", "process", system)]
    assert {each.method.path for each in observer.calls} == {TOPIC}
    assert {each.method.kind for each in observer.calls} == {Kind.EVENT}


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, StatusCode.OK), (NotFound("no"), StatusCode.NOT_FOUND), (RuntimeError("no"), StatusCode.INTERNAL)],
    ids=["ok", "domain error", "crash"],
)
async def test_what_goes_around_the_handler_sees_how_it_ended(
    world: World, error: Exception | None, code: StatusCode
) -> None:
    observer = Recording()
    service = await world.service(around=[observer])
    inbox = Inbox(error)
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: len(probe.settled) >= 1)
    processed = next(call for call in observer.calls if call.method.served)
    assert processed.code is code
    assert processed.error is error


async def test_what_is_rejected_before_the_handler_is_judged_by_the_same_table(world: World) -> None:
    class Rejecting(Interceptor):
        def applies(self, method: Method) -> bool:
            return method.served

        async def around(self, call: Call, proceed: Proceed) -> Any:
            raise PermissionDenied("not for you")

    service = await world.service(around=[Rejecting()])
    inbox = Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["term"])
    assert inbox.events == []


async def test_redeliveries_and_dead_letters_are_counted(world: World) -> None:
    metrics = Metrics("cqar")
    service = await world.service(metrics=metrics)
    inbox = Inbox(*[Temporary("later")] * 3)
    await service.bus.subscribe(EchoHappened, inbox)
    await service.bus.publish(EchoHappened())
    await service.probe.until(lambda probe: [how for how, _, _ in probe.settled] == ["nak", "nak", "term"])
    assert metrics.value("cqar_event_redelivered_total", topic=TOPIC) == 2
    assert metrics.value("cqar_event_dead_lettered_total", topic=TOPIC, status_code="UNAVAILABLE") == 1


async def test_two_handlers_of_one_service_each_see_every_event(world: World) -> None:
    service = await world.service()
    one, other = Inbox(), Inbox()
    await service.bus.subscribe(EchoHappened, one)
    await service.bus.subscribe(EchoHappened, other, durable="audit")
    await service.bus.publish(EchoHappened(text="hello"))
    assert (await one.next()).text == (await other.next()).text == "hello"


async def test_events_of_a_peer_without_headers_are_handled(world: World) -> None:
    service = await world.service()
    inbox = Inbox()
    await service.bus.subscribe(EchoHappened, inbox)
    payload = EchoHappened(event_id="from-go", actor_id="system", text="hello").SerializeToString()
    await service.probe.inner.publish(TOPIC, payload, {}, msg_id="", timeout=PATIENCE)
    assert (await inbox.next()).text == "hello"
    assert (inbox.calls[0].event_id, inbox.calls[0].actor_id) == ("from-go", "system")


async def test_a_topic_of_ones_own_carries_what_it_is_said_to(world: World) -> None:
    service = await world.service()
    inbox = Inbox()
    await service.bus.subscribe("acme.replies.v1.sent", inbox, message_type=EchoReply)
    await service.bus.publish("acme.replies.v1.sent", EchoReply(text="hello"))
    assert (await inbox.next()).text == "hello"


def test_every_error_of_the_table_is_played_here() -> None:
    played = test_the_table_of_errors_decides.pytestmark[0].args[1]  # type: ignore[attr-defined]
    from chassis.errors import TABLE

    classes = {type(error) for error, _ in played}
    assert {cls for cls in classes if issubclass(cls, ChassisError)} == {*TABLE, Undecodable}
