from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.matrix.playing import Servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One server for all cells that have the same things around the same service."""
    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _left_by_a_closed_loop(context):
            complaints.append(str(context))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complain)
    servers = Servers()
    yield servers
    await servers.close()
    loop.set_exception_handler(None)
    # Such as "Task exception was never retrieved".
    assert not complaints


def _left_by_a_closed_loop(context: dict[str, Any]) -> bool:
    """gRPC has one queue for all event loops of a process, and a channel that is closed leaves a last entry there.

    This loop lives as long as the tests do: it reads what other tests, whose loops are closed by then, have left.
    """
    exception = context.get("exception")
    return (
        isinstance(exception, RuntimeError)
        and str(exception) == "Event loop is closed"
        and "PollerCompletionQueue" in str(context.get("handle"))
    )
