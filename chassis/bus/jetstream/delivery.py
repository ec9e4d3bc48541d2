from __future__ import annotations

from collections.abc import Callable, Mapping

from chassis.bus.jetstream.wire import decode_headers

_SECOND = 1_000_000_000

ACK = b"+ACK"
NAK = b"-NAK"
TERM = b"+TERM"
IN_PROGRESS = b"+WPI"


class JetStreamDelivery:
    """One event on its way to a handler; settled by a message to the subject that it came with."""

    __slots__ = ("_headers", "_settle", "deliveries", "payload", "reply", "sequence", "settled", "stream", "subject")

    def __init__(
        self,
        settle: Callable[[JetStreamDelivery, bytes], None],
        subject: str,
        payload: bytes,
        headers: bytes | None,
        reply: bytes,
        stream: str,
        sequence: int,
        deliveries: int,
    ) -> None:
        self._settle = settle
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

    async def ack(self) -> None:
        """It is done."""
        self._settle(self, ACK)

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, in `delay` seconds at the earliest."""
        self._settle(self, b'-NAK {"delay": %d}' % int(delay * _SECOND) if delay > 0 else NAK)

    async def term(self) -> None:
        """Never deliver it to this durable again."""
        self._settle(self, TERM)

    async def in_progress(self) -> None:
        """`ack_wait` begins anew."""
        self._settle(self, IN_PROGRESS)
