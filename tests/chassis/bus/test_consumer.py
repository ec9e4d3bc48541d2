"""What a running subscription does where the broker, or a handler, does what no broker or handler should."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cqi.testing.v1.echo_pb2 import EchoHappened
from cqi.v1.dead_letter_pb2 import DeadLetter

from chassis.bus import Bus, Consumer, Delivery, EventCall
from chassis.bus.consumer import RunningSubscription
from chassis.bus.verdict import Settler
from chassis.call import Call, Interceptor, Proceed
from chassis.errors import DeadlineExceeded, InvalidInput, Temporary

PATIENCE = 20.0
TOPIC = "cqi.testing.v1.echo_happened"


class Delivered:
    """An event that a test hands over itself."""

    def __init__(self, text: str = "", sequence: int = 1, deliveries: int = 1) -> None:
        self.subject = TOPIC
        self.payload = EchoHappened(text=text).SerializeToString()
        self.headers: Mapping[str, str] = {}
        self.stream = "events"
        self.stored = b""
        self.sequence = sequence
        self.deliveries = deliveries
        self.begins = 0
        self.settled: asyncio.Queue[str] = asyncio.Queue()
        self.signals = 0
        self.signalled = asyncio.Event()
        self.unreachable = False

    async def ack(self) -> None:
        self.settled.put_nowait("ack")

    async def nak(self, delay: float = 0.0) -> None:
        if self.unreachable:
            raise ConnectionError("gone")
        self.settled.put_nowait("nak")

    async def term(self) -> None:
        self.settled.put_nowait("term")

    async def in_progress(self) -> None:
        self.signals += 1
        self.signalled.set()
        if self.unreachable:
            raise ConnectionError("gone")

    async def begun(self) -> int:
        self.begins += 1
        return self.begins

    async def ended(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.settled.get()


class Manual:
    """A backend whose deliveries, and whose failures, are the test's."""

    system = "manual"
    max_payload: int | None = None

    def __init__(self) -> None:
        self.deliver: Callable[[Delivery], None]
        self.while_stopping: Callable[[], Any] = lambda: None
        self.stopped: asyncio.Event | None = None
        self.publishing: asyncio.Event = asyncio.Event()
        self.confirmed: asyncio.Event | None = None
        self.published: list[bytes] = []

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do; the intake's stop is this one too."""
        self.while_stopping()
        if self.stopped is not None:
            await self.stopped.wait()

    async def check(self) -> None:
        """All is well."""

    async def publish(self, subject: str, payload: bytes, headers: Any, *, msg_id: str, timeout: float) -> None:
        self.publishing.set()
        if self.confirmed is not None:
            await self.confirmed.wait()
        self.published.append(payload)

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Manual:
        self.deliver = deliver
        return self


async def running(handler: Any, around: Any = (), **options: Any) -> tuple[Bus, Manual]:
    backend = Manual()
    bus = Bus(backend, service_name="cqar", around=around)
    await bus.start()
    await bus.subscribe(EchoHappened, handler, **options)
    return bus, backend


async def ignore(event: EchoHappened) -> None:
    """Handle it."""


async def test_what_arrives_while_the_bus_drains_is_given_back() -> None:
    bus, backend = await running(ignore)
    late = Delivered()
    backend.while_stopping = lambda: backend.deliver(late)
    await bus.drain()
    assert await late.ended() == "nak"


async def test_nothing_is_begun_any_more_while_the_intake_is_being_stopped() -> None:
    runs: list[str] = []
    go_on = asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        runs.append(event.text)
        await go_on.wait()

    bus, backend = await running(handler)
    backend.stopped = asyncio.Event()
    first, waiting = Delivered("first", 1), Delivered("waiting", 2)
    backend.deliver(first)
    backend.deliver(waiting)
    backend.while_stopping = go_on.set
    draining = asyncio.create_task(bus.drain(PATIENCE))
    assert await first.ended() == "ack"
    backend.stopped.set()
    assert await draining == []
    assert await waiting.ended() == "nak"
    assert runs == ["first"]


