from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from chassis.bus.backend import Delivery
from chassis.call import Call, Method, headers_of
from chassis.errors import Undecodable

# Headers of an event, beside `traceparent` and `x-request-id`; the names by which they are received.
EVENT_ID = "nats-msg-id"
MSG_ID = "Nats-Msg-Id"  # as it is sent: NATS servers know duplicates by it, in this spelling alone
CONTENT_TYPE = "content-type"
MESSAGE_TYPE = "cqi-message-type"
ACTOR_ID = "cqi-actor-id"

PROTOBUF = "application/protobuf"
_PROTOBUF_TYPES = frozenset({PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf"})


class EventCall(Call):
    """The handling of one delivery of an event.

    Beside what every call has: `event_id`, `actor_id`, `topic`, `payload` (the bytes), `deliveries` (1 for the first
    time). `transport` is the backend's delivery; `metadata` its headers by lower-case name. `principal` is None:
    what stands in an event is no proof of who caused it. A handler gets it as second parameter, or by `current_call()`.
    """

    __slots__ = ("message_type",)

    ends_in_time = True

    def __init__(
        self, method: Method, delivery: Delivery, message_type: type[Message], deadline: float | None = None
    ) -> None:
        super().__init__(method, delivery, metadata=headers_of(delivery.headers), deadline=deadline)
        self.message_type = message_type

    @property
    def request(self) -> Any:
        """The event, decoded when first asked for; raises `Undecodable` where the bytes are no message of its type."""
        message = self._raw
        if message is None:
            message = self._raw = self._decode()
        return message

    def _decode(self) -> Message:
        expected = self.message_type.DESCRIPTOR.full_name
        headers = self.metadata
        # Bytes of another message can be decoded without an error, and mean nothing.
        declared = headers.get(MESSAGE_TYPE)
        if declared is not None and declared != expected:
            raise Undecodable(f"the event on {self.topic} is a {declared:.200}, and its handler wants a {expected}")
        content_type = headers.get(CONTENT_TYPE)
        if content_type is not None and content_type != PROTOBUF:
            media_type = content_type.partition(";")[0].strip().lower()
            if media_type not in _PROTOBUF_TYPES:
                raise Undecodable(f"the event on {self.topic} is {media_type:.200}, and protobuf is expected")
        try:
            return self.message_type.FromString(self.transport.payload)
        except DecodeError as error:
            size = len(self.payload)
            raise Undecodable(f"the {size} bytes of the event on {self.topic} are no {expected}") from error

    @property
    def topic(self) -> str:
        """Where it was published."""
        topic: str = self.transport.subject
        return topic

    @property
    def payload(self) -> bytes:
        """The bytes of the event as they were published."""
        payload: bytes = self.transport.payload
        return payload

    @property
    def deliveries(self) -> int:
        """How often the event was delivered to this handler, over all instances of the service, this time included."""
        deliveries: int = self.transport.deliveries
        return deliveries

    @property
    def event_id(self) -> str:
        """The event's own id, the same in each of its deliveries: of the message, or else of the header; or empty."""
        return self._of_message("event_id") or self.metadata.get(EVENT_ID, "")

    @property
    def actor_id(self) -> str:
        """Who caused the event, as its publisher says: `service:{name}`, `user:{uuid}`, or empty. It proves nothing."""
        return self._of_message("actor_id") or self.metadata.get(ACTOR_ID, "")

    def _of_message(self, field: str) -> str:
        message = self._raw
        if message is None:
            try:
                message = self.request
            except Undecodable:
                return ""
        value = getattr(message, field, "")
        return value if isinstance(value, str) else ""


class Envelope(NamedTuple):
    """An event as it goes to the broker."""

    payload: bytes
    event_id: str
    headers: dict[str, str]


class PublishCall(Call):
    """The publishing of one event: `topic`, `event_id`, `payload`; `request` is the message; `metadata` goes along.

    `timeout` is in seconds: how long the broker has to confirm it.
    """

    __slots__ = ("event_id", "payload", "timeout", "topic")

    ends_in_time = True

    def __init__(
        self,
        method: Method,
        topic: str,
        message: Message,
        envelope: Envelope,
        parent: Call | None,
        timeout: float,
    ) -> None:
        self.timeout = timeout
        self.topic = topic
        self.payload, self.event_id, headers = envelope
        # The deadline is the caller's alone: what the bus allows itself ends in Temporary, which may be tried again.
        super().__init__(method, None, message, parent, headers, None if parent is None else parent.deadline)
