"""Events that came too often for what their handlers do: whether one of them ends the process is found out alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from chassis.background import end
from chassis.bus.held import Held
from chassis.bus.verdict import Settler

Begin = Callable[[Held, bool], None]
"""Begins the handler of an event, or, where it is refused, what then stands in for it, in the event's task."""


class Alone:
    """Begins events one at a time, in their order, with nothing else of the subscription beside them.

    A process that dies has one event more to answer for than those that it only held, and the broker counts a delivery
    for each. So what came too often is begun alone, after the broker has noted that it is: only the note of the one
    that ends the process grows, and what merely stood beside it is handled, however often it was delivered.
    """

    def __init__(
        self,
        settler: Settler,
        running: set[asyncio.Task[None]],
        *,
        begin: Begin,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        postpone: Callable[[Held, Exception], Awaitable[None]],
        done: Callable[[], None],
        patience: float,
    ) -> None:
        """`patience` is in seconds: handlers that run longer were cut off, do not end, and are waited for no more."""
        self.waiting: deque[Held] = deque()
        self._settler = settler
        self._running = running
        self._begin = begin
        self._spawn = spawn
        self._postpone = postpone
        self._done = done
        self._patience = patience
        self._task: asyncio.Task[None] | None = None

    def add(self, held: Held) -> None:
        """One more; nothing else may be begun from here on until `done` is called."""
        self.waiting.append(held)
        if self._task is None:
            self._task = self._spawn(self._work())

    async def end(self) -> None:
        """Begin no more."""
        await end(self._task)

    async def _work(self) -> None:
        try:
            while self.waiting:
                await self._first()
        finally:
            self._task = None
            self._done()

    async def _first(self) -> None:
        await self._wait_for(self._running)
        if not self.waiting:  # given back meanwhile: the service leaves
            return
        held = self.waiting[0]
        try:
            refused = await self._settler.is_too_much(held.delivery)
        except Exception as error:
            if self.waiting:
                self.waiting.popleft()
                await self._postpone(held, error)
            return
        if self.waiting:
            self.waiting.popleft()
            self._begin(held, refused)
            await self._wait_for({held.task} if held.task is not None else set())

    async def _wait_for(self, handlers: set[asyncio.Task[None]]) -> None:
        if handlers:
            await asyncio.wait(handlers, timeout=self._patience)
