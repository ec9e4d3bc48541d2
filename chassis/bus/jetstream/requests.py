from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from chassis.bus.jetstream.client import Client
from chassis.errors import Temporary


class Reply(NamedTuple):
    """The answer to a request: its payload and raw headers."""

    payload: bytes
    headers: bytes | None


# Without the function that a named tuple has for its constructor.
_reply_of = partial(tuple.__new__, Reply)

_NOBODY = (0.0, None)


class Requests:
    """Questions that wait for their answers: one inbox, numbered replies, and one timer for all that take too long."""

    def __init__(self) -> None:
        self._inbox = ""
        self._prefix = 0
        self._number = 0
        self._waiting: dict[int, tuple[float, asyncio.Future[Reply]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._rings = float("inf")

    async def begin(self, client: Client) -> None:
        """Take answers from a new connection."""
        self._inbox = f"{client.new_inbox()}."
        self._prefix = len(self._inbox)
        await client.listen(f"{self._inbox}*", self._answered)

    def send(self, client: Client, subject: str, payload: bytes, headers: bytes, until: float) -> asyncio.Future[Reply]:
        """Ask; the answer, TimeoutError when it is `until` on the loop's clock, Temporary at the `end`."""
        self._number = number = self._number + 1
        client.send(subject, payload, f"{self._inbox}{number}", headers)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting[number] = (until, reply)
        # Moved only to an earlier time: a timer that rings too early is cheaper than one for each request.
        if until < self._rings:
            self._ring(loop, until)
        return reply

    def end(self) -> None:
        """Let all who wait know that no answer comes: the connection is lost."""
        for _, reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(Temporary("the connection to the event bus was lost before it answered"))
        self._waiting.clear()
        if self._sweep is not None:
            self._sweep.cancel()
        self._rings = float("inf")

    def _ring(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep = loop.call_at(until, self._expire)
        self._rings = until

    def _answered(self, subject: bytes, _reply: bytes, payload: bytes, headers: bytes | None) -> None:
        _, reply = self._waiting.pop(int(subject[self._prefix :]), _NOBODY)
        if reply is not None and not reply.done():
            reply.set_result(_reply_of((payload, headers)))

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now, earliest = loop.time(), float("inf")
        self._rings = earliest
        for number, (until, reply) in list(self._waiting.items()):
            if until > now:
                earliest = min(earliest, until)
                continue
            del self._waiting[number]
            if not reply.done():  # else nobody waits for it any more
                reply.set_exception(TimeoutError("NATS did not answer in time"))
        if earliest < float("inf"):
            self._ring(loop, earliest)
