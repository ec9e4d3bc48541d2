"""What health says of a database whose connections are all in use."""

from __future__ import annotations

from time import perf_counter

import pytest

from chassis.errors import Temporary
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import database_on, started


async def test_a_busy_pool_works_as_long_as_statements_get_a_connection(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1, acquire_timeout=60)) as db, db.transaction():
        db._lender.last_answer = perf_counter() - 30
        await db.check()


async def test_a_busy_pool_that_gives_no_connection_any_more_is_told_as_that(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.transaction():
            db._lender.last_answer = perf_counter() - 30
            with pytest.raises(Temporary, match=r"^all connections to the database are in use$") as raised:
                await db.check()
        assert raised.value.detail is not None
        assert "database.max_conns" in raised.value.detail
        await db.check()
