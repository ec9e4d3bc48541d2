from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 20.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)
