from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.bus import Bus, MemoryBackend, MemoryBroker, PublishCall, subscribe
from chassis.bus.publisher import Publisher
from chassis.call import Call, Interceptor, Method, Proceed
from chassis.component import Components
from chassis.errors import InvalidInput, Temporary

PATIENCE = 20.0


def make(broker: MemoryBroker | None = None, name: str = "cqar", **options: Any) -> Bus:
    return Bus(MemoryBackend(broker), service_name=name, **options)


async def ignore(event: Any) -> None:
    """Handle it."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((AssetCreated,), r"not its class: publish\(AssetCreated\(…\)\)"),
        (("cqc.events.v1.asset_created", AssetCreated), r"not its class"),
        (("cqc.events.v1.asset_created",), r"what should be published on 'cqc"),
        ((AssetCreated(), "cqc.events.v1.asset_created"), r"the topic comes first"),
        ((AssetCreated(), AssetCreated()), r"publish_all"),
        (({"source": "manual"},), r"not a dict"),
        (("topic", {"source": "manual"}), r"not a dict"),
        ((None,), r"not a NoneType"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
async def test_what_cannot_be_published_says_how_it_should_be_written(arguments: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        await make().publish(*arguments)


async def test_a_topic_with_wildcards_cannot_be_published_on() -> None:
    with pytest.raises(ValueError, match="wildcards"):
        await make().publish("cqc.events.v1.>", AssetCreated())


@pytest.mark.parametrize(
    ("headers", "error", "said"),
    [
        ({"Content-Type": "x"}, ValueError, "set by the event bus"),
        ({"nats-msg-id": "x"}, ValueError, "set by the event bus"),
        ({"a b": "x"}, ValueError, "no name for a header"),
        ({"": "x"}, ValueError, "no name for a header"),
        ({"a": "x\r\ny"}, InvalidInput, "printable ASCII"),
    ],
)
async def test_headers_that_cannot_be_sent_are_refused(headers: Any, error: type[Exception], said: str) -> None:
    bus = make()
    await bus.start()
    with pytest.raises(error, match=said):
        await bus.publish(AssetCreated(), headers=headers)
    await bus.stop()


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
async def test_publishing_has_an_end(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        make(publish_timeout=timeout)
    bus = make()
    await bus.start()
    with pytest.raises(ValueError, match="timeout"):
        await bus.publish(AssetCreated(), timeout=timeout)
    await bus.stop()


@pytest.mark.parametrize(
    "options", [{"max_deliver": 0}, {"ack_wait": 0}, {"max_ack_pending": 0}, {"handler_timeout": 0}], ids=str
)
def test_settings_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


async def test_a_window_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        await make().publish_all([], window=0)


async def test_two_handlers_of_one_durable_are_refused_with_the_way_out() -> None:
    bus = make()
    await bus.subscribe(AssetCreated, ignore)
    with pytest.raises(ValueError, match=r'cqar-asset_created.*durable="audit"'):
        await bus.subscribe(AssetCreated, ignore)


async def test_a_handler_that_cannot_be_called_is_refused_before_any_event() -> None:
    async def nothing() -> None:
        """Take nothing."""

    with pytest.raises(TypeError, match="should take"):
        await make().subscribe(AssetCreated, nothing)


async def test_a_durable_has_the_name_of_the_service_and_the_event() -> None:
    bus = make(name="asset registry", consumer_name="cqar.v2")
    names = [
        (await bus.subscribe(AssetCreated, ignore)).durable,
        (await bus.subscribe(AssetCreated, ignore, durable="audit")).durable,
        (await bus.subscribe(EchoHappened, ignore)).durable,
    ]
    assert names == ["cqar_v2-asset_created", "cqar_v2-asset_created-audit", "cqar_v2-cqi_testing_v1_echo_happened"]


async def test_ordered_events_have_the_broker_hold_back_the_next() -> None:
    consumer = (await make().subscribe(AssetCreated, ignore, ordered=True)).consumer
    assert (consumer.max_ack_pending, consumer.prefetch) == (1, 1)


async def test_the_prefetch_is_never_above_the_ack_window() -> None:
    bus = make(max_ack_pending=8)
    assert (await bus.subscribe(AssetCreated, ignore, prefetch=100)).consumer.prefetch == 8
    assert (await bus.subscribe(EchoHappened, ignore, concurrency=100)).consumer.prefetch == 8


async def test_marked_methods_are_subscribed_before_or_after_the_start() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    class Watch:
        @subscribe(AssetCreated)
        async def on_created(self, event: AssetCreated) -> None:
            seen.put_nowait(event.source)

    broker = MemoryBroker()
    early, late = make(broker, "early"), make(broker, "late")
    await early.subscribe_all(Watch())
    await early.start()
    await late.start()
    await late.subscribe_all(Watch())
    await early.publish(AssetCreated(source="manual"))
    async with asyncio.timeout(PATIENCE):
        assert [await seen.get(), await seen.get()] == ["manual", "manual"]
    await early.stop()
    await late.stop()


async def test_the_bus_is_a_component_and_its_health_check_has_the_siblings_name() -> None:
    bus = make()
    with pytest.raises(Temporary):
        await bus.check()
    components = Components()
    await components.start(bus)
    assert bus.name == "event_bus"
    await bus.check()
    assert await components.stop() == []


async def test_a_backend_that_does_not_take_a_subscription_ends_the_start() -> None:
    class Refusing(MemoryBackend):
        stopped = False

        async def subscribe(self, consumer: Any, deliver: Any) -> Any:
            raise PermissionError("not allowed")

        async def stop(self) -> None:
            self.stopped = True

    backend = Refusing()
    bus = Bus(backend, service_name="cqar")
    await bus.subscribe(AssetCreated, ignore)
    with pytest.raises(PermissionError):
        await bus.start()
    assert backend.stopped


async def test_a_subscription_that_failed_can_be_tried_again() -> None:
    class Refusing(MemoryBackend):
        refuses = True

        async def subscribe(self, consumer: Any, deliver: Any) -> Any:
            if self.refuses:
                raise PermissionError("not allowed")
            return await super().subscribe(consumer, deliver)

    backend = Refusing()
    bus = Bus(backend, service_name="cqar")
    await bus.start()
    with pytest.raises(PermissionError):
        await bus.subscribe(AssetCreated, ignore)
    backend.refuses = False
    await bus.subscribe(AssetCreated, ignore)
    with pytest.raises(ValueError, match="two handlers"):
        await bus.subscribe(AssetCreated, ignore)
    await bus.stop()


async def test_where_the_events_to_publish_come_from_an_iterable_that_fails_its_error_is_raised_after_those_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def events() -> Any:
        yield AssetCreated(source="a")
        yield AssetCreated(source="b")
        raise KeyError("the source broke")

    confirmed: list[bytes] = []
    backend = MemoryBackend()
    publish = backend.publish

    async def slowly(subject: str, payload: bytes, *arguments: Any, **named: Any) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        await publish(subject, payload, *arguments, **named)
        confirmed.append(payload)

    monkeypatch.setattr(backend, "publish", slowly)
    bus = Bus(backend, service_name="cqar")
    await bus.start()
    with pytest.raises(KeyError, match="the source broke") as raised:
        await bus.publish_all(events())
    assert len(confirmed) == 2
    assert raised.value.__notes__ == ["2 of the events were published before"]
    await bus.stop()


async def test_of_many_that_are_published_none_is_begun_behind_one_that_cannot_be() -> None:
    sent: list[str] = []
    backend = MemoryBackend()
    publish = backend.publish

    async def noted(subject: str, *arguments: Any, **named: Any) -> None:
        sent.append(subject)
        await publish(subject, *arguments, **named)

    backend.publish = noted  # type: ignore[method-assign]
    bus = Bus(backend, service_name="cqar")
    await bus.start()
    with pytest.raises(TypeError) as raised:
        await bus.publish_all([object(), AssetCreated(), AssetCreated()])  # type: ignore[list-item]
    assert sent == []
    assert raised.value.__notes__ == ["0 of the events were published before"]
    await bus.stop()


async def test_a_crash_that_nobody_logged_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    bus = make(max_deliver=1)
    await bus.start()
    bus_done = asyncio.Event()

    async def crashes(event: AssetCreated) -> None:
        bus_done.set()
        raise KeyError("venue")

    await bus.subscribe(AssetCreated, crashes)
    await bus.publish(AssetCreated())
    async with asyncio.timeout(PATIENCE):
        await bus_done.wait()
    await bus.stop()
    crash = next(record for record in caplog.records if record.getMessage() == "a handler crashed")
    assert crash.exc_info is not None
    assert isinstance(crash.exc_info[1], KeyError)


async def test_topics_made_up_at_run_time_fill_neither_memory_nor_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publisher, "MAX_TOPICS", 3)
    methods: list[Method] = []
    topics: list[str] = []

    class Watching(Interceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            assert isinstance(call, PublishCall)
            methods.append(call.method)
            topics.append(call.topic)
            return await proceed(call)

    bus = make(around=[Watching()])
    await bus.start()
    for number in range(6):
        await bus.publish(f"acme.orders.{number}", AssetCreated())
    await bus.stop()
    assert len({id(method) for method in methods}) == 4
    assert [method.known for method in methods] == [True] * 3 + [False] * 3
    assert topics == [f"acme.orders.{number}" for number in range(6)]


async def test_events_do_not_inherit_the_context_of_who_published_them() -> None:
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def handler(event: AssetCreated) -> None:
        seen.put_nowait(tenant.get())
        tenant.set("the last event's")

    bus = make()
    await bus.start()
    await bus.subscribe(AssetCreated, handler)
    tenant.set("the publisher's")
    await bus.publish_all([AssetCreated(), AssetCreated()])
    async with asyncio.timeout(PATIENCE):
        assert [await seen.get(), await seen.get()] == ["nobody", "nobody"]
    await bus.stop()


async def test_an_acknowledgement_that_does_not_reach_the_broker_is_told_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Breaking(MemoryBackend):
        async def subscribe(self, consumer: Any, deliver: Any) -> Any:
            def broken(delivery: Any) -> None:
                async def fail(*_: Any) -> None:
                    raise ConnectionError("gone")

                class Broken:
                    ack = nak = term = in_progress = staticmethod(fail)

                    def __getattr__(self, name: str) -> Any:
                        return getattr(delivery, name)

                deliver(Broken())

            return await super().subscribe(consumer, broken)

    seen: asyncio.Queue[str] = asyncio.Queue()

    async def handler(event: AssetCreated) -> None:
        seen.put_nowait(event.source)

    bus = Bus(Breaking(), service_name="cqar")
    await bus.start()
    await bus.subscribe(AssetCreated, handler)
    await bus.publish_all([AssetCreated(source="a"), AssetCreated(source="b")])
    async with asyncio.timeout(PATIENCE):
        assert [await seen.get(), await seen.get()] == ["a", "b"]
    await bus.stop()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "was not told" in caplog.text
