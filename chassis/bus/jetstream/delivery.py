from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from chassis.bus.jetstream.wire import decode_headers, stored_of

_SECOND = 1_000_000_000

ACK = b"+ACK"
NAK = b"-NAK"
TERM = b"+TERM"
IN_PROGRESS = b"+WPI"


class Giver(Protocol):
    """What gave a delivery out, and is told what becomes of it."""

    def settle(self, delivery: JetStreamDelivery, how: bytes) -> None:
        """Tell the server."""

    async def begun(self, delivery: JetStreamDelivery) -> int:
        """Have it noted that its handler is about to begin; how often that was noted."""


class JetStreamDelivery:
    """One event on its way to a handler; settled by a message to the subject that it came with."""

    __slots__ = ("_giver", "_headers", "deliveries", "payload", "reply", "sequence", "settled", "stream", "subject")

    def __init__(
        self,
        giver: Giver,
        subject: str,
        payload: bytes,
        headers: bytes | None,
        reply: bytes,
        stream: str,
        sequence: int,
        deliveries: int,
    ) -> None:
        self._giver = giver
        self.subject = subject
        self.payload = payload
        self._headers: bytes | Mapping[str, str] | None = headers
        self.reply = reply
        self.stream = stream
        self.sequence = sequence
        self.deliveries = deliveries
        self.settled = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers as they were published."""
        headers = self._headers
        if headers is None or isinstance(headers, bytes):
            headers = self._headers = decode_headers(headers)
        return headers

    @property
    def stored(self) -> bytes:
        """When it was stored."""
        return stored_of(self.reply)

    async def begun(self) -> int:
        """Note that its handler is about to begin."""
        return await self._giver.begun(self)

    async def ack(self) -> None:
        """It is done."""
        self._giver.settle(self, ACK)

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest."""
        self._giver.settle(self, b'-NAK {"delay": %d}' % int(delay * _SECOND) if delay > 0 else NAK)

    async def term(self) -> None:
        """Never deliver it to this durable again."""
        self._giver.settle(self, TERM)

    async def in_progress(self) -> None:
        """`ack_wait` begins anew."""
        self._giver.settle(self, IN_PROGRESS)
