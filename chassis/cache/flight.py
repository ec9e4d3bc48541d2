"""Loads that many wait for: each entry is fetched from its source by one of those who miss it at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from chassis.background import Background, forget
from chassis.call import current_call
from chassis.errors import Temporary

M = TypeVar("M", bound=Message)


class Flight(Generic[M]):
    """Everyone who asks for one entry at the same time; the load, if it comes to that, runs in a task of its own."""

    __slots__ = ("_deadline", "_loads", "_task", "message_type", "stale", "waiting")

    def __init__(self, message_type: type[M], loads: Background) -> None:
        self.message_type = message_type
        self._loads = loads
        self.waiting = 0
        # The entry was changed since: what is loaded is right for those who wait, and is not kept.
        self.stale = False
        self._task: asyncio.Task[M] | None = None
        self._deadline: float | None = None

    @property
    def is_loading(self) -> bool:
        """Whether a load was begun; it may have ended meanwhile."""
        return self._task is not None

    @property
    def is_own(self) -> bool:
        """Whether it is the load itself that asks."""
        return self._task is not None and self._task is asyncio.current_task()

    @property
    def ran_out(self) -> bool:
        """Whether the time of the call that began the load is over."""
        return self._deadline is not None and self._deadline <= time.monotonic()

    def load(self, loading: Coroutine[Any, Any, M]) -> None:
        """Begin to load; the caller's trace and identity go along, its cancellation does not."""
        call = current_call()
        self._deadline = None if call is None else call.deadline
        self._task = self._loads.spawn(loading, context=copy_context())
        self._task.add_done_callback(forget)

    async def result(self) -> M:
        """What was loaded; raises the loader's error."""
        assert self._task is not None
        await asyncio.wait({self._task})
        if self._task.cancelled():
            raise Temporary("the value was not loaded: its loader was cancelled")
        return self._task.result()

    def abandon(self) -> None:
        """Nobody waits any more: the work stops."""
        if self._task is not None:
            self._task.cancel()


class Flights:
    """The flights of a cache, by key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight[Any]] = {}
        # Not those of the flights above alone: one whose entry was changed is none of them, and loads on.
        self._loads = Background()

    def __len__(self) -> int:
        return len(self._flights)

    def board(self, key: bytes, message_type: type[M]) -> Flight[M]:
        """Join those who ask for this entry now; `leave` has to follow.

        One keeps the flight that one boarded: who missed the entry before it was loaded gets what was loaded,
        however much later the miss is known.
        """
        flight = self._flights.get(key)
        if flight is None or flight.message_type is not message_type:
            flight = self._flights[key] = Flight(message_type, self._loads)
        flight.waiting += 1
        return flight

    def leave(self, key: bytes, flight: Flight[Any]) -> None:
        """Wait no longer."""
        flight.waiting -= 1
        if not flight.waiting:
            self.land(key, flight)
            flight.abandon()

    def land(self, key: bytes, flight: Flight[Any]) -> None:
        """Whoever comes from now on looks into the cache."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    def changed(self, keys: list[bytes]) -> None:
        """These entries are being changed: what is being loaded now may be what they were before."""
        if self._flights:
            for key in keys:
                flight = self._flights.pop(key, None)
                if flight is not None:
                    flight.stale = True

    async def stop(self) -> None:
        """End all loads."""
        await self._loads.end()
