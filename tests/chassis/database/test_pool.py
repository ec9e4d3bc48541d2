from __future__ import annotations

import asyncio

import pytest

from chassis.database import Database
from chassis.database.driver import cancel
from chassis.errors import DeadlineExceeded, ResourceExhausted
from chassis.metrics import Metrics
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import FROZEN, database_on, others, serving, started, until, until_none, until_ready


async def backend(db: Database) -> int:
    row = await db.query_row("SELECT pg_backend_pid()")
    assert row is not None
    return int(row[0])


async def test_a_statement_waits_for_a_connection_no_longer_than_it_may(place: DatabaseForTest) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, max_conns=2, acquire_timeout=0.05, metrics=metrics)) as db:
        async with db.transaction(), db.transaction():
            with pytest.raises(ResourceExhausted) as raised:
                await db.query("SELECT 1")
            assert "all 2 connections" in (raised.value.detail or "")
            with pytest.raises(ResourceExhausted):
                await db.begin()
        assert len(await db.query("SELECT 1")) == 1
    assert metrics.value("cqar_db_pool_acquire_timeouts_total") == 2
    waited = metrics.value("cqar_db_pool_acquire_duration_seconds_sum")
    assert waited is not None
    assert waited >= 0.1


async def test_a_call_is_told_that_the_pool_is_exhausted_before_its_deadline(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1, acquire_timeout=FROZEN)) as db, db.transaction():
        with serving(3) as call:
            with pytest.raises(ResourceExhausted):
                await db.query("SELECT 1")
            left = call.time_remaining()
        assert left is not None
        assert left > 0


async def test_a_call_without_time_does_not_wait(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1, acquire_timeout=FROZEN)) as db, db.transaction():
        with serving(0.0), pytest.raises(DeadlineExceeded):
            await db.query("SELECT 1")


async def test_those_who_wait_are_served_in_order(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        pool = db._pool
        assert pool is not None
        order: list[int] = []

        async def wait(number: int) -> None:
            await db.query("SELECT 1")
            order.append(number)

        async with db.transaction():
            tasks = []
            for number in range(5):
                tasks.append(asyncio.ensure_future(wait(number)))
                await until(lambda: pool.waiting == len(tasks))
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]


async def test_there_are_never_more_connections_than_allowed(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=3)) as db:
        pool = db._pool
        assert pool is not None
        await asyncio.gather(*(db.query("SELECT pg_sleep(0.005)") for _ in range(30)))
        assert pool.size == 3


async def test_the_least_number_of_connections_is_opened_and_kept(place: DatabaseForTest) -> None:
    async with started(database_on(place, min_conns=3, max_conn_idle_time=0.05)) as db:
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == 3)
        await asyncio.gather(*(db.query("SELECT pg_sleep(0.005)") for _ in range(4)))
        await until(lambda: pool.size == 4 or pool.size == 3)
        await until(lambda: pool.size == 3)
        # And those that the server ends are replaced.
        await db.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        await until(lambda: pool.size < 3)
        await until(lambda: pool.idle == 3)


async def test_a_connection_that_nobody_needs_is_closed(place: DatabaseForTest) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, max_conn_idle_time=0.05, metrics=metrics)) as db:
        pool = db._pool
        assert pool is not None
        await db.query("SELECT 1")
        await until(lambda: pool.size == 0)
        assert metrics.value("cqar_db_connections_closed_total", reason="idle") == 1
        assert len(await db.query("SELECT 1")) == 1


async def test_an_old_connection_is_replaced(place: DatabaseForTest) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, min_conns=1, max_conn_lifetime=0.1, metrics=metrics)) as db:
        first = await backend(db)

        async def is_another() -> bool:
            return await backend(db) != first

        await until(is_another)
        await until(lambda: (metrics.value("cqar_db_connections_closed_total", reason="lifetime") or 0) >= 1)


async def test_no_limits_of_age_means_that_connections_stay(place: DatabaseForTest) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, max_conn_lifetime=0, max_conn_idle_time=0, metrics=metrics)) as db:
        await asyncio.gather(*(db.query("SELECT 1") for _ in range(10)))
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == pool.size)
        assert metrics.value("cqar_db_connections_opened_total") == pool.size
    assert metrics.value("cqar_db_connections_closed_total", reason="idle") is None
    assert metrics.value("cqar_db_connections_closed_total", reason="lifetime") is None


# What a session is left with.


async def resets(db: Database) -> int:
    """How many reset queries the server has seen on the connection that is lent next."""
    row = await db.query_row(
        "SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " ORDER BY state_change DESC LIMIT 1"
    )
    return 0 if row is None else int("DISCARD" in row["query"])


