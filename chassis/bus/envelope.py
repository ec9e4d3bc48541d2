from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.bus.event import ACTOR_ID, CONTENT_TYPE, MESSAGE_TYPE, PROTOBUF
from chassis.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event as it goes to the broker."""

    payload: bytes
    event_id: str
    headers: dict[str, str]


class Sealer:
    """Puts messages into envelopes, with `event_id`, `timestamp` and `actor_id` where they are not set.

    The user's message is not touched. What is missing is appended to its bytes, which is a merge by protobuf's
    definition (Encoding, "Last One Wins") and spares a copy.
    """

    def __init__(self, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._common: dict[type[Message], frozenset[str]] = {}

    def seal(self, message: Message, actor_id: str) -> Envelope:
        """`actor_id` is whom to name where the message does not; it goes into a header where there is no field for it.

        Raises InvalidInput for an `event_id` that cannot stand in a header.
        """
        message_type = type(message)
        common = self._common.get(message_type)
        if common is None:
            common = self._common[message_type] = _common_fields(message_type)
        missing: Message | None = None
        event_id = message.event_id if "event_id" in common else ""  # type: ignore[attr-defined]
        if not event_id:
            event_id = str(uuid.uuid4())
            if "event_id" in common:
                missing = message_type(event_id=event_id)
        headers = {CONTENT_TYPE: PROTOBUF, MESSAGE_TYPE: message_type.DESCRIPTOR.full_name}
        if "actor_id" not in common:
            if _fits(actor_id):
                headers[ACTOR_ID] = actor_id
        elif not message.actor_id:  # type: ignore[attr-defined]
            missing = message_type() if missing is None else missing
            missing.actor_id = actor_id  # type: ignore[attr-defined]
        if "timestamp" in common and not message.HasField("timestamp"):
            missing = message_type() if missing is None else missing
            timestamp = missing.timestamp  # type: ignore[attr-defined]
            timestamp.seconds, timestamp.nanos = divmod(self._now_ns(), 1_000_000_000)
        payload = message.SerializeToString()
        if missing is not None:
            payload += missing.SerializeToString()
        return Envelope(payload, check_header("event_id", event_id), headers)


def check_header(name: str, value: str) -> str:
    """Raise InvalidInput for a value that would not arrive as it is: headers are printable ASCII, unpadded."""
    if not _fits(value):
        raise InvalidInput.field(name, "must be printable ASCII without spaces around it, since it goes into a header")
    return value


def _fits(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def _common_fields(message_type: type[Message]) -> frozenset[str]:
    wanted: dict[str, Callable[[Any], bool]] = {
        "event_id": _is_string,
        "actor_id": _is_string,
        "timestamp": lambda field: (
            field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.full_name == "google.protobuf.Timestamp"
        ),
    }
    fields = message_type.DESCRIPTOR.fields_by_name
    return frozenset(
        name
        for name, fits in wanted.items()
        if (field := fields.get(name)) is not None and not field.is_repeated and _alone(field) and fits(field)
    )


def _is_string(field: Any) -> bool:
    return bool(field.type == FieldDescriptor.TYPE_STRING)


def _alone(field: Any) -> bool:
    # Setting one member of a real oneof would clear another; `optional` makes a oneof of one.
    return field.containing_oneof is None or len(field.containing_oneof.fields) == 1
