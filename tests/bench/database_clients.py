"""Those who read one row of PostgreSQL by its key: asyncpg's own pool, and the database of a service."""

from __future__ import annotations

from typing import Any

from tests.bench.measured import Client, Reader

_ROWS = 1000
_SELECT = "SELECT id, name FROM assets WHERE id = $1"


async def _nothing(connection: object) -> None:
    """Leave a connection as it is."""


async def build(settings: dict[str, Any], public_key: str) -> Client:
    """Make it. Settings: `by` (asyncpg, asyncpg_without_reset or chassis), `at_once`, `connections`."""
    import asyncpg

    place, connections = settings["place"], settings["connections"]
    address = {
        "host": place["database.host"],
        "port": place["database.port"],
        "user": place["database.user"],
        "password": place["database.password"],
        "database": place["database.database"],
    }
    connection = await asyncpg.connect(**address, ssl=False)
    await connection.execute("CREATE TABLE assets (id integer PRIMARY KEY, name text NOT NULL)")
    await connection.execute(f"INSERT INTO assets SELECT n, 'asset ' || n FROM generate_series(0, {_ROWS - 1}) n")
    await connection.execute("ANALYZE assets")
    await connection.close()
    if settings["by"] != "chassis":
        # By default a connection is reset with a query of its own when it is given back; the chassis does that only
        # where something was changed.
        without: dict[str, Any] = {"reset": _nothing} if settings["by"] == "asyncpg_without_reset" else {}
        pool = await asyncpg.create_pool(**address, **without, ssl=False, min_size=connections, max_size=connections)

        async def fetch(number: int) -> bool:
            wanted = number % _ROWS
            async with pool.acquire() as lent:
                row = await lent.fetchrow(_SELECT, wanted)
            return bool(row["id"] == wanted)

        return Reader(fetch, pool.close, settings["at_once"])
    from tests.bench.chassis_service import settling, started

    config = {"database.max_conns": connections, "database.min_conns": connections}
    service = await started({"uses": ["database"], "config": config, **settings}, public_key)
    db = service.db

    async def query(number: int) -> bool:
        wanted = number % _ROWS
        row = await db.query_row(_SELECT, wanted)
        return row is not None and bool(row["id"] == wanted)

    return Reader(query, service.stop, settings["at_once"], settling(service))
