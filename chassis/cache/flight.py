"""Loads that many wait for: each entry is fetched from its source by one of those who miss it at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from chassis.background import Background, forget
from chassis.call import current_call
from chassis.errors import Temporary

M = TypeVar("M", bound=Message)

# The flight whose loader this code is a part of, also in tasks that the loader begins.
_loading: ContextVar[Flight[Any] | None] = ContextVar("chassis_cache_loading", default=None)


class Flight(Generic[M]):
    """Everyone who asks for one entry at the same time; the load, if it comes to that, runs in a task of its own."""

    __slots__ = ("_awaited", "_deadline", "_loads", "_task", "key", "message_type", "stale", "storing", "waiting")

    def __init__(self, key: bytes, message_type: type[M], loads: Background) -> None:
        self.key = key
        self.message_type = message_type
        self._loads = loads
        self.waiting = 0
        # The entry was changed since: what is loaded is right for those who wait, and is not kept.
        self.stale = False
        # What was loaded is being sent to the cache, and may arrive there whoever is cancelled.
        self.storing = False
        self._awaited: list[Flight[Any]] = []  # what its loader waits for
        self._task: asyncio.Task[M] | None = None
        self._deadline: float | None = None

    @property
    def is_loading(self) -> bool:
        """Whether a load was begun; it may have ended meanwhile."""
        return self._task is not None

    @property
    def ran_out(self) -> bool:
        """Whether the time of the call that began the load is over."""
        return self._deadline is not None and self._deadline <= time.monotonic()

    def load(self, loading: Coroutine[Any, Any, M]) -> None:
        """Begin to load; the caller's trace and identity go along, its cancellation does not."""
        call = current_call()
        self._deadline = None if call is None else call.deadline
        context = copy_context()
        context.run(_loading.set, self)
        self._task = self._loads.spawn(loading, context=context)
        self._task.add_done_callback(forget)

    async def result(self) -> M:
        """What was loaded; raises the loader's error, and RuntimeError where it would never be known."""
        assert self._task is not None
        by = _loading.get()
        if by is None:
            await asyncio.wait({self._task})
        else:
            # Also where two calls each began one of the loads: no chain of callers would show that.
            if (way := self._way_to(by)) is not None:
                keys = " > ".join(flight.key.decode() for flight in (by, *way))
                raise RuntimeError(f"loaders of the cache wait for one another, which would never end: {keys}")
            by._awaited.append(self)
            try:
                await asyncio.wait({self._task})
            finally:
                by._awaited.remove(self)
        if self._task.cancelled():
            raise Temporary("the value was not loaded: its loader was cancelled")
        return self._task.result()

    def abandon(self) -> None:
        """Nobody waits any more: the work stops."""
        self.stale = True  # it may take a while to notice, or not; what comes of it is not looked for by deletions
        if self._task is not None:
            self._task.cancel()

    def _way_to(self, other: Flight[Any]) -> list[Flight[Any]] | None:
        """Who waits for whom, from this flight to another one; None where this one does not wait for that."""
        ways: list[list[Flight[Any]]] = [[self]]
        seen = {self}
        while ways:
            way = ways.pop()
            if way[-1] is other:
                return way
            fresh = [flight for flight in way[-1]._awaited if flight not in seen]
            seen.update(fresh)
            ways += [[*way, flight] for flight in fresh]
        return None


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
            if flight is not None:
                flight.stale = True  # no deletion finds it any more
            flight = self._flights[key] = Flight(key, message_type, self._loads)
        flight.waiting += 1
        return flight

    def leave(self, key: bytes, flight: Flight[Any]) -> None:
        """Wait no longer."""
        flight.waiting -= 1
        # What is on its way into the cache has to be seen by who deletes it meanwhile: that goes on to its end.
        if not flight.waiting and not flight.storing:
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