async def test_a_session_that_nobody_changed_is_not_reset(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db, started(database_on(place)) as observer:
        await db.query("SELECT 1")
        await db.execute("CREATE TABLE IF NOT EXISTS some_table ()")
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == 1)
        assert await resets(observer) == 1
        await db.query("SELECT 1")
        async with db.transaction() as tx:
            await tx.execute("SET LOCAL search_path TO nowhere")
        assert pool.idle == 1, "it is back at once, without anything to be done"
        assert await resets(observer) == 0


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("SET search_path TO nowhere", "SELECT current_setting('search_path') = 'nowhere'"),
        ("SELECT set_config('app.user', 'me', false)", "SELECT current_setting('app.user', true) = 'me'"),
        ("SELECT pg_advisory_lock(42)", "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"),
        ("LISTEN gossip", "SELECT count(*) > 0 FROM pg_listening_channels()"),
        ("CREATE TEMP TABLE mine ()", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
        ("SELECT 1 AS one INTO TEMP mine", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
        ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'mine'"),
        ("PREPARE mine AS SELECT 1", "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'mine'"),
        ("SET ROLE pg_monitor", "SELECT current_user = 'pg_monitor'"),
        ("BEGIN", "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'idle in transaction'"),
    ],
)
async def test_what_one_leaves_in_a_session_the_next_does_not_find(
    place: DatabaseForTest, change: str, look: str
) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        for execute in (db.execute, db.query):
            await execute(change)
            row = await db.query_row(look)
            assert row is not None
            assert row[0] is False


async def test_a_change_within_a_transaction_is_undone_after_it(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.transaction() as tx:
            await tx.execute("SET search_path TO nowhere")
        row = await db.query_row("SELECT current_setting('search_path')")
        assert row is not None
        assert row[0] != "nowhere"


# Lent as it is.


async def test_a_connection_of_the_drivers_is_reset_after_its_block(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
            await connection.execute("SET search_path TO nowhere")
            first = connection.get_server_pid()
        row = await db.query_row("SELECT current_setting('search_path'), pg_backend_pid()")
        assert row is not None
        assert row[0] != "nowhere"
        assert row[1] == first


async def test_errors_of_the_driver_come_out_with_a_meaning(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        with pytest.raises(DeadlineExceeded):
            async with db.connection() as connection:
                await connection.execute("SELECT pg_sleep(3600)", timeout=0.05)
        with pytest.raises(ValueError, match="of its own"):
            async with db.connection():
                raise ValueError("of its own")
        with pytest.raises(FileNotFoundError, match="to copy from"):
            async with db.connection():
                raise FileNotFoundError("to copy from")
        lent = db.connection()
        async with lent:
            with pytest.raises(RuntimeError, match="one `async with`"):
                await lent.__aenter__()


async def test_a_connection_that_was_left_in_a_transaction_or_a_query_is_mended(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        async with db.connection() as connection:
            await connection.execute("BEGIN")
            with pytest.raises(Exception, match="nowhere"):
                await connection.execute("SELECT * FROM nowhere")
        assert len(await db.query("SELECT 1")) == 1
        async with db.connection() as connection:
            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(3600)"))
            await asyncio.sleep(0)
            query.cancel()
        assert len(await db.query("SELECT 1")) == 1
        await until_none(db, "idle in transaction%")
        await until_none(db, "active")


async def test_a_statement_whose_cancellation_does_not_arrive_is_ended_on_the_server_all_the_same(
    place: DatabaseForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("chassis.database.driver.Connection._cancel", lost)
    async with started(database_on(place, max_conns=2)) as db:
        async with db.connection() as connection:
            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(3600)"))

            async def active() -> bool:
                return await others(db, "active") == 1

            await until(active)
            query.cancel()
        await until_none(db, "active")
        await asyncio.gather(query, return_exceptions=True)
        assert len(await db.query("SELECT 1")) == 1


async def test_a_statement_that_began_after_the_cut_is_somebody_elses(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=3)) as db, db.connection() as connection:
        process = connection.get_server_pid()
        query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(3600)"))

        async def active() -> bool:
            return await others(db, "active") == 1

        await until(active)
        async with db.connection() as other:
            assert not await cancel(other, process, before=3600, timeout=60)
            assert await cancel(other, process, before=0, timeout=60)
        with pytest.raises(Exception, match="canceling statement"):
            await query


# Stop.


async def test_a_stop_waits_for_what_is_in_use(place: DatabaseForTest) -> None:
    db = database_on(place)
    await db.start()
    tx = await db.begin()
    stopping = asyncio.ensure_future(db.stop())
    await asyncio.sleep(0)
    await tx.rollback()
    await stopping


async def test_a_stop_cuts_what_stays_in_use_and_says_so(
    place: DatabaseForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.database.database._STOPPING", 0.05)
    db = database_on(place)
    await db.start()
    tx = await db.begin()
    with pytest.raises(TimeoutError, match="1 connections to the database were still in use"):
        await db.stop()
    await tx.rollback()


async def test_a_stop_that_is_given_up_leaves_no_connection(place: DatabaseForTest) -> None:
    db = database_on(place)
    await db.start()
    pool = db._pool
    assert pool is not None
    tx = await db.begin()
    stopping = asyncio.ensure_future(db.stop())
    await until(lambda: not pool.idle and pool.active == 1)
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert pool.size == 0
    await tx.rollback()


async def test_a_start_that_is_cancelled_leaves_nothing(place: DatabaseForTest) -> None:
    db = database_on(place)
    start = asyncio.ensure_future(db.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert db._pool is None
    async with started(db):
        await until_ready(db)
