from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.matrix.playing import Servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One server for all cells that have the same things around the same service."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(str(context)))
    servers = Servers()
    yield servers
    await servers.close()
    loop.set_exception_handler(None)
    # Such as "Task exception was never retrieved".
    assert not complaints
