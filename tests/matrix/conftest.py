from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.leftovers import left_by_a_closed_loop
from tests.matrix.playing import Servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One server for all cells that have the same things around the same service."""
    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not left_by_a_closed_loop(context["message"], context.get("exception")):
            complaints.append(str(context))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complain)
    servers = Servers()
    yield servers
    await servers.close()
    loop.set_exception_handler(None)
    # Such as "Task exception was never retrieved".
    assert not complaints