async def test_an_event_that_comes_back_while_it_is_given_back_is_still_handled_once_at_a_time() -> None:
    go_on = asyncio.Event()
    begun: asyncio.Queue[int] = asyncio.Queue()

    async def handler(event: EchoHappened, call: EventCall) -> None:
        begun.put_nowait(call.deliveries)
        if call.deliveries == 1:
            raise Temporary("later")
        await go_on.wait()

    bus, backend = await running(handler, concurrency=3)
    second, third = Delivered(deliveries=2), Delivered(deliveries=3)

    class AtOnce(Delivered):
        async def nak(self, delay: float = 0.0) -> None:
            backend.deliver(second)
            await super().nak(delay)

    first = AtOnce()
    backend.deliver(first)
    assert await first.ended() == "nak"
    async with asyncio.timeout(PATIENCE):
        assert [await begun.get(), await begun.get()] == [1, 2]
    backend.deliver(third)
    go_on.set()
    assert await third.ended() == "ack"
    assert begun.empty()
    await bus.stop()


async def test_another_event_of_the_same_number_is_handled_too_where_the_stream_was_made_anew() -> None:
    go_on = asyncio.Event()
    begun: asyncio.Queue[str] = asyncio.Queue()

    async def handler(event: EchoHappened) -> None:
        begun.put_nowait(event.text)
        await go_on.wait()

    bus, backend = await running(handler, concurrency=2, timeout=PATIENCE)
    old, new, again = Delivered("old"), Delivered("new"), Delivered("new", deliveries=2)
    new.stored = again.stored = b"later"
    for delivery in (old, new, again):
        backend.deliver(delivery)
    async with asyncio.timeout(PATIENCE):
        assert [await begun.get(), await begun.get()] == ["old", "new"]
    go_on.set()
    assert (await old.ended(), await again.ended()) == ("ack", "ack")
    assert (begun.empty(), new.settled.empty()) == (True, True)
    await bus.stop()


async def test_a_handler_whose_event_has_lost_its_number_to_another_is_still_bound_by_its_time() -> None:
    async def handler(event: EchoHappened) -> None:
        await asyncio.Event().wait()

    seen: list[str] = []

    class Observing(Interceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await proceed(call)
            finally:
                seen.append(call.code.name)

    bus, backend = await running(handler, [Observing()], concurrency=2, timeout=0.05)
    old, new = Delivered("old"), Delivered("new")
    new.stored = b"later"
    backend.deliver(old)
    backend.deliver(new)
    assert (await old.ended(), await new.ended()) == ("nak", "nak")
    assert seen == ["DEADLINE_EXCEEDED"] * 2
    await bus.stop()


async def test_an_event_that_cannot_be_noted_as_begun_waits_and_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[str] = []

    async def handler(event: EchoHappened) -> None:
        runs.append(event.text)

    class Unnoted(Delivered):
        async def begun(self) -> int:
            raise Temporary("no leader")

    bus, backend = await running(handler, max_deliver=1)
    doubted, other = Unnoted("doubted", deliveries=3), Delivered("other", sequence=2)
    backend.deliver(doubted)
    backend.deliver(other)
    assert (await doubted.ended(), await other.ended()) == ("nak", "ack")
    assert runs == ["other"]
    assert "cannot be noted that it is begun: no leader" in caplog.text
    await bus.stop()


async def test_nothing_is_begun_alone_any_more_while_the_intake_is_being_stopped() -> None:
    runs: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        runs.append(event.text)
        begun.set()
        await go_on.wait()

    bus, backend = await running(handler, max_deliver=1)
    backend.stopped = asyncio.Event()
    first, waiting = Delivered("first", 1, deliveries=3), Delivered("waiting", 2, deliveries=3)
    backend.deliver(first)
    backend.deliver(waiting)
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
    backend.while_stopping = go_on.set
    draining = asyncio.create_task(bus.drain(PATIENCE))
    assert await first.ended() == "ack"
    for _ in range(20):  # it would have its turn
        await asyncio.sleep(0)
    backend.stopped.set()
    assert await draining == []
    assert await waiting.ended() == "nak"
    assert runs == ["first"]


@pytest.mark.parametrize(
    ("deliveries", "settled", "begins"),
    [(5, "nak", 0), (6, "term", 0), (7, "term", 1)],
    ids=["others may have handled it", "others have tried it as often", "it is in doubt"],
)
async def test_what_fails_is_tried_again_unless_it_was_delivered_twice_as_often_as_it_may_be_tried(
    deliveries: int, settled: str, begins: int
) -> None:
    async def handler(event: EchoHappened) -> None:
        raise Temporary("later")

    bus, backend = await running(handler, max_deliver=3)
    event = Delivered(deliveries=deliveries)
    backend.deliver(event)
    assert (await event.ended(), event.begins) == (settled, begins)
    await bus.stop()


async def test_a_handler_that_does_not_end_though_it_was_cut_off_keeps_nothing_waiting_that_was_begun_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RunningSubscription, "CUT_GRACE", 0.01)
    go_on = asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        while event.text == "stubborn" and not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()

    bus, backend = await running(handler, max_deliver=1, timeout=0.02, concurrency=2)
    stubborn, other = Delivered("stubborn", 1, deliveries=3), Delivered("other", 2)
    backend.deliver(stubborn)
    backend.deliver(other)
    try:
        assert await other.ended() == "ack"
        assert stubborn.settled.empty()
    finally:
        go_on.set()
    assert await stubborn.ended() == "ack"
    await bus.stop()


