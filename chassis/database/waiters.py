from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from chassis.database.session import Session
from chassis.errors import ChassisError


class Waiters:
    """Those who wait for a connection, in the order in which they came."""

    def __init__(self, *, unwanted: Callable[[Session], None]) -> None:
        """`unwanted` takes the sessions whose waiter was cancelled at the moment that it got them."""
        self._unwanted = unwanted
        self._futures: deque[asyncio.Future[Session]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self, timeout: float, expired: Callable[[], ChassisError], *, begun: Callable[[], None]) -> Session:
        """Wait for a session; after `timeout` seconds raise what `expired` says. `begun` is called once in line."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Session] = loop.create_future()
        self._futures.append(future)
        timer = loop.call_later(timeout, self._expire, future, expired)
        try:
            begun()
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._unwanted(future.result())
            raise
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                self._futures.remove(future)

    def serve(self, session: Session) -> bool:
        """Give a session to who has waited longest; False where nobody waits."""
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(session)
                return True
        return False

    def refuse(self, why: Callable[[], ChassisError]) -> None:
        """Have all of them raise what `why` says."""
        for future in self._futures:
            if not future.done():
                future.set_exception(why())

    @staticmethod
    def _expire(future: asyncio.Future[Session], expired: Callable[[], ChassisError]) -> None:
        if not future.done():
            future.set_exception(expired())
