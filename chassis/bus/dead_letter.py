from __future__ import annotations

import re
import time
from collections.abc import Callable

from cqi.v1.dead_letter_pb2 import DeadLetter

from chassis.bus.event import EventCall
from chassis.bus.streams import DEAD_LETTER_PREFIX
from chassis.bus.topics import event_type_of
from chassis.errors import ChassisError, Crash
from chassis.text import clean

_ROOM = 1024
"""Bytes that are left for headers when it is decided whether a payload fits."""


def dead_letter_subject(service: str, topic: str) -> str:
    """Where a service's dead letters of a topic are published.

    >>> dead_letter_subject("cqar", "cqc.events.v1.asset_created")
    'cqi.dlq.cqar.asset_created'
    """
    return f"{DEAD_LETTER_PREFIX}.{token(service)}.{event_type_of(topic)}"


def is_dead_letter(topic: str) -> bool:
    """Whether dead letters are published there."""
    return topic.startswith(f"{DEAD_LETTER_PREFIX}.")


def token(name: str) -> str:
    """A name as it can stand in subjects and names of durables.

    >>> token("asset registry.v2")
    'asset_registry_v2'
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def dead_letter_of(
    call: EventCall,
    error: ChassisError,
    *,
    service: str,
    durable: str,
    max_payload: int | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> DeadLetter:
    """The dead letter of an event whose handling ended with this error: all that is needed to look into it.

    One that would have more than `max_payload` bytes goes without the event's bytes, which the stream still has, where
    that is not enough without its headers, too, and says so.
    """
    delivery = call.transport
    cause = error.__cause__ if isinstance(error, Crash) and error.__cause__ is not None else error
    reason = error.message
    if isinstance(error, Crash):
        # The exception's text may hold anything; the log has it.
        reason = f"the handler crashed with {type(cause).__name__}; the log has it under request id {call.request_id}"
    now = now_ns()
    letter = DeadLetter(
        # Protobuf takes no lone surrogates, which headers decoded leniently may hold.
        event_id=clean(call.event_id),
        event_type=event_type_of(call.topic),
        message_type=call.message_type.DESCRIPTOR.full_name,
        subject=call.topic,
        payload=call.payload,
        headers={clean(name): clean(value) for name, value in delivery.headers.items()},
        reason=clean(reason),
        code=error.code.name,
        error_type=type(cause).__name__,
        service=service,
        durable=durable,
        deliveries=call.deliveries,
        stream=delivery.stream,
        stream_sequence=delivery.sequence,
        traceparent=call.trace.traceparent if call.trace is not None else "",
    )
    letter.dead_lettered_at.FromNanoseconds(now)
    if call.deliveries == 1:
        letter.first_delivered_at.FromNanoseconds(now - int(call.duration * 1e9))
    if not _fits(letter, max_payload):
        size = len(call.payload)
        letter.ClearField("payload")
        missing = f"the event's {size} bytes do not fit in"
        if not _fits(letter, max_payload):
            letter.ClearField("headers")
            missing = f"the event's {size} bytes and its headers do not fit in"
        if not _fits(letter, max_payload):  # what a handler says, and an id that is no UUID, may have any length
            letter.reason, letter.event_id = f"{letter.reason[:_ROOM]}…", letter.event_id[:_ROOM]
        letter.reason += f" ({missing}; they are number {delivery.sequence} of the stream)"
    return letter


def _fits(letter: DeadLetter, max_payload: int | None) -> bool:
    return max_payload is None or letter.ByteSize() + _ROOM <= max_payload