class Slow(Manual):
    """Says when a subscription is being made, and makes it when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.making, self.made = asyncio.Event(), asyncio.Event()

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Manual:
        self.making.set()
        await self.made.wait()
        return await super().subscribe(consumer, deliver)


async def test_a_drain_stops_a_subscription_that_was_being_made() -> None:
    stops: list[str] = []
    backend = Slow()
    bus = Bus(backend, service_name="cqar")
    await bus.start()
    subscribing = asyncio.create_task(bus.subscribe(EchoHappened, ignore))
    async with asyncio.timeout(PATIENCE):
        await backend.making.wait()
    backend.while_stopping = lambda: stops.append("stopped")
    draining = asyncio.create_task(bus.drain(PATIENCE))
    await asyncio.sleep(0)
    backend.made.set()
    async with asyncio.timeout(PATIENCE):
        assert await draining == []
        await subscribing
    assert stops == ["stopped"]


async def test_a_subscription_that_took_longer_than_the_drain_is_stopped_once_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chassis.bus.RunningSubscription.CUT_GRACE", 0.01)
    stops: list[str] = []
    backend = Slow()
    bus = Bus(backend, service_name="cqar")
    await bus.start()
    subscribing = asyncio.create_task(bus.subscribe(EchoHappened, ignore))
    async with asyncio.timeout(PATIENCE):
        await backend.making.wait()
        await bus.drain(0)
        backend.while_stopping = lambda: stops.append("stopped")
        backend.made.set()
        await subscribing
    assert stops == ["stopped"]


async def test_an_intake_that_cannot_be_stopped_does_not_keep_the_service(caplog: pytest.LogCaptureFixture) -> None:
    bus, backend = await running(ignore)

    def fail() -> None:
        raise ConnectionError("gone")

    backend.while_stopping = fail
    assert await bus.drain() == []
    assert "could not be stopped" in caplog.text


async def test_an_event_that_cannot_be_given_back_does_not_keep_the_service() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        begun.set()
        await go_on.wait()

    bus, backend = await running(handler)
    first, waiting = Delivered(sequence=1), Delivered(sequence=2)
    waiting.unreachable = True
    backend.deliver(first)
    backend.deliver(waiting)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    backend.while_stopping = go_on.set
    assert await bus.drain(PATIENCE) == []
    assert await first.ended() == "ack"


async def test_signs_of_life_go_on_where_one_did_not_reach_the_broker() -> None:
    go_on = asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        await go_on.wait()

    bus, backend = await running(handler, ack_wait=0.03, concurrency=2)
    broken, fine = Delivered(sequence=1), Delivered(sequence=2)
    broken.unreachable = True
    backend.deliver(broken)
    backend.deliver(fine)
    for _ in range(3):
        for delivery in (broken, fine):
            delivery.signalled.clear()
            await asyncio.wait_for(delivery.signalled.wait(), PATIENCE)
    go_on.set()
    assert await fine.ended() == "ack"
    await bus.stop()


async def test_the_newest_delivery_of_an_event_is_the_one_that_is_settled() -> None:
    go_on = asyncio.Event()
    runs = []

    async def handler(event: EchoHappened) -> None:
        runs.append(event)
        await go_on.wait()

    bus, backend = await running(handler, concurrency=2)
    lost, again = Delivered(sequence=7), Delivered(sequence=7, deliveries=2)
    backend.deliver(lost)
    backend.deliver(again)
    go_on.set()
    assert await again.ended() == "ack"
    assert len(runs) == 1
    assert lost.settled.empty()
    await bus.stop()


async def test_a_handler_that_is_too_slow_is_seen_as_such_by_what_goes_around_it() -> None:
    seen: list[Any] = []

    class Observing(Interceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await proceed(call)
            finally:
                seen.append((call.code.name, type(call.error)))

    async def handler(event: EchoHappened) -> None:
        await asyncio.Event().wait()

    bus, backend = await running(handler, [Observing()], timeout=0.02)
    delivery = Delivered()
    backend.deliver(delivery)
    assert await delivery.ended() == "nak"
    assert seen == [("DEADLINE_EXCEEDED", DeadlineExceeded)]
    await bus.stop()


async def test_time_spent_before_the_handler_counts_as_its_own() -> None:
    class Waiting(Interceptor):
        def applies(self, method: Any) -> bool:
            return bool(method.served)

        async def around(self, call: Call, proceed: Proceed) -> Any:
            await asyncio.Event().wait()

    bus, backend = await running(ignore, [Waiting()], timeout=0.02, max_deliver=1)
    delivery = Delivered()
    backend.deliver(delivery)
    assert await delivery.ended() == "term"
    await bus.stop()


async def test_an_event_whose_dead_letter_was_under_way_when_the_service_had_to_end_is_given_back() -> None:
    async def handler(event: EchoHappened) -> None:
        raise InvalidInput("no")

    bus, backend = await running(handler)
    backend.confirmed = asyncio.Event()
    delivery = Delivered()
    backend.deliver(delivery)
    await asyncio.wait_for(backend.publishing.wait(), PATIENCE)
    (cut,) = await bus.drain(0.01)
    assert TOPIC in cut
    assert await delivery.ended() == "nak"
    assert delivery.settled.empty()


async def test_a_dead_letter_fits_what_the_broker_takes_by_then() -> None:
    async def handler(event: EchoHappened) -> None:
        raise InvalidInput("no")

    bus, backend = await running(handler)
    backend.max_payload = 4096  # it is known when the broker has been reached
    delivery = Delivered("x" * 4000)
    backend.deliver(delivery)
    assert await delivery.ended() == "term"
    letter = DeadLetter.FromString(backend.published[0])
    assert letter.payload == b""
    assert "do not fit" in letter.reason
    await bus.stop()


async def test_a_dead_letter_that_is_too_large_by_its_headers_or_its_reason_goes_without_them_and_says_so() -> None:
    reasons = ["no", "x" * 8000]

    async def handler(event: EchoHappened) -> None:
        raise InvalidInput(reasons.pop(0))

    bus, backend = await running(handler)
    backend.max_payload = 4096
    for sequence in (1, 2):
        delivery = Delivered("text", sequence)
        delivery.headers = {"nats-msg-id": "e-1", "x-big": "a" * 4000}
        backend.deliver(delivery)
        assert await delivery.ended() == "term"
    first, second = [DeadLetter.FromString(payload) for payload in backend.published]
    missing = " (the event's 6 bytes and its headers do not fit in; they are number 1 of the stream)"
    assert first.reason == f"no{missing}"
    assert second.reason == f"{'x' * 1024}…{missing.replace('1', '2')}"
    for letter in (first, second):
        assert (letter.payload, dict(letter.headers)) == (b"", {})
        assert (letter.event_id, letter.event_type, letter.stream) == ("e-1", "echo_happened", "events")
        assert letter.ByteSize() < 4096 - 1024 + 256
    await bus.stop()


async def test_a_handler_that_was_cut_off_while_its_loop_ends_gives_its_event_back() -> None:
    begun = asyncio.Event()

    async def handler(event: EchoHappened) -> None:
        begun.set()
        await asyncio.Event().wait()

    _, backend = await running(handler, max_deliver=1)
    before = asyncio.all_tasks()
    delivery = Delivered()
    backend.deliver(delivery)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    (task,) = asyncio.all_tasks() - before
    task.cancel()
    assert await delivery.ended() == "nak"
    assert delivery.settled.empty()


async def test_a_fault_of_the_bus_itself_is_logged_and_the_event_can_come_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, backend = await running(ignore)
    settle = Settler.settle

    async def fails_once(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(Settler, "settle", settle)
        raise SystemError("unforeseen")

    monkeypatch.setattr(Settler, "settle", fails_once)
    backend.deliver(Delivered(sequence=1))
    other, again = Delivered(sequence=2), Delivered(sequence=1, deliveries=2)
    backend.deliver(other)
    assert await other.ended() == "ack"
    backend.deliver(again)
    assert await again.ended() == "ack"
    assert "broke the event bus itself" in caplog.text
    await bus.stop()
