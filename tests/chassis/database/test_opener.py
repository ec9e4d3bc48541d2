from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis.database.observer import Observer
from chassis.database.opener import Opener
from chassis.database.target import Target
from tests.chassis.database.kit import FROZEN, PATIENCE

TARGET = Target(
    host="127.0.0.1",
    port=5432,
    database="none",
    user="nobody",
    password=lambda: "",
    ssl_mode="disable",
    query_timeout=1.0,
    application_name="",
)


class Opened:
    """A connection, as far as the opener looks at it."""

    def __init__(self) -> None:
        self.terminated = False

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[asyncio.Future[Any]]:
    """The attempts to connect, each to be ended by the test."""
    attempts: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    async def connect(target: Target, timeout: float) -> Any:
        attempt = asyncio.get_running_loop().create_future()
        attempts.put_nowait(attempt)
        return await attempt

    monkeypatch.setattr("chassis.database.driver.connect", connect)
    return attempts


async def test_a_connection_that_comes_as_the_search_is_cancelled_is_not_left_open(
    attempts: asyncio.Queue[asyncio.Future[Any]],
) -> None:
    opener = Opener(TARGET, Observer(None, None, {}), connect_timeout=FROZEN)
    searching = asyncio.ensure_future(opener.search())
    attempt = await attempts.get()
    connection = Opened()
    attempt.set_result(connection)
    await asyncio.sleep(0)  # it is there now, and the search has not seen it yet
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    await asyncio.sleep(0)
    assert connection.terminated


async def test_of_two_connections_one_is_not_left_open(
    attempts: asyncio.Queue[asyncio.Future[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.database.opener._QUICK", 0.01)
    opener = Opener(TARGET, Observer(None, None, {}), connect_timeout=FROZEN)
    searching = asyncio.ensure_future(opener.search())
    async with asyncio.timeout(PATIENCE):
        patient, quick = await attempts.get(), await attempts.get()
        first, second = Opened(), Opened()
        patient.set_result(second)
        await asyncio.sleep(0)  # it is there now, while the other one is waited for
        quick.set_result(first)
        assert await searching is first
    await asyncio.sleep(0)
    assert (first.terminated, second.terminated) == (False, True)
