"""What one borrower of a connection of asyncpg's does to it, and the next one must not notice."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import database_on, started

Use = Callable[[Any], Awaitable[object]]


async def decode_json(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def decode_int_as_another(connection: Any) -> None:
    await connection.set_builtin_type_codec("int4", schema="pg_catalog", codec_name="int8")


async def forget_codec(connection: Any) -> None:
    await decode_json(connection)
    connection.altered = False
    await connection.reset_type_codec("jsonb", schema="pg_catalog")


async def log_queries(connection: Any) -> None:
    connection.add_query_logger(print)


async def listen_to_the_end(connection: Any) -> None:
    connection.add_termination_listener(print)


async def listen(connection: Any) -> None:
    await connection.add_listener("prices", print)
    connection.add_log_listener(print)


async def pid(connection: Any) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


@pytest.mark.parametrize(
    "use",
    [decode_json, decode_int_as_another, forget_codec, log_queries, listen_to_the_end],
    ids=lambda use: use.__name__,
)
async def test_a_connection_that_was_altered_on_this_side_is_not_lent_again(place: DatabaseForTest, use: Use) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.connection() as connection:
            first = await pid(connection)
            await use(connection)
        async with db.connection() as connection:
            assert await pid(connection) != first


async def test_the_next_one_gets_values_as_they_are_and_is_seen_by_nobody(place: DatabaseForTest) -> None:
    seen: list[object] = []
    async with started(database_on(place, max_conns=1)) as db:
        async with db.connection() as connection:
            await decode_json(connection)
            connection.add_query_logger(seen.append)
        row = await db.query_row("""SELECT '{"a":1}'::jsonb WHERE $1 = 'secret'""", "secret")
        assert row is not None
        assert row[0] == '{"a": 1}'
        assert seen == []


async def test_a_connection_on_which_somebody_listened_is_reset_and_lent_again(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.connection() as connection:
            first = await pid(connection)
            await listen(connection)
        async with db.connection() as connection:
            assert await pid(connection) == first
            assert await connection.fetch("SELECT pg_listening_channels()") == []
            assert connection._listeners == {}
            assert connection._log_listeners == set()
