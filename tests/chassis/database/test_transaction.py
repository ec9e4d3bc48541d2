from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from chassis.database import CommitUnknown, Conflict, Database, OpenTransaction, Transaction
from chassis.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound, Permanent, Temporary
from chassis.retry import Policy
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import FROZEN, PATIENCE, database_on, serving, started, until, until_none

AT_ONCE = Policy(attempts=5, waits=(0.0,))


async def symbols(db: Database | Transaction) -> list[str]:
    return [row["symbol"] for row in await db.query("SELECT symbol FROM asset ORDER BY id")]


async def add(tx: Database | Transaction, number: int, symbol: str) -> None:
    await tx.execute("INSERT INTO asset VALUES ($1, $2)", number, symbol)


async def test_a_block_is_stored_at_its_end_and_not_before(db: Database) -> None:
    async with db.transaction() as tx:
        await add(tx, 1, "BTC")
        assert await symbols(tx) == ["BTC"]
        assert await symbols(db) == []
    assert await symbols(db) == ["BTC"]


@pytest.mark.parametrize("error", [ValueError("no"), NotFound("no"), asyncio.CancelledError()])
async def test_a_block_that_raises_never_was(db: Database, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            raise error
    assert raised.value is error
    await until_none(db, "idle in transaction%")
    assert await symbols(db) == []


async def test_what_is_given_to_a_block_cannot_end_the_transaction(db: Database) -> None:
    async with db.transaction() as tx:
        public = {name for name in dir(tx) if not name.startswith("_")}
    assert public == {"execute", "query", "query_row", "transaction"}


async def test_a_transaction_cannot_be_used_after_its_end(db: Database) -> None:
    async with db.transaction() as tx:
        async with tx.transaction() as part:
            pass
        with pytest.raises(RuntimeError, match="outside of its block"):
            await symbols(part)
        async with tx.transaction():
            with pytest.raises(RuntimeError, match="outside of its block"):
                await symbols(part)
    with pytest.raises(RuntimeError, match="is over"):
        await symbols(tx)
    with pytest.raises(RuntimeError, match="is over"):
        tx.transaction()


async def test_a_block_is_entered_once(db: Database) -> None:
    block = db.transaction()
    async with block as tx:
        with pytest.raises(RuntimeError, match="one `async with`"):
            await block.__aenter__()
        part = tx.transaction()
        async with part:
            with pytest.raises(RuntimeError, match="one `async with`"):
                await part.__aenter__()


async def test_statements_of_a_transaction_run_one_at_a_time(db: Database) -> None:
    async with db.transaction() as tx:
        first = asyncio.ensure_future(tx.query("SELECT pg_sleep(0.05)"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one statement at a time"):
            await symbols(tx)
        await first
        await add(tx, 1, "BTC")
    assert await symbols(db) == ["BTC"]


async def test_a_part_that_fails_leaves_the_rest(db: Database) -> None:
    async with db.transaction() as tx:
        await add(tx, 1, "BTC")
        with pytest.raises(AlreadyExists):  # noqa: PT012
            async with tx.transaction() as part:
                await add(part, 2, "ETH")
                await add(part, 2, "ETH")
        with pytest.raises(ValueError, match="of its own"):  # noqa: PT012
            async with tx.transaction() as part:
                await add(part, 3, "SOL")
                async with part.transaction() as deeper:
                    await add(deeper, 4, "ADA")
                raise ValueError("of its own")
        async with tx.transaction() as part:
            await add(part, 5, "DOT")
    assert await symbols(db) == ["BTC", "DOT"]


async def test_parts_that_succeeded_are_gone_with_the_whole(db: Database) -> None:
    with pytest.raises(ValueError, match="whole"):  # noqa: PT012
        async with db.transaction() as tx:
            async with tx.transaction() as part:
                await add(part, 1, "BTC")
            raise ValueError("whole")
    assert await symbols(db) == []


async def test_an_error_that_was_swallowed_comes_out_at_the_end(db: Database) -> None:
    with pytest.raises(AlreadyExists) as raised:  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            with pytest.raises(AlreadyExists):
                await add(tx, 1, "BTC")
    assert "nothing of the transaction was stored" in raised.value.__notes__[0]
    assert await symbols(db) == []


async def test_an_error_that_was_swallowed_in_a_part_comes_out_at_its_end(db: Database) -> None:
    async with db.transaction() as tx:
        await add(tx, 1, "BTC")
        with pytest.raises(AlreadyExists):  # noqa: PT012
            async with tx.transaction() as part:
                with pytest.raises(AlreadyExists):
                    await add(part, 1, "BTC")
    assert await symbols(db) == ["BTC"]


async def test_a_constraint_that_is_checked_at_the_end_fails_the_block(db: Database) -> None:
    await db.execute("ALTER TABLE asset ADD CONSTRAINT late FOREIGN KEY (parent) REFERENCES asset INITIALLY DEFERRED")
    await db.execute("ALTER TABLE asset DROP CONSTRAINT asset_parent_fkey")
    with pytest.raises(FailedPrecondition):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO asset VALUES (1, 'BTC', 99)")
    assert await symbols(db) == []


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_the_isolation_level_is_the_one_asked_for(db: Database, isolation: str) -> None:
    async with db.transaction(isolation=isolation, readonly=True) as tx:  # type: ignore[arg-type]
        row = await tx.query_row(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
        )
    assert row is not None
    assert tuple(row) == (isolation, "on")


async def test_an_isolation_level_that_there_is_none_of_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match="'serializable'"):
        db.transaction(isolation="seriously")  # type: ignore[arg-type]


async def test_a_change_in_a_transaction_that_only_reads_is_a_mistake_of_the_code(db: Database) -> None:
    with pytest.raises(Permanent, match="only reads"):
        async with db.transaction(readonly=True) as tx:
            await add(tx, 1, "BTC")


# Ended by hand.


async def test_a_transaction_that_was_begun_is_committed_or_rolled_back_by_hand(db: Database) -> None:
    tx = await db.begin()
    await add(tx, 1, "BTC")
    await tx.commit()
    tx = await db.begin(isolation="serializable")
    await add(tx, 2, "ETH")
    await tx.rollback()
    await tx.rollback()
    with pytest.raises(RuntimeError, match="is over"):
        await tx.commit()
    assert await symbols(db) == ["BTC"]


async def test_a_transaction_that_was_forgotten_is_rolled_back_and_told(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    tx: OpenTransaction | None = await db.begin()
    assert tx is not None
    await add(tx, 1, "BTC")
    tx = None
    gc.collect()
    pool = db._pool
    assert pool is not None
    await until(lambda: pool.active == 0)
    assert await symbols(db) == []
    assert "neither committed nor rolled back" in caplog.text


# Repeated.


async def test_a_conflict_has_the_whole_function_repeated(db: Database) -> None:
    await db.execute("INSERT INTO asset VALUES (1, '0')")
    barrier = asyncio.Barrier(2)
    runs: list[int] = []

    async def increment(tx: Transaction) -> int:
        row = await tx.query_row("SELECT symbol FROM asset WHERE id = 1")
        assert row is not None
        runs.append(1)
        if len(runs) <= 2:  # both have read before either writes
            await barrier.wait()
        value = int(row["symbol"]) + 1
        await tx.execute("UPDATE asset SET symbol = $1 WHERE id = 1", str(value))
        return value

    results = await asyncio.gather(
        *(db.with_transaction(increment, isolation="repeatable read", policy=AT_ONCE) for _ in range(2))
    )
    assert sorted(results) == [1, 2]
    assert await symbols(db) == ["2"]
    assert len(runs) >= 3


async def test_a_deadlock_has_the_loser_repeated(db: Database) -> None:
    await db.execute("INSERT INTO asset VALUES (1, 'a'), (2, 'b')")
    await db.execute("ALTER TABLE asset ADD count int NOT NULL DEFAULT 0")
    barrier = asyncio.Barrier(2)
    runs: list[int] = []

    async def both(tx: Transaction, first: int, second: int) -> None:
        runs.append(first)
        await tx.execute("SET LOCAL deadlock_timeout = '20ms'")
        await tx.execute("UPDATE asset SET count = count + 1 WHERE id = $1", first)
        if len(runs) <= 2:
            await barrier.wait()
        await tx.execute("UPDATE asset SET count = count + 1 WHERE id = $1", second)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            db.with_transaction(lambda tx: both(tx, 1, 2), policy=AT_ONCE),
            db.with_transaction(lambda tx: both(tx, 2, 1), policy=AT_ONCE),
        )
    assert [row["count"] for row in await db.query("SELECT count FROM asset ORDER BY id")] == [2, 2]
    assert len(runs) == 3


async def test_repetition_ends_with_the_policy(db: Database) -> None:
    runs = []

    async def lose(tx: Transaction) -> None:
        runs.append(1)
        await tx.execute("DO $$ BEGIN RAISE serialization_failure; END $$")

    with pytest.raises(Conflict):
        await db.with_transaction(lose, policy=Policy(attempts=3, waits=(0.0,)))
    assert len(runs) == 3


@pytest.mark.parametrize(
    "error", [Temporary("a service is away"), NotFound("no"), ValueError("no"), CommitUnknown("?")]
)
async def test_other_errors_are_not_repeated(db: Database, error: Exception) -> None:
    runs = []

    async def fail(tx: Transaction) -> None:
        runs.append(1)
        raise error

    with pytest.raises(type(error)):
        await db.with_transaction(fail, policy=AT_ONCE)
    assert len(runs) == 1


async def test_a_policy_can_have_other_errors_repeated_but_never_an_unknown_commit(db: Database) -> None:
    runs = []

    async def fail(tx: Transaction) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise Temporary("a service is away")
        raise CommitUnknown("?")

    with pytest.raises(CommitUnknown):
        await db.with_transaction(fail, policy=Policy(attempts=9, waits=(0.0,), per_error={Temporary: True}))
    assert len(runs) == 3


# Time.


async def test_a_statement_out_of_time_ends_its_transaction(db: Database) -> None:
    with pytest.raises(DeadlineExceeded):  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            await tx.query("SELECT pg_sleep($1)", FROZEN, timeout=0.05)
    assert await symbols(db) == []


async def test_after_a_statement_out_of_time_there_is_no_other(db: Database) -> None:
    with pytest.raises(DeadlineExceeded):  # noqa: PT012
        async with db.transaction() as tx:
            with pytest.raises(DeadlineExceeded):
                await tx.query("SELECT pg_sleep($1)", FROZEN, timeout=0.05)
            with pytest.raises(Temporary, match="not available"):
                await symbols(tx)
    assert await symbols(db) == []


async def test_a_deadline_that_passes_before_commit_leaves_nothing(db: Database) -> None:
    with pytest.raises(DeadlineExceeded), serving(PATIENCE) as call:  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            call.deadline = 0.0
    assert await symbols(db) == []


async def test_a_commit_in_a_wait_for_others_is_unknown_when_the_time_is_out(
    place: DatabaseForTest, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(database_on(place)) as db:
        await _slow_commit(db)
        with pytest.raises(CommitUnknown) as raised, serving(0.2):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO slow VALUES (1)")
        assert raised.value.code.name == "DEADLINE_EXCEEDED"
        assert "COMMIT was not answered" in caplog.text


async def test_a_cancel_during_commit_is_told_as_unknown_and_not_tried_again(
    place: DatabaseForTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with started(database_on(place)) as db:
        await _slow_commit(db)
        runs = []

        async def insert(tx: Transaction) -> None:
            runs.append(1)
            await tx.execute("INSERT INTO slow VALUES (1)")

        task = asyncio.ensure_future(db.with_transaction(insert, policy=AT_ONCE))

        async def commits() -> bool:
            rows = await db.query("SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'")
            return bool(rows)

        await until(commits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert "whether the transaction was stored is not known" in raised.value.__notes__[0]
        assert "cancelled during COMMIT" in caplog.text
        assert len(runs) == 1


async def test_a_timeout_around_a_part_undoes_it_and_the_rest_goes_on(db: Database) -> None:
    async with db.transaction() as tx:
        await add(tx, 1, "BTC")
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(None) as limit, tx.transaction() as part:
                await add(part, 2, "ETH")
                limit.reschedule(0.0)
                await asyncio.Event().wait()
        await add(tx, 3, "SOL")
    assert await symbols(db) == ["BTC", "SOL"]


async def test_a_timeout_around_a_statement_costs_the_transaction_and_cancels_nobody(db: Database) -> None:
    with pytest.raises(Temporary, match="not available") as raised:  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await tx.query("SELECT pg_sleep($1)", FROZEN)
    assert "given up" in (raised.value.detail or "")
    assert await symbols(db) == []


async def test_a_block_that_ends_beside_a_statement_of_its_own_cuts_it_and_raises_what_ended_it(db: Database) -> None:
    beside: list[asyncio.Task[list[str]]] = []
    with pytest.raises(NotFound):  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            beside.append(asyncio.ensure_future(symbols(tx)))
            await asyncio.sleep(0)
            raise NotFound("the other one")
    with pytest.raises(Temporary):
        await beside[0]
    with pytest.raises(RuntimeError, match="still running"):  # noqa: PT012
        async with db.transaction() as tx:
            await add(tx, 1, "BTC")
            beside.append(asyncio.ensure_future(symbols(tx)))
            await asyncio.sleep(0)
    with pytest.raises(Temporary):
        await beside[1]
    assert await symbols(db) == []


async def _slow_commit(db: Database) -> None:
    """Have COMMIT wait for ever, by a trigger that runs at the end of the transaction."""
    await db.execute(
        """
        DROP TABLE IF EXISTS slow;
        CREATE TABLE slow (id int);
        CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(3600); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait();
        """
    )
