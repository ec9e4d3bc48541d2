"""What `publish` is given, checked."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from chassis.bus.envelope import check_header
from chassis.bus.event import ACTOR_ID, CONTENT_TYPE, EVENT_ID, MESSAGE_TYPE
from chassis.bus.topics import check_topic, topic_for

_RESERVED = frozenset({EVENT_ID, CONTENT_TYPE, MESSAGE_TYPE, ACTOR_ID})


def topic_and_event(first: object, second: object) -> tuple[str, Message]:
    """The topic and the event of `publish(event)` or `publish(topic, event)`.

    Raises TypeError or ValueError, with what should be written instead, for anything else.
    """
    if isinstance(first, str):
        if isinstance(second, Message):
            check_topic(first)
            return first, second
        wrong = second
        if second is None:
            raise TypeError(f"what should be published on {first!r}? Write publish(topic, message) or publish(message)")
    elif isinstance(first, Message):
        if second is None:
            return topic_for(type(first)), first
        if isinstance(second, str):
            raise TypeError("the topic comes first: publish(topic, message)")
        raise TypeError("publish takes one event; for several there is publish_all([...])")
    else:
        wrong = first
    if isinstance(wrong, type) and issubclass(wrong, Message):
        raise TypeError(f"an event is an object, not its class: publish({wrong.__name__}(…))")
    raise TypeError(f"an event is a protobuf message, not a {type(wrong).__name__}")


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go along with an event beside the bus's own, by lower-case name.

    >>> own_headers({"X-Tenant": "acme"})
    {'x-tenant': 'acme'}

    Raises ValueError for a name that cannot be used, InvalidInput for a value that would not arrive as it is.
    """
    own = {}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in _RESERVED:
            raise ValueError(f"the header {name} is set by the event bus")
        if not name or not all(each.isalnum() or each in "-_." for each in name) or not name.isascii():
            raise ValueError(f"{name!r} is no name for a header: letters, digits, -, _ and . can be used")
        own[lowered] = check_header(name, value)
    return own
