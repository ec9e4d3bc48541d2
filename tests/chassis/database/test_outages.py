"""What callers see while the database restarts, is killed, does not answer, or was never there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from chassis.config import Secret
from chassis.database import CommitUnknown, Database, Transaction
from chassis.dev import PostgresServer
from chassis.errors import ChassisError, DeadlineExceeded, Temporary
from chassis.metrics import Metrics
from chassis.testing.servers import DatabaseForTest, frozen
from tests.chassis.database.kit import (
    FROZEN,
    PATIENCE,
    TABLE,
    database_on,
    serving,
    started,
    until,
    until_none,
    until_not_ready,
    until_ready,
)
from tests.proxy import Proxy


@pytest.fixture
def own(own_server: PostgresServer) -> Iterator[DatabaseForTest]:
    """A database on a server of our own, up at the beginning and at the end."""
    password = Secret(own_server.password)
    place = (own_server.host, own_server.port, own_server.user)
    yield DatabaseForTest(*place, password, "own", own_server.overrides("own"))
    if not own_server.is_running:
        own_server.start()


@pytest.fixture
async def proxy(place: DatabaseForTest) -> AsyncIterator[Proxy]:
    async with Proxy(place.host, place.port) as proxy:
        yield proxy


def end(server: PostgresServer, how: str) -> None:
    if how == "kill":
        server.kill()
    else:
        server.stop()


# Case 38: restarts.


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_restart_fails_what_is_in_flight_and_nothing_else(
    own_server: PostgresServer, own: DatabaseForTest, how: str
) -> None:
    async with started(database_on(own, min_conns=3)) as db:
        await db.execute(f"DROP TABLE IF EXISTS asset; {TABLE}")
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == 3)
        tx = await db.begin()
        await tx.execute("INSERT INTO asset VALUES (1, 'BTC')")
        sleeping = asyncio.ensure_future(db.execute("INSERT INTO asset SELECT 2, 'ETH' FROM pg_sleep(3600)"))
        reading = asyncio.ensure_future(db.query("SELECT pg_sleep(3600)"))
        await until(lambda: pool.active == 3)

        await asyncio.to_thread(end, own_server, how)
        for each in (sleeping, reading):
            with pytest.raises(Temporary):
                await each
        with pytest.raises(Temporary) as raised:
            await tx.commit()
        assert not isinstance(raised.value, CommitUnknown), "COMMIT was never sent"
        await until_not_ready(db)
        with pytest.raises(Temporary):
            await db.query("SELECT 1")

        await asyncio.to_thread(own_server.start)
        await until_ready(db)
        assert await db.query("SELECT * FROM asset") == []
        assert pool.active == 0


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_an_idle_pool_does_not_notice_a_restart(
    own_server: PostgresServer, own: DatabaseForTest, how: str
) -> None:
    async with started(database_on(own, min_conns=3)) as db:
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == 3)
        await asyncio.to_thread(end, own_server, how)
        await asyncio.to_thread(own_server.start)
        await until_ready(db)
        for _ in range(5):
            assert len(await db.query("SELECT 1")) == 1
        async with db.transaction() as tx:
            await tx.query("SELECT 1")


async def lose_connection(db: Database, proxy: Proxy, work: Awaitable[Any]) -> Any:
    """Have the connection end after something was sent on it, and before its answer."""
    await db.query("SELECT 1")
    proxy.blackhole("down")
    before = proxy.bytes_up
    task = asyncio.ensure_future(work)
    await until(lambda: proxy.bytes_up > before)
    proxy.reset()
    await proxy.heal()
    return await task


async def test_a_lost_connection_costs_a_read_one_retry(place: DatabaseForTest, proxy: Proxy) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, proxy, max_conns=1, metrics=metrics)) as db:
        assert len(await lose_connection(db, proxy, db.query("SELECT count(*) FROM pg_class"))) == 1
        assert await lose_connection(db, proxy, db.query_row("SELECT 1")) is not None
        assert metrics.value("cqar_db_retries_total", what="read") == 2
        assert metrics.value("cqar_db_connections_closed_total", reason="lost") == 2


async def test_a_lost_connection_costs_the_begin_of_a_transaction_one_retry(
    place: DatabaseForTest, proxy: Proxy
) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, proxy, max_conns=1, metrics=metrics)) as db:
        tx = await lose_connection(db, proxy, db.begin())
        assert len(await tx.query("SELECT 1")) == 1
        await tx.commit()
        assert metrics.value("cqar_db_retries_total", what="begin") == 1


@pytest.mark.parametrize("statement", ["DELETE FROM pg_class WHERE false", "SELECT pg_sleep(0)", "SELECT 1; SELECT 2"])
async def test_a_lost_connection_fails_what_may_have_an_effect(
    place: DatabaseForTest, proxy: Proxy, statement: str
) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, proxy, max_conns=1, metrics=metrics)) as db:
        with pytest.raises(Temporary):
            await lose_connection(db, proxy, db.execute(statement))
        assert metrics.value("cqar_db_retries_total", what="read") is None
        assert len(await db.query("SELECT 1")) == 1


async def test_a_read_within_a_transaction_is_not_tried_again(place: DatabaseForTest, proxy: Proxy) -> None:
    async with started(database_on(place, proxy, max_conns=2)) as db:
        tx = await db.begin()
        with pytest.raises(Temporary):
            await lose_connection(db, proxy, tx.query("SELECT 1"))
        with pytest.raises(Temporary):
            await tx.commit()


async def test_a_commit_that_is_not_answered_is_unknown_and_not_tried_again(
    place: DatabaseForTest, proxy: Proxy
) -> None:
    async with started(database_on(place, proxy)) as db:
        await db.execute(f"DROP TABLE IF EXISTS asset; {TABLE}")
        runs = []

        async def insert(tx: Transaction) -> None:
            runs.append(1)
            await tx.execute("INSERT INTO asset VALUES (1, 'BTC')")
            proxy.blackhole("down")
            asyncio.get_running_loop().call_later(0.05, proxy.reset)

        with pytest.raises(CommitUnknown) as raised:
            await db.with_transaction(insert)
        assert raised.value.code.name == "UNAVAILABLE"
        assert len(runs) == 1
        await proxy.heal()
        await until_ready(db)
        assert len(await db.query("SELECT 1 FROM asset")) in (0, 1)


# Case 39: half-open connections.


async def test_a_call_on_a_half_open_connection_ends_at_its_deadline(place: DatabaseForTest, proxy: Proxy) -> None:
    async with started(database_on(place, proxy, min_conns=2, query_timeout=FROZEN)) as db:
        pool = db._pool
        assert pool is not None
        await until(lambda: pool.idle == 2)
        proxy.blackhole()
        async with asyncio.timeout(PATIENCE):
            with serving(0.1), pytest.raises(DeadlineExceeded):
                await db.query("SELECT 1")
            with pytest.raises(DeadlineExceeded), serving(0.1):
                async with db.transaction():
                    pass
        # Cut, and not closed politely: the pool has no use for them any more.
        await until(lambda: pool.idle == 0 and not pool._sessions)
        await until_not_ready(db)
        await proxy.heal()
        await until_ready(db)
        assert len(await db.query("SELECT 1")) == 1
        await until_none(db, "active")


async def test_a_transaction_on_a_half_open_connection_ends_at_its_deadline(
    place: DatabaseForTest, proxy: Proxy
) -> None:
    async with started(database_on(place, proxy, query_timeout=FROZEN)) as db:
        async with asyncio.timeout(PATIENCE):
            with serving(0.2), pytest.raises(DeadlineExceeded):  # noqa: PT012
                async with db.transaction() as tx:
                    proxy.blackhole()
                    await tx.query("SELECT 1")
            await proxy.heal()
            await until_ready(db)
            # An error of the caller's own, while nothing answers: the rollback keeps nobody.
            with pytest.raises(ValueError, match="own"), serving(0.2):  # noqa: PT012
                async with db.transaction():
                    proxy.blackhole()
                    raise ValueError("own")
        await proxy.heal()
        await until_ready(db)


async def test_a_cancelled_task_does_not_wait_for_a_half_open_connection(place: DatabaseForTest, proxy: Proxy) -> None:
    async with started(database_on(place, proxy, query_timeout=FROZEN)) as db:
        await db.query("SELECT 1")
        proxy.blackhole()
        task = asyncio.ensure_future(db.query("SELECT 1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await task
        await proxy.heal()
        await until_ready(db)


async def test_a_frozen_server_costs_no_call_more_than_its_deadline(
    own_server: PostgresServer, own: DatabaseForTest
) -> None:
    async with started(database_on(own, min_conns=1, query_timeout=FROZEN)) as db:
        await db.query("SELECT 1")
        with frozen(own_server):
            for _ in range(3):
                async with asyncio.timeout(PATIENCE):
                    with serving(0.1), pytest.raises(ChassisError) as raised:
                        await db.query("SELECT 1")
                assert isinstance(raised.value, DeadlineExceeded | Temporary)
            await until_not_ready(db)
        await until_ready(db)


async def test_a_stop_does_not_wait_for_half_open_connections(place: DatabaseForTest, proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE), started(database_on(place, proxy, min_conns=2)):
        proxy.blackhole()


# Case 23, 42: never there, or not for us.


async def test_it_starts_without_a_database_and_is_ready_when_there_is_one(
    own_server: PostgresServer, own: DatabaseForTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own_server.stop()
    schema = "DROP TABLE IF EXISTS venue; CREATE TABLE venue ()"
    async with started(database_on(own, min_conns=1, schema=schema)) as db:
        with pytest.raises(Temporary) as raised:
            await db.query("SELECT 1")
        assert "Connection refused" in (raised.value.detail or "")
        with pytest.raises(Temporary) as shown:
            await db.check()
        assert shown.value.message == "the database cannot be reached"
        with pytest.raises(Temporary):
            async with db.transaction():
                pass
        await asyncio.to_thread(own_server.start)
        await until_ready(db)
        assert await db.query("SELECT * FROM venue") == []
    assert "started without a database" in caplog.text
    assert "the database is available again" in caplog.text


async def test_it_starts_beside_a_database_that_does_not_answer(place: DatabaseForTest, proxy: Proxy) -> None:
    proxy.blackhole()
    async with asyncio.timeout(PATIENCE):
        async with started(database_on(place, proxy)) as db:
            with pytest.raises(Temporary):
                await db.query("SELECT 1")
            await proxy.heal()
            await until_ready(db)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "hunter2"}, "the database refuses the password: check database.user and database.password"),
        ({"database": "nowhere"}, "the database does not exist: check database.database"),
        ({"ssl_mode": "require"}, "does not speak TLS, which database.ssl_mode=require asks for"),
        ({"host": "nowhere.invalid"}, "the host nowhere.invalid of the database is not known"),
        ({"port": 1}, "cannot be reached: Connection refused"),
        ({"ssl_mode": "verify-full"}, "a file of a certificate (PGSSLROOTCERT, PGSSLCERT, PGSSLKEY) cannot be read"),
    ],
)
async def test_the_log_says_why_there_is_no_connection_and_nothing_secret(
    place: DatabaseForTest,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, object],
    said: str,
) -> None:
    if wrong.get("ssl_mode") == "verify-full":
        monkeypatch.setenv("PGSSLROOTCERT", "/nowhere/root.crt")
    async with started(database_on(place, **wrong)) as db:
        with pytest.raises(Temporary) as shown:
            await db.check()
    assert said in caplog.text
    assert caplog.text.count(said) == 1, "said once, not at each attempt"
    for text in (caplog.text, shown.value.message, shown.value.detail or ""):
        assert "hunter2" not in text
        assert place.password.reveal() not in text
    assert place.host not in shown.value.message


async def test_a_database_without_connections_left_serves_who_has_one(
    place: DatabaseForTest, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(database_on(place)) as admin:
        await admin.execute("DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN PASSWORD 'narrow' CONNECTION LIMIT 1")
        async with started(database_on(place, user="narrow", password="narrow", acquire_timeout=PATIENCE)) as db:
            results = await asyncio.gather(*(db.query("SELECT pg_sleep(0.01)") for _ in range(8)))
            assert [len(rows) for rows in results] == [1] * 8
            await db.check()
        assert "the database has no connections left" in caplog.text
        await admin.execute("DROP ROLE narrow")


async def test_a_database_that_became_read_only_is_told_and_connected_to_anew(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        before = await db.query_row("SELECT pg_backend_pid()")
        with pytest.raises(Temporary, match="takes no changes"):
            await db.execute("SET default_transaction_read_only = on; BEGIN; COMMIT; CREATE TABLE no ()")
        after = await db.query_row("SELECT pg_backend_pid()")
        assert before is not None
        assert after is not None
        assert before[0] != after[0]
