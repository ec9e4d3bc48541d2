from __future__ import annotations

import functools
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated, AssetDeploymentCreated
from cqi.testing.v1.echo_pb2 import EchoHappened

from chassis.bus import EventCall, subscribe, subscriptions_of
from chassis.bus.declaration import subscription_to, takes_call


class Base:
    @subscribe(AssetCreated)
    async def on_created(self, event: AssetCreated) -> None:
        """Handle it."""

    @subscribe(AssetDeploymentCreated, concurrency=4)
    async def on_deployed(self, event: AssetDeploymentCreated) -> None:
        """Handle it."""

    async def not_a_handler(self) -> None:
        """Do something else."""


def names(service: object) -> list[tuple[str, str]]:
    return [(each.topic.rpartition(".")[2], handler.__qualname__) for each, handler in subscriptions_of(service)]


def test_marked_methods_are_found_in_the_order_in_which_they_are_written() -> None:
    assert names(Base()) == [
        ("asset_created", "Base.on_created"),
        ("asset_deployment_created", "Base.on_deployed"),
    ]


def test_handlers_are_bound_to_the_object() -> None:
    service = Base()
    assert all(handler.__self__ is service for _, handler in subscriptions_of(service))  # type: ignore[attr-defined]


def test_subclasses_inherit_handlers_and_add_their_own() -> None:
    class Derived(Base):
        @subscribe(EchoHappened)
        async def on_echo(self, event: EchoHappened) -> None:
            """Handle it."""

    assert [event for event, _ in names(Derived())] == ["asset_created", "asset_deployment_created", "echo_happened"]


def test_an_override_takes_the_place_of_the_handler_with_its_subscription() -> None:
    class Derived(Base):
        async def on_created(self, event: AssetCreated) -> None:
            """Handle it otherwise."""

    assert names(Derived())[0][1].endswith("Derived.on_created")
    assert len(names(Derived())) == 2


def test_an_override_with_a_mark_of_its_own_has_that_alone() -> None:
    class Derived(Base):
        @subscribe(EchoHappened)
        async def on_created(self, event: EchoHappened) -> None:  # type: ignore[override]
            """Handle another one."""

    assert sorted(event for event, _ in names(Derived())) == ["asset_deployment_created", "echo_happened"]


def test_a_handler_is_taken_away_by_none() -> None:
    class Derived(Base):
        on_created = None  # type: ignore[assignment]

    assert [event for event, _ in names(Derived())] == ["asset_deployment_created"]


def test_an_override_that_is_no_handler_any_more_is_refused() -> None:
    class Derived(Base):
        def on_created(self, event: AssetCreated) -> None:  # type: ignore[override]
            """Forgot the async."""

    with pytest.raises(TypeError, match="async def"):
        subscriptions_of(Derived())


def test_one_method_may_handle_several_events() -> None:
    class Both:
        @subscribe(AssetCreated)
        @subscribe("cqi.testing.v1.echo_happened", durable="both")
        async def on_any(self, event: Any) -> None:
            """Handle it."""

    assert [event for event, _ in names(Both())] == ["asset_created", "echo_happened"]


def test_a_topic_is_enough_where_its_type_is_known() -> None:
    assert subscription_to("cqi.testing.v1.echo_happened").message_type is EchoHappened
    assert subscription_to("acme.v1.sent", EchoHappened).message_type is EchoHappened


def test_a_handler_that_is_not_async_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.on_created.*async def"):

        class Wrong:
            @subscribe(AssetCreated)  # type: ignore[type-var]
            def on_created(self, event: AssetCreated) -> None:
                """Handle it."""


def test_the_parentheses_may_not_be_forgotten() -> None:
    with pytest.raises(TypeError, match=r"which event on_created handles: @subscribe\(AssetCreated\)"):

        class Wrong:
            @subscribe  # type: ignore[arg-type]
            async def on_created(self, event: AssetCreated) -> None:
                """Handle it."""


def test_a_parameter_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"event: AssetCreated.*cqc\.events\.v1\.AssetDeploymentCreated"):

        class Wrong:
            @subscribe(AssetCreated)
            async def on_created(self, event: AssetDeploymentCreated) -> None:
                """Handle it."""


def test_annotations_that_cannot_be_resolved_do_no_harm() -> None:
    class Fine:
        @subscribe(AssetCreated)
        async def on_created(self, event: OnlyForTheTypeChecker) -> None:  # type: ignore[name-defined]  # noqa: F821
            """Handle it."""

    assert len(subscriptions_of(Fine())) == 1


@pytest.mark.parametrize("event", [AssetCreated(), 5, dict, None], ids=repr)
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(TypeError, match="protobuf class"):
        subscribe(event)


def test_a_type_beside_a_type_is_refused() -> None:
    with pytest.raises(TypeError, match="goes with a topic"):
        subscribe(AssetCreated, message_type=AssetCreated)


def test_wildcards_are_refused() -> None:
    with pytest.raises(ValueError, match="wildcards"):
        subscribe("cqc.events.v1.>", message_type=AssetCreated)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 2.5}, "concurrency"),
        ({"max_deliver": 0}, "max_deliver"),
        ({"prefetch": -1}, "prefetch"),
        ({"ack_wait": 0}, "ack_wait"),
        ({"timeout": -1}, "timeout"),
        ({"concurrency": 2, "ordered": True}, "ordered"),
        ({"durable": "a.b"}, "durable"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_by_name(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        subscribe(AssetCreated, **options)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="concurency"):
        subscribe(AssetCreated, concurency=2)  # type: ignore[call-arg]


async def one(event: AssetCreated) -> None:
    """Handle it."""


async def two(event: AssetCreated, call: EventCall) -> None:
    """Handle it."""


async def optional(event: AssetCreated, retries: int = 3) -> None:
    """Handle it."""


async def none() -> None:
    """Take nothing."""


async def three(event: AssetCreated, call: EventCall, more: int) -> None:
    """Take too much."""


async def keyword(event: AssetCreated, *, needed: int) -> None:
    """Take what nobody gives."""


class Callable:
    async def __call__(self, event: AssetCreated, call: EventCall) -> None:
        """Handle it."""


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (one, False),
        (two, True),
        (optional, False),
        (Base().on_created, False),
        (Callable(), True),
        (functools.partial(three, more=1), True),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_second_parameter_gets_the_call(handler: Any, expected: bool) -> None:
    assert takes_call(handler, subscription_to(AssetCreated)) is expected


@pytest.mark.parametrize("handler", [none, three, keyword], ids=lambda value: value.__name__)
def test_a_handler_that_cannot_be_called_is_refused_with_the_form_it_should_have(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"should take \(event: AssetCreated\), or \(event: AssetCreated, call"):
        takes_call(handler, subscription_to(AssetCreated))
