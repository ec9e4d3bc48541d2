"""What the tests of the database have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from chassis.call import Call, Kind, Method, enter, leave
from chassis.database import Database
from chassis.testing.servers import DatabaseForTest
from tests.proxy import Proxy

PATIENCE = 20.0
"""Seconds after which something that should happen is taken not to happen."""

FROZEN = 3600.0
"""Seconds of a timeout that must not be what ends a wait."""

TABLE = """CREATE TABLE asset (
    id int PRIMARY KEY, symbol text NOT NULL UNIQUE CHECK (symbol <> ''), parent int REFERENCES asset
)"""


def database_on(place: DatabaseForTest, proxy: Proxy | None = None, **options: Any) -> Database:
    """A database component that nobody has started."""
    known: dict[str, Any] = {
        "host": place.host if proxy is None else proxy.host,
        "port": place.port if proxy is None else proxy.port,
        "database": place.name,
        "user": place.user,
        "password": place.password,
        "ssl_mode": "disable",
        "service_name": "tests",
        "max_conns": 4,
        "min_conns": 0,
    }
    return Database(**{**known, **options})


@asynccontextmanager
async def started(database: Database) -> AsyncIterator[Database]:
    """Have it run for the time of a block."""
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


@contextmanager
def serving(seconds: float) -> Iterator[Call]:
    """Be in the middle of a call whose deadline is so far away."""
    call = Call(Method.grpc("/cqc.services.v1.AssetRegistry/GetAsset", Kind.UNARY_UNARY, "server"))
    call.deadline = time.monotonic() + seconds
    token = enter(call)
    try:
        yield call
    finally:
        leave(token)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.005)


async def until_none(database: Database, state: str) -> None:
    """Wait until no other connection is in this state on the server."""

    async def none() -> bool:
        return await others(database, state) == 0

    await until(none)


async def until_ready(database: Database) -> None:
    """Wait until its health check succeeds."""
    await until_check(database, lambda error: error is None)


async def until_not_ready(database: Database) -> None:
    """Wait until its health check fails."""
    await until_check(database, lambda error: error is not None)


async def until_check(database: Database, wanted: Callable[[Exception | None], bool]) -> None:
    """Wait until the health check ends in a certain way."""

    async def ended_so() -> bool:
        try:
            await database.check()
        except Exception as error:
            return wanted(error)
        return wanted(None)

    await until(ended_so)


async def others(database: Database, state: str) -> int:
    """How many connections of this database but the one that asks are in this state on the server."""
    row = await database.query_row(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state LIKE $1",
        state,
    )
    assert row is not None
    return int(row[0])
