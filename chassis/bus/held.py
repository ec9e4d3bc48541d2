"""What is held of a subscription: the deliveries that are here, and the signs of life that are given for them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from chassis.bus.backend import Delivery

_log = logging.getLogger("chassis.bus")

Key = tuple[str, int] | tuple[str, int, bytes]


class Held:
    """A delivery that is here and not settled yet."""

    __slots__ = ("deadline", "delivery", "expired", "key", "released", "signalled", "task")

    def __init__(self, key: Key, delivery: Delivery, now: float) -> None:
        self.key = key
        self.delivery = delivery
        self.signalled = now
        self.task: asyncio.Task[None] | None = None
        self.deadline: float | None = None
        self.expired = False
        self.released = False


class SignsOfLife:
    """One timer for all that is held: the broker is told in time that it is, and handlers end by their deadline."""

    def __init__(
        self,
        held: dict[Key, Held],
        *,
        topic: str,
        ack_wait: float,
        timeout: float,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self._held = held
        self._topic = topic
        self._ack_wait = ack_wait
        self._interval = min(ack_wait / 3, timeout)
        self._spawn = spawn

    def begin(self) -> None:
        """Something is held, and the timer does not run."""
        self.timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def end(self) -> None:
        """Nothing is held any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _sweep(self) -> None:
        self.timer = None
        if not self._held:
            return
        now = time.monotonic()
        quiet = []
        wake = now + self._interval
        for held in self._held.values():
            if held.deadline is not None:
                if held.deadline <= now and held.task is not None:
                    held.expired = True
                    held.task.cancel()
                else:
                    wake = min(wake, held.deadline)
            # A little early, so that what was taken in at about the same time is told together.
            if now - held.signalled >= self._ack_wait / 4:
                held.signalled = now
                quiet.append(held.delivery)
            else:
                wake = min(wake, held.signalled + self._ack_wait / 3)
        if quiet:
            self._spawn(self._tell_alive(quiet))
        self.timer = asyncio.get_running_loop().call_later(wake - now, self._sweep)

    async def _tell_alive(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            try:
                await delivery.in_progress()
            except Exception as error:  # told again in a while
                _log.debug("the broker was not told that an event on %s is being handled: %s", self._topic, error)
