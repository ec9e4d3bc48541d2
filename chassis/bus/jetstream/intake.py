from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from chassis.background import end
from chassis.bus.backend import Consumer, Delivery
from chassis.bus.jetstream.client import Listening
from chassis.bus.jetstream.connection import Connection
from chassis.bus.jetstream.consumers import Bound, Consumers
from chassis.bus.jetstream.delivery import IN_PROGRESS, NAK, JetStreamDelivery
from chassis.bus.jetstream.wire import Status, origin_of, status_of
from chassis.errors import ChassisError
from chassis.retry import Policy

_log = logging.getLogger("chassis.bus")

_SECOND = 1_000_000_000
_PULLS_REMEMBERED = 256


class JetStreamIntake:
    """One subscription: pulls that overlap, so that there is always one under way where there is room for an event.

    What is held and what is asked for are together never more than `prefetch`. The pulls of one binding share an
    inbox, on which the server gives a sign of life every few seconds; without one the binding is given up for a new
    one. So it is when the connection is a new one, when the durable was deleted, and when its leader has changed.
    """

    HEARTBEAT: ClassVar[float] = 2.0
    """Seconds between the server's signs of life; after two and a half of these without one, pulls are made anew."""

    EXPIRES: ClassVar[float] = 30.0
    """Seconds after which a pull is made again, if nothing came."""

    STOP_TIMEOUT: ClassVar[float] = 2.0
    """The longest that a stop waits for what is on its way here."""

    BINDING: ClassVar[Policy] = Policy(attempts=None, initial=0.1, maximum=2.0, jitter=0.25)
    """Waits between attempts to bind to the durable."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        consumers: Consumers,
        deliver: Callable[[Delivery], None],
        *,
        rebound: Callable[[], None],
        stopped: Callable[[JetStreamIntake], object],
    ) -> None:
        self._consumer = consumer
        self._connection = connection
        self._consumers = consumers
        self._deliver = deliver
        self._count_rebound = rebound
        self._stopped = stopped
        self._subject, self._prefetch = consumer.subject, consumer.prefetch
        self._step = max(1, consumer.prefetch // 4)
        self._held: dict[int, JetStreamDelivery] = {}
        self._requested = self._number = 0
        self._pulls: dict[int, int] = {}
        self._limit = consumer.prefetch
        self._next = self._inbox = self._made = ""
        self._request = b""
        self._listening: Listening | None = None
        self._binding: asyncio.Task[None] | None = None
        self._updated = self._stopping = self._told = False
        self._heard = 0.0
        self._looking: asyncio.TimerHandle | None = None
        self._checking: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.backlog = 0

    async def start(self) -> None:
        """Begin; raises ValueError for a durable that cannot be used. Without a connection it begins with it."""
        self._connection.on_connected.append(self._connected)
        self._connection.on_lost.append(self._lost)
        if not self._connection.is_connected:
            return
        try:
            await self._bind_once()
        except (ChassisError, OSError) as error:
            self._in_trouble(error)
            self._bind(1)

    async def stop(self) -> None:
        """Take in no more; what was on its way here before the server knew of it is still handed over."""
        if self._stopping:
            return
        self._stopping = True
        self._stopped(self)
        self._connection.on_connected.remove(self._connected)
        self._connection.on_lost.remove(self._lost)
        await end(self._binding, self._checking)
        if self._looking is not None:
            self._looking.cancel()
        listening, self._listening = self._listening, None
        if listening is not None:
            try:
                # Once the server has read this it gives nothing to these pulls; what it gave before is here then.
                await listening.withdraw()
                await self._connection.round_trip(self.STOP_TIMEOUT)
            except (ChassisError, OSError):
                pass  # then it does not know of these pulls any more, or will soon find out
            listening.forget()

    # Binding.

    def _connected(self) -> None:
        self._bind(0)

    def _lost(self) -> None:
        if self._binding is not None:
            self._binding.cancel()
        self._listening = None
        self._requested = 0

    def _bind(self, failures: int) -> None:
        if not self._stopping:
            if self._binding is not None:
                self._binding.cancel()
            self._binding = asyncio.get_running_loop().create_task(self._keep_binding(failures))

    async def _keep_binding(self, failures: int) -> None:
        while True:
            if failures:
                await asyncio.sleep(self.BINDING.delay(failures))
            try:
                await self._bind_once()
            except Exception as error:  # whatever it is: without a binding nothing would be taken in any more
                failures += 1
                self._in_trouble(error)
            else:
                return

    async def _bind_once(self) -> None:
        bound = await self._consumers.ensure(self._consumer, update=not self._updated)
        self._updated = True
        inbox = f"{self._connection.new_inbox()}."
        # What still comes for an earlier binding is taken in, too, and is not what this one has asked for.
        listening = await self._connection.listen(f"{inbox}*", partial(self._receive, inbox))
        earlier, self._listening = self._listening, listening
        self._inbox = inbox
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{bound.stream}.{self._consumer.durable}"
        self._request = self._request_to(bound)
        self._limit = min(self._consumer.prefetch, bound.max_batch or self._consumer.prefetch)
        self._requested = 0
        self._pulls.clear()
        if bound.made != self._made:
            self._made = bound.made
            self._forget_held()
        self._heard = asyncio.get_running_loop().time()
        if self.trouble is not None:
            self.trouble = None
            _log.info("events on %s are taken in again", self._consumer.subject)
        if earlier is not None:
            await earlier.withdraw()
        self._pull()
        if self._looking is None:
            self._look()

    def _forget_held(self) -> None:
        # Its durable is no more, and its numbers may be those of other events, in a stream that was made anew.
        for delivery in self._held.values():
            delivery.settled = True
        self._held.clear()

    def _request_to(self, bound: Bound) -> bytes:
        expires = min(self.EXPIRES, bound.max_expires or self.EXPIRES)
        heartbeat = min(self.HEARTBEAT, expires / 2.5)
        return b',"expires":%d,"idle_heartbeat":%d}' % (int(expires * _SECOND), int(heartbeat * _SECOND))

    def _in_trouble(self, error: Exception) -> None:
        said = getattr(error, "detail", None) or str(error) or type(error).__name__
        if self.trouble is None:
            _log.warning("events on %s cannot be taken in (%s); trying on until they can", self._consumer.subject, said)
        self.trouble = f"events on {self._consumer.subject} cannot be taken in: {error}"

    def _bind_again(self, why: str, failures: int = 1) -> None:
        """Give the pulls up for new ones; with `failures`, after a while."""
        if self._stopping or (self._binding is not None and not self._binding.done()):
            return
        self._count_rebound()
        if not self._told:
            self._told = True
            _log.warning("pulling events on %s is begun anew: %s", self._consumer.subject, why)
        self._bind(failures)

    # Pulling.

    def _pull(self) -> None:
        room = self._prefetch - len(self._held) - self._requested
        if room < self._step and (room < 1 or self._requested):
            return
        if self._listening is None or self._stopping or not self._connection.is_connected:
            return
        batch = min(room, self._limit)
        self._number += 1
        self._pulls[self._number] = batch
        if len(self._pulls) > _PULLS_REMEMBERED:
            del self._pulls[next(iter(self._pulls))]
        if not self._requested:
            self._heard = asyncio.get_running_loop().time()
        self._requested += batch
        self._connection.send(self._next, b'{"batch":%d' % batch + self._request, f"{self._inbox}{self._number}")

    def _receive(self, inbox: str, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        current = inbox == self._inbox
        if not reply:
            status = status_of(headers)
            if current and status is not None:
                self._told_by_server(int(subject.rpartition(b".")[2]), status)
            return
        stream, deliveries, sequence, pending = origin_of(reply)
        if current:
            self._heard = asyncio.get_running_loop().time()
            if self._requested:
                self._requested -= 1
        known = sequence in self._held
        if not known and len(self._held) >= self._prefetch:
            self._connection.settle(reply, NAK)
            return
        delivery = JetStreamDelivery(self, self._subject, payload, headers, reply, stream, sequence, deliveries)
        self._held[sequence] = delivery
        self.backlog = pending
        self._deliver(delivery)
        if known or not self._requested:
            self._pull()

    def settle(self, delivery: JetStreamDelivery, how: bytes) -> None:
        """Tell the server what becomes of a delivery, if it was not told before."""
        if delivery.settled:
            return
        if how is IN_PROGRESS:
            self._connection.send(delivery.reply.decode(), how)
            return
        delivery.settled = True
        self._held.pop(delivery.sequence, None)
        try:
            self._connection.settle(delivery.reply, how)
        finally:
            if not self._requested or self._prefetch - len(self._held) - self._requested >= self._step:
                self._pull()

    async def begun(self, delivery: JetStreamDelivery) -> int:
        """Have it noted with the durable that a handler is about to begin; how often that was noted."""
        return await self._consumers.begun(self._consumer, delivery.stream, delivery.sequence)

    # What the server has to say.

    def _told_by_server(self, pull: int, status: Status) -> None:
        self._heard = asyncio.get_running_loop().time()
        if status.code == 100:
            self._told = False
            return
        batch = self._pulls.pop(pull, 0)
        left = status.headers.get("Nats-Pending-Messages")
        if status.code == 409 and status.text.startswith("Exceeded Max"):
            self._refused(batch, status)
        elif status.code in (404, 408) and left is not None:
            self._requested = max(0, self._requested - int(left))
            self._pull()
        elif status.code in (404, 408):
            self._requested = max(0, self._requested - batch)
            self._pull()
        else:
            self._bind_again(f"the server says {status.code} {status.text or 'nobody is there'}")

    def _refused(self, batch: int, status: Status) -> None:
        number = status.text.rpartition(" ")[2]
        if "MaxRequestBatch" in status.text and number.isdigit() and int(number) > 0:
            self._limit = int(number)
            self._requested = max(0, self._requested - batch)
            self._pull()
        else:  # limits of the durable that were changed since, or too many who wait
            self._bind_again(f"the server says {status.text}", failures=3)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(self.HEARTBEAT, self._look)
        if self._silent() and (self._checking is None or self._checking.done()):
            self._checking = loop.create_task(self._check())

    def _silent(self) -> bool:
        silence = asyncio.get_running_loop().time() - self._heard
        return self._requested > 0 and self._listening is not None and silence > 2.5 * self.HEARTBEAT

    async def _check(self) -> None:
        # What was said may be here and not read yet, where this process was busy with something else.
        try:
            await self._connection.round_trip(self.HEARTBEAT)
        except (ChassisError, OSError):
            return  # the connection is at fault, and is looked after elsewhere
        if self._silent():
            self._bind_again(f"nothing was heard of the last ones for {2.5 * self.HEARTBEAT:g} s", failures=0)
