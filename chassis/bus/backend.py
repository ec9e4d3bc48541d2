"""What a backend has to be able to do: move bytes and acknowledgements. All behaviour is above it, written once.

A new backend is one file here and one parameter of the contract suite, tests/contracts/test_bus.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

DEAD_LETTER_PREFIX = "cqi.dlq"
"""Dead letters are published on `cqi.dlq.{service}.{event_type}`."""

DAY = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Where a broker keeps what is published: its name, the subjects that it takes, and for how many seconds.

    >>> Stream("orders", ("acme.orders.>",)).takes("acme.orders.v1.order_shipped")
    True
    """

    name: str
    subjects: tuple[str, ...]
    max_age: float = DAY

    def takes(self, subject: str) -> bool:
        """Whether one of its subjects, which may end in `.>`, covers this one."""
        return any(
            subject.startswith(each[:-1]) and len(subject) >= len(each) if each.endswith(".>") else subject == each
            for each in self.subjects
        )


def streams_for(stream_name: str = "cqc_events") -> tuple[Stream, ...]:
    """The streams of the platform: events for a day, and dead letters for fourteen, in `{stream_name}_dlq`.

    >>> [(stream.name, stream.subjects) for stream in streams_for()]
    [('cqc_events', ('cqc.events.v1.>',)), ('cqc_events_dlq', ('cqi.dlq.>',))]
    """
    return (
        Stream(stream_name, ("cqc.events.v1.>",)),
        Stream(f"{stream_name}_dlq", (f"{DEAD_LETTER_PREFIX}.>",), 14 * DAY),
    )


@dataclass(frozen=True, slots=True)
class Consumer:
    """What is asked of a broker for one subscription.

    Everyone who asks with the same `durable` shares one place in the stream and so the work; a new durable begins
    with the oldest event that is kept. `ack_wait` is in seconds; `max_ack_pending` bounds what is unsettled over all
    who share the durable, `prefetch` what this one holds. A broker delivers an event until it is settled, however
    often that is: counting is the chassis' part.
    """

    subject: str
    durable: str
    ack_wait: float
    max_ack_pending: int
    prefetch: int


class Delivery(Protocol):
    """One event on its way to a handler, and the means to settle it; each may raise if the broker is not reached."""

    @property
    def subject(self) -> str:
        """The topic."""

    @property
    def payload(self) -> bytes:
        """The bytes as they were published."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers as they were published; of one with several values, all of them, joined by a comma."""

    @property
    def deliveries(self) -> int:
        """How often it was delivered to this durable, this time included."""

    @property
    def stream(self) -> str:
        """The stream that keeps it."""

    @property
    def sequence(self) -> int:
        """Its place in the stream, from 1 on; with the stream's name it identifies the event."""

    async def ack(self) -> None:
        """It is done."""

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest, to anyone who shares the durable."""

    async def term(self) -> None:
        """Never deliver it to this durable again."""

    async def in_progress(self) -> None:
        """It is being worked on: `ack_wait` begins anew."""


class Intake(Protocol):
    """The backend's side of one subscription."""

    async def stop(self) -> None:
        """Take in no more. Nothing is handed over after it returned; what arrives late is given back at once."""


class Backend(Protocol):
    """Moves bytes and acknowledgements between the chassis and one broker.

    What cannot be done right now is raised as `Temporary`, or as TimeoutError or OSError.
    """

    @property
    def system(self) -> str:
        """The messaging system's name for logs, metrics and spans: `memory`, `nats`."""

    @property
    def max_payload(self) -> int | None:
        """The most bytes that an event may have, headers included; None where there is no limit."""

    async def start(self) -> None:
        """Begin. A broker that cannot be reached is no reason to fail: it is looked for until it is there."""

    async def stop(self) -> None:
        """End; acknowledgements that were sent before have reached the broker, where it can be reached."""

    async def check(self) -> None:
        """Raise if the broker cannot be reached right now."""

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        """Return when the broker has it; raise if it did not say so within `timeout` seconds.

        A subject that no stream of the broker takes yet goes to the first of the backend's streams.
        An event whose `msg_id` the stream has seen within its duplicate window is confirmed and not stored again.
        """

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Intake:
        """Call `deliver` for each event, in the stream's order, never holding more than `prefetch` that are unsettled.

        An event is unsettled from `deliver` to its ack, nak or term. Where the broker cannot be reached or is lost,
        the subscription is made, and made again, as soon as it can be.
        """
