from __future__ import annotations

import asyncio
import contextlib
import logging
from operator import attrgetter
from typing import Final

from nats.aio.client import Client as NatsClient
from nats.aio.subscription import Subscription
from nats.errors import Error

from chassis.bus.jetstream.parser import MessageParser, Receive, hand_over

_log = logging.getLogger("chassis.bus")

_PING: Final = b"PING\r\n"


class Client(NatsClient):
    """One connection of nats-py, for as long as it lasts, with a shorter way in and out.

    nats-py connects, logs in, speaks TLS and WebSocket, and reads the protocol. What is done differently here:

    - messages go straight from the parser to their receiver, without a queue and a task for each subscription, and the
      parser has a shorter way for messages that came whole;
    - `send` is no coroutine, and takes headers that are encoded;
    - a PING takes its place behind what was sent before it, so that its PONG says that all of that has arrived;
    - a PONG that nobody waits for any more does not end the reading of the connection;
    - a connection that is lost can be given up at once (`abort`): closing one politely waits for its peer.
    """

    ROOM: Final = 8 * 1024 * 1024
    """Bytes that may wait to be sent before publishers have to wait, too."""

    def __init__(self) -> None:
        super().__init__()
        self._receivers: dict[int, Receive] = {}
        self._ps = MessageParser(self, self._receivers)

    # These are asked for with each event, and a property that is written in Python would be a function more each time.
    status = property(attrgetter("_status"))
    """One of the class's own numbers for it: `CONNECTED` and others."""

    unsent = property(attrgetter("_pending_data_size"))
    """Bytes that wait to be sent."""

    # Out.

    def send(self, subject: str, payload: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Send a message; subjects have been checked, and headers are encoded."""
        size = len(headers)
        if size:
            head = f"HPUB {subject} {reply} {size} {size + len(payload)}\r\n".encode()
        else:
            head = f"PUB {subject} {reply} {len(payload)}\r\n".encode()
        self.command(b"".join((head, headers, payload, b"\r\n")))

    def command(self, command: bytes) -> None:
        """Send a command of the protocol, with its line end."""
        pending = self._pending
        pending.append(command)
        self._pending_data_size += len(command)
        # Where something was waiting before, what sends it has been told.
        if len(pending) == 1 and (queue := self._flush_queue) is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def room(self) -> None:
        """Wait until what was sent before has left the process; for publishers, when `unsent` is large."""
        assert self._flush_queue is not None
        sent = asyncio.get_running_loop().create_future()
        await self._flush_queue.put(sent)
        await sent

    async def round_trip(self) -> None:
        """Return when the server has read everything that was sent before, and all that it sent before is here."""
        await self.ping()

    def ping(self, pong: asyncio.Future[bool] | None = None) -> asyncio.Future[bool]:
        """Ask for a sign of life; what is returned is done when it is here."""
        pong = asyncio.get_running_loop().create_future() if pong is None else pong
        self._pongs.append(pong)
        self.command(_PING)
        return pong

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        self.ping(future)

    async def _process_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
        else:
            await super()._process_pong()

    # In.

    async def listen(self, subject: str, receive: Receive) -> Listening:
        """Have each message on a subject given to `receive`."""
        number = self._sid + 1
        self._receivers[number] = receive
        # With a future, nats-py makes neither queue nor task to serve the subscription.
        return Listening(self, number, await self.subscribe(subject, future=asyncio.get_running_loop().create_future()))

    def forget(self, number: int) -> None:
        """Drop what still arrives for a subscription."""
        self._receivers.pop(number, None)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if (receive := self._receivers.get(sid)) is not None:
            hand_over(receive, subject, reply, data, headers)

    # The end.

    def abort(self) -> None:
        """Give the connection up; what was not sent is lost."""
        self._pending.clear()
        self._pending_data_size = 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Listening:
    """A subscription of a Client."""

    __slots__ = ("_client", "_number", "_subscription")

    def __init__(self, client: Client, number: int, subscription: Subscription) -> None:
        self._client = client
        self._number = number
        self._subscription = subscription

    async def withdraw(self) -> None:
        """Tell the server that no more is wanted; what is on its way is still received, and then it is forgotten."""
        with contextlib.suppress(Error):  # withdrawn before, or the connection is gone
            await self._subscription.unsubscribe()
            self._client.ping().add_done_callback(lambda _: self.forget())

    def forget(self) -> None:
        """Receive no more."""
        self._client.forget(self._number)
