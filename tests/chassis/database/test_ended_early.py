"""Statements that would end the transaction in which they are sent, or its connection."""

from __future__ import annotations

import pytest

from chassis.database import Database
from chassis.errors import Permanent
from chassis.metrics import Metrics
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import database_on, started

TOLD = "a transaction ends with its block"


async def symbols(db: Database) -> list[str]:
    return [row["symbol"] for row in await db.query("SELECT symbol FROM asset ORDER BY id")]


@pytest.mark.parametrize(
    "sql",
    ["COMMIT", "/* now */ commit;", "END", "ROLLBACK", "ABORT", "COMMIT AND CHAIN", "PREPARE TRANSACTION 'x'"],
)
async def test_a_statement_that_would_end_the_transaction_is_not_sent(db: Database, sql: str) -> None:
    with pytest.raises(KeyError, match="undo all"):  # noqa: PT012
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO asset VALUES (1, 'BTC')")
            with pytest.raises(Permanent, match=TOLD):
                await tx.execute(sql)
            await tx.execute("INSERT INTO asset VALUES (2, 'ETH')")
            raise KeyError("undo all")
    assert await symbols(db) == []


@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "PREPARE x AS SELECT 1", "LOAD 'auto_explain'"])
async def test_a_statement_that_would_cost_the_transaction_its_connection_is_not_sent(db: Database, sql: str) -> None:
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO asset VALUES (1, 'BTC')")
        with pytest.raises(Permanent, match=f"{sql.split()[0]} does not belong in a transaction"):
            await tx.execute(sql)
        await tx.execute("INSERT INTO asset VALUES (2, 'ETH')")
    assert await symbols(db) == ["BTC", "ETH"]


async def test_a_part_of_a_transaction_may_be_ended_by_statements(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("SAVEPOINT a; INSERT INTO asset VALUES (1, 'BTC')")
        await tx.execute("ROLLBACK TO SAVEPOINT a")
        await tx.execute("INSERT INTO asset VALUES (2, 'ETH')")
    assert await symbols(db) == ["ETH"]


@pytest.mark.parametrize("after", ["", "; SELECT 1/0"])
async def test_after_a_text_that_ended_the_transaction_nothing_more_is_stored(
    place: DatabaseForTest, db: Database, after: str
) -> None:
    metrics = Metrics("cqar")
    async with started(database_on(place, max_conns=1, metrics=metrics)) as own:
        with pytest.raises(Permanent, match=TOLD) as raised:  # noqa: PT012
            async with own.transaction() as tx:
                for text in (
                    f"INSERT INTO asset VALUES (1, 'BTC'); COMMIT{after}",
                    "INSERT INTO asset VALUES (2, 'ETH')",
                ):
                    with pytest.raises(Permanent, match=TOLD):
                        await tx.execute(text)
        assert raised.value.detail is not None
        assert "what stood before it may be stored" in raised.value.detail
        # It is not said that nothing was stored.
        assert not getattr(raised.value, "__notes__", [])
        assert await symbols(own) == ["BTC"]
        assert metrics.value("cqar_db_transaction_duration_seconds_count", outcome="unknown") == 1


async def test_a_part_within_a_transaction_that_was_ended_says_so_too(db: Database) -> None:
    with pytest.raises(Permanent, match=TOLD):
        async with db.transaction() as tx, tx.transaction() as part:
            await part.execute("INSERT INTO asset VALUES (1, 'BTC'); ROLLBACK")
    assert await symbols(db) == []
