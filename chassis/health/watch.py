from __future__ import annotations

import asyncio
import logging

from chassis.background import end
from chassis.component import Component
from chassis.health.health import Health

_log = logging.getLogger("chassis.health")


class HealthWatch(Component):
    """Keeps `health` up to date every `interval` seconds, so that gRPC watchers and the log learn without a probe."""

    name = "health"

    def __init__(self, health: Health, *, interval: float = 2.0) -> None:
        self._health = health
        self._interval = interval
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        loop, self._loop = self._loop, None
        await end(loop)
        await self._health.close()

    async def _watch(self) -> None:
        while True:
            try:
                await self._health.check()
            except Exception:  # e.g. a list of components that cannot be had; the next round may do better
                _log.exception("the parts of the service could not be checked")
            await asyncio.sleep(self._interval)
