from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

from google.protobuf.message import Message

from chassis.bus.dead_letter import token
from chassis.bus.topics import check_topic, event_type_of, topic_for, type_for
from chassis.retry import Policy

Handler = Callable[..., Awaitable[None]]
"""`async def handler(event)`, or `async def handler(event, call)` to see the EventCall too."""

F = TypeVar("F", bound=Callable[..., Awaitable[None]])

_EVENTS = "cqc.events.v1."
_MARK = "__chassis_subscriptions__"
_DURABLE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which events a handler wants, and how; made by `subscribe`. What is None is as the bus says.

    | | |
    |---|---|
    | `topic`, `message_type` | where the events are published, and what they are |
    | `concurrency` | how many of them are handled at the same time; 1 unless said |
    | `ordered` | no event is begun before the one in front of it is done for good, its redeliveries included, |
    | | over all instances of the service; costs a round trip to the broker for each event |
    | `max_deliver` | how often the handler of an event may fail before the event becomes a dead letter |
    | `ack_wait` | seconds after which the broker takes a handler that gave no sign of life for dead |
    | `timeout` | seconds that a handler may take |
    | `backoff` | how long a failed event waits before it is delivered again |
    | `prefetch` | how many events may be held here, those being handled included |
    | `durable` | added to the durable's name, where one service has two handlers for one event |
    """

    topic: str
    message_type: type[Message]
    concurrency: int = 1
    ordered: bool = False
    max_deliver: int | None = None
    ack_wait: float | None = None
    timeout: float | None = None
    backoff: Policy | None = None
    prefetch: int | None = None
    durable: str = ""

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_deliver", "prefetch"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        for name in ("ack_wait", "timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {value!r}")
        if self.ordered and self.concurrency != 1:
            raise ValueError("ordered events are handled one at a time: leave concurrency out, or ordered")
        if self.durable and not _DURABLE.fullmatch(self.durable):
            raise ValueError(f"durable may have letters, digits, - and _, and not what is in {self.durable!r}")


class Options(TypedDict, total=False):
    """The options of a subscription; see `Subscription`."""

    concurrency: int
    ordered: bool
    max_deliver: int | None
    ack_wait: float | None
    timeout: float | None
    backoff: Policy | None
    prefetch: int | None
    durable: str


def subscribe(
    event: type[Message] | str, *, message_type: type[Message] | None = None, **options: Unpack[Options]
) -> Callable[[F], F]:
    """Mark a method of a service as the handler of an event, given as its type or its topic.

    >>> from cqc.events.v1.asset_events_pb2 import AssetCreated
    >>> class Watch:
    ...     @subscribe(AssetCreated, concurrency=8)
    ...     async def on_asset_created(self, event: AssetCreated) -> None: ...
    >>> [(each.topic, each.concurrency) for each, handler in subscriptions_of(Watch())]
    [('cqc.events.v1.asset_created', 8)]

    The options are those of `Subscription`. Given a topic, `message_type` says what is published there, if the topic
    does not. A method may have several of these marks. Raises TypeError, LookupError or ValueError where it is
    written, for what cannot work.
    """
    if inspect.isfunction(event) or inspect.ismethod(event):
        raise TypeError(f"say which event {event.__name__} handles: @subscribe(AssetCreated)")
    subscription = subscription_to(event, message_type, **options)

    def mark(handler: F) -> F:
        _check(handler, subscription, method=True)
        setattr(handler, _MARK, (subscription, *getattr(handler, _MARK, ())))
        return handler

    return mark


def subscriptions_of(service: object) -> list[tuple[Subscription, Handler]]:
    """The handlers of an object that `@subscribe` marked, bound to it, in the order in which they are written.

    A method that overrides a handler takes its place: with its marks, or, if it has none, those of the one that it
    overrides. Setting the name to None in a subclass takes the handler away.
    """
    marked: dict[str, tuple[Subscription, ...]] = {}
    for cls in reversed(service.__class__.__mro__):
        for name, attribute in vars(cls).items():
            if own := getattr(attribute, _MARK, ()):
                marked[name] = own
            elif name in marked:
                if attribute is None:
                    del marked[name]
                else:
                    _check(attribute, marked[name][0], method=True)
    return [(each, getattr(service, name)) for name, subscriptions in marked.items() for each in subscriptions]


def subscription_to(
    event: object, message_type: type[Message] | None = None, **options: Unpack[Options]
) -> Subscription:
    """The Subscription to an event given as its type or its topic; raises as `subscribe` does."""
    if isinstance(event, str):
        check_topic(event)
        known = type_for(event) if message_type is None else _checked(message_type)
        return Subscription(topic=event, message_type=known, **options)
    if message_type is not None:
        raise TypeError("message_type= goes with a topic; an event that is given as its type has one already")
    known = _checked(event)
    return Subscription(topic=topic_for(known), message_type=known, **options)


def durable_of(consumer_name: str, subscription: Subscription) -> str:
    """The name of a subscription's durable: what all instances of a service share the work by.

    >>> durable_of("cqar", subscription_to("cqc.events.v1.asset_created"))
    'cqar-asset_created'
    """
    topic = subscription.topic
    # As operators know them from the Go sibling; for other topics whole, so that no two are the same.
    event_type = event_type_of(topic) if topic == _EVENTS + event_type_of(topic) else token(topic)
    return "-".join(part for part in (consumer_name, event_type, subscription.durable) if part)


def takes_call(handler: Handler, subscription: Subscription) -> bool:
    """Whether a handler wants the EventCall as second argument; raises TypeError for one that cannot be called."""
    return _check(handler, subscription, method=False)


def _checked(message_type: object) -> type[Message]:
    if isinstance(message_type, type) and issubclass(message_type, Message):
        return message_type
    raise TypeError(
        "an event is given as its protobuf class (AssetCreated) or its topic ('cqc.events.v1.asset_created'), "
        f"not as {message_type!r:.100}"
    )


def _check(handler: Any, subscription: Subscription, *, method: bool) -> bool:
    name = getattr(handler, "__qualname__", repr(handler))
    if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} cannot handle {subscription.topic}: a handler is written as `async def`")
    shape = f"{name} handles {subscription.topic} and should take "
    expected = ("self, " if method else "") + f"event: {subscription.message_type.__name__}"
    parameters = list(inspect.signature(handler).parameters.values())[1 if method else 0 :]
    unfilled = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty]
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = [each for each in positional if each.default is each.empty]
    variable = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if unfilled or len(required) > 2 or not (positional or variable):
        raise TypeError(f"{shape}({expected}), or ({expected}, call: EventCall)")
    annotated = _annotation(handler, positional[0].name) if positional else None
    if annotated is not None and annotated.DESCRIPTOR is not subscription.message_type.DESCRIPTOR:
        raise TypeError(f"{shape}({expected}), but its parameter is a {annotated.DESCRIPTOR.full_name}")
    return len(required) == 2


def _annotation(handler: Any, parameter: str) -> type[Message] | None:
    try:
        hint = typing.get_type_hints(handler).get(parameter)
    except Exception:  # names that exist only for the type checker: it has looked already
        return None
    return hint if isinstance(hint, type) and issubclass(hint, Message) and hint is not Message else None
