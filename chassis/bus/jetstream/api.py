from __future__ import annotations

import json
from typing import Any, ClassVar

from chassis.bus.jetstream.connection import Connection
from chassis.bus.jetstream.wire import status_of
from chassis.errors import Temporary

STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
SUBJECTS_OVERLAP = 10065
INVALID_STREAM = 10052
"""What is asked for does not fit together; subjects of one stream that overlap, for example."""
CONSUMER_NOT_FOUND = 10014
CONSUMER_NAME_IN_USE = frozenset({10013, 10105, 10148})
TOO_LARGE = frozenset({10054, 10097})
"""More than the stream takes, and more in its headers than any stream does (64 KiB)."""

NO_RESPONDERS = UNAVAILABLE = 503
"""Nobody who could answer is there, and who is there cannot do it right now."""


class Refused(Temporary):
    """What JetStream's API said no to, with its number for the reason (`err_code`) and the kind of that (`code`)."""

    def __init__(self, operation: str, error: dict[str, Any]) -> None:
        self.number = int(error.get("err_code", 0))
        self.status = int(error.get("code", 0))
        self.said = str(error.get("description", "no reason given"))
        super().__init__(f"the event bus says: {self.said}", detail=f"{self.said} ({operation}, error {self.number})")


class Api:
    """Requests to JetStream; configuration goes in and out as it is on the wire, so that nothing in it gets lost."""

    TIMEOUT: ClassVar[float] = 2.5
    """Seconds that JetStream has for an answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(self, operation: str, body: dict[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Ask; raises `Refused`, `Temporary` where nobody answers, TimeoutError."""
        payload = b"" if body is None else json.dumps(body).encode()
        reply = await self._connection.request(f"$JS.API.{operation}", payload, timeout=timeout or self.TIMEOUT)
        status = status_of(reply.headers)
        if status is not None and status.code == NO_RESPONDERS:
            raise Temporary(
                "the event bus is not available",
                detail="JetStream does not answer: it is not enabled for this account, or has no leader right now",
            )
        try:
            answer = json.loads(reply.payload)
        except ValueError as error:
            raise Temporary("the event bus gave an answer that is not understood", detail=operation) from error
        if "error" in answer:
            raise Refused(operation, answer["error"])
        return answer
