"""What a backend has to be able to do: move bytes and acknowledgements. All behaviour is above it, written once.

A broker that stores events and does not remember who has had them gets that from `chassis.bus.durable`. How to write
one, and how to have it tested: docs/bus.md, "A backend of your own".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chassis.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Consumer:
    """What is asked of a broker for one subscription.

    Everyone who asks with the same `durable` shares one place in the stream and so the work; a new durable begins
    with the oldest event that is kept. `ack_wait` is in seconds; `max_ack_pending` bounds what is unsettled over all
    who share the durable, `prefetch` what this one holds. A broker delivers an event until it is settled, however
    often that is: when it has been tried often enough is the chassis' part.
    """

    subject: str
    durable: str
    ack_wait: float
    max_ack_pending: int
    prefetch: int


class Delivery(Protocol):
    """One event on its way to a handler, and the means to settle it; each may raise if the broker is not reached.

    It is settled once, by `ack`, `nak` or `term`; what comes after that does nothing.
    """

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
        """Its place in the stream, from 1 on; with the stream's name and `stored` it identifies the event."""

    @property
    def stored(self) -> bytes:
        """When it was stored, where a stream can be made anew and count from 1 again; else the same for all."""

    async def begun(self) -> int:
        """Note that its handler is about to begin, and return how often that was noted, this time included.

        The note outlives this process, and is shared by all who share the durable, as `deliveries` is; that one counts
        what never reached a handler, too. Asked only of an event that came so often that it may end the process.
        """

    async def ack(self) -> None:
        """It is done."""

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest, to anyone who shares the durable."""

    async def term(self) -> None:
        """Never deliver it to this durable again: `ack`, where the broker has no other word for what failed."""

    async def in_progress(self) -> None:
        """It is being worked on: `ack_wait` begins anew."""


class Intake(Protocol):
    """The backend's side of one subscription."""

    async def stop(self) -> None:
        """Take in no more: nothing is handed over after it returned. What still is until then is given back above."""


class Backend(Protocol):
    """Moves bytes and acknowledgements between the chassis and one broker.

    What cannot be done right now is raised as `Temporary`, or as TimeoutError or OSError. A backend that is made from
    this class (`class AppendOnlyFile(Backend)`) has to have `system`, `publish` and `subscribe`, and the others where
    there is something to do. It is asked for nothing before `start` and after `stop`.
    """

    @property
    def system(self) -> str:
        """The messaging system's name for logs, metrics and spans: `memory`, `nats`."""

    @property
    def max_payload(self) -> int | None:
        """The most bytes that an event may have, headers included; None where there is no limit."""
        return None

    async def start(self) -> None:
        """Begin. A broker that cannot be reached is no reason to fail: it is looked for until it is there."""
        return

    async def stop(self) -> None:
        """End; acknowledgements that were sent before have reached the broker, where it can be reached."""
        return

    async def check(self) -> None:
        """Raise if the broker cannot be reached right now."""
        return

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        """Return when the broker has it; raise if it did not say so within `timeout` seconds.

        A subject that no stream of the broker takes yet goes to the first of the backend's streams.
        An event whose `msg_id` the stream has seen within its duplicate window is confirmed and not stored again;
        an empty one is that of no other event. One that is larger than `max_payload` raises `too_large(…)`.
        """

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Intake:
        """Call `deliver` for each event, in the stream's order, never holding more than `prefetch` that are unsettled.

        An event is unsettled from `deliver` to its ack, nak or term. Where the broker cannot be reached or is lost,
        the subscription is made, and made again, as soon as it can be. Raises ValueError for a durable of this name
        that is for something else.
        """


def too_large(subject: str, size: int, limit: int) -> InvalidInput:
    """The error for an event that can never be published, of so many bytes with its headers."""
    return InvalidInput(
        f"the event on {subject} has {size} bytes with its headers, and the event bus takes {limit}: "
        "publish a reference to the data instead"
    )
