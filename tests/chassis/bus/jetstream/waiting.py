from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo

PATIENCE = 20.0
"""Seconds after which a test stops waiting for what should have happened long before."""


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until this is so; for what a server knows, and does not tell by itself."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


async def settled(peer: JetStreamContext, durable: str, count: int, stream: str = "cqc_events") -> ConsumerInfo:
    """Wait until a durable has nothing more to do, after so many events."""
    found: list[ConsumerInfo] = []

    async def looked() -> bool:
        info = await peer.consumer_info(stream, durable)
        found[:] = [info]
        floor = info.ack_floor.stream_seq if info.ack_floor is not None else 0
        return info.num_pending == 0 and info.num_ack_pending == 0 and floor >= count

    await until(looked)
    return found[0]


class Seen:
    """A handler that remembers the events that it saw, and can be waited for."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = asyncio.Condition()

    async def __call__(self, event: Any) -> None:
        self.texts.append(event.source)
        async with self._changed:
            self._changed.notify_all()

    async def all_of(self, texts: set[str]) -> None:
        """Wait until each of these was seen."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: texts <= set(self.texts))
