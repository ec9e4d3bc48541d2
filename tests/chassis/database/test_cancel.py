"""A task may be cancelled in every await of a transaction: nobody else notices, and nothing is left."""

from __future__ import annotations

import asyncio
import random

import pytest

from chassis.database import Database
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import PATIENCE, database_on, started, until, until_none

POINTS = 1000
WORKERS = 4
CONNECTIONS = 4


async def change(db: Database, number: int) -> None:
    async with db.transaction(isolation="repeatable read" if number % 2 else None) as tx:
        await tx.execute("INSERT INTO half VALUES ($1, 1)", number, name="first_half")
        async with tx.transaction() as part:
            await part.query("SELECT * FROM half WHERE id = $1", number)
        await tx.execute("INSERT INTO half VALUES ($1, 2)", number, name="second_half")


async def cancelled_somewhere(db: Database, number: int, turns: int) -> bool:
    """Whether it got through before it was cancelled, so many turns of the event loop after its start."""
    task = asyncio.ensure_future(change(db, number))
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


@pytest.mark.parametrize("seed", [1])
async def test_a_thousand_cancellations_leave_no_transaction_and_disturb_nobody(
    place: DatabaseForTest, seed: int
) -> None:
    randomness = random.Random(seed)
    async with started(
        database_on(place, max_conns=CONNECTIONS, min_conns=CONNECTIONS, acquire_timeout=PATIENCE)
    ) as db:
        pool = db._pool
        assert pool is not None
        await db.execute("DROP TABLE IF EXISTS half; CREATE TABLE half (id int, part int)")
        points = [(number, randomness.randrange(160)) for number in range(POINTS)]
        finished: dict[int, bool] = {}
        neighbour = asyncio.ensure_future(be_a_neighbour(db))

        async def work(own: list[tuple[int, int]]) -> None:
            for number, turns in own:
                finished[number] = await cancelled_somewhere(db, number, turns)
                assert pool.size <= CONNECTIONS

        await asyncio.gather(*(work(points[worker::WORKERS]) for worker in range(WORKERS)))
        neighbour.cancel()
        with pytest.raises(asyncio.CancelledError):
            await neighbour
        assert len(finished) == POINTS
        assert 0 < sum(finished.values()) < POINTS, "some get through, some do not"

        await until(lambda: pool.active == 0 and pool.size == CONNECTIONS)
        await until_none(db, "idle in transaction%")
        await until_none(db, "active")
        stored = {
            row["id"]: row["halves"] for row in await db.query("SELECT id, count(*) AS halves FROM half GROUP BY id")
        }
        assert set(stored.values()) == {2}, "all of a transaction or nothing"
        assert {number for number, done in finished.items() if done} <= stored.keys(), "what was told as done is there"


async def be_a_neighbour(db: Database) -> None:
    """Read as fast as it goes; any error that is not its own ends the test."""
    number = 0
    while True:
        row = await db.query_row("SELECT $1::int", number)
        assert row is not None
        assert row[0] == number
        number += 1


async def test_a_cancelled_wait_for_a_connection_takes_none_away(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        pool = db._pool
        assert pool is not None
        async with db.transaction():
            waiting = [asyncio.ensure_future(db.query("SELECT 1")) for _ in range(5)]
            await until(lambda: pool.waiting == 5)
            for task in waiting[::2]:
                task.cancel()
            results = asyncio.gather(*waiting, return_exceptions=True)
            await until(lambda: pool.waiting == 2)
        kinds = [type(result) for result in await results]
        assert kinds == [asyncio.CancelledError, list, asyncio.CancelledError, list, asyncio.CancelledError]
        assert pool.size == 1


async def test_a_wait_that_is_cancelled_as_it_ends_passes_the_connection_on(place: DatabaseForTest) -> None:
    async with started(database_on(place, max_conns=1)) as db:
        pool = db._pool
        assert pool is not None
        session = await pool.acquire(PATIENCE)
        waiting = asyncio.ensure_future(pool.acquire(PATIENCE))
        await until(lambda: pool.waiting == 1)
        pool.give_back(session)  # the wait is over, and its task has not run yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (pool.active, pool.idle) == (0, 1)
