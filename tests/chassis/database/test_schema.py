from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chassis.component import StartError
from chassis.database import Database
from chassis.database.schema import _LOCK
from chassis.errors import Temporary
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import database_on, started, until, until_none

SCHEMA = "CREATE TABLE IF NOT EXISTS venue (id int); INSERT INTO venue VALUES (1);"


@pytest.fixture(autouse=True)
async def nothing_applied(place: DatabaseForTest) -> None:
    async with started(database_on(place)) as db:
        await db.execute("DROP TABLE IF EXISTS venue, chassis_schema")


async def applied(db: Database) -> int:
    """How often it was applied: it leaves a row each time."""
    return len(await db.query("SELECT 1 FROM venue"))


async def test_a_schema_is_there_after_the_start(place: DatabaseForTest) -> None:
    async with started(database_on(place, schema=SCHEMA)) as db:
        assert await applied(db) == 1


async def test_a_schema_is_applied_once_however_often_the_service_starts(place: DatabaseForTest) -> None:
    for _ in range(3):
        async with started(database_on(place, schema=SCHEMA)) as db:
            assert await applied(db) == 1


async def test_instances_that_start_together_apply_it_once(place: DatabaseForTest) -> None:
    instances = [database_on(place, schema=SCHEMA) for _ in range(6)]
    await asyncio.gather(*(each.start() for each in instances))
    assert await applied(instances[0]) == 1
    await asyncio.gather(*(each.stop() for each in instances))


async def test_services_with_one_database_have_a_schema_each(place: DatabaseForTest) -> None:
    for name in ("cqar", "cqmd", "cqar"):
        async with started(database_on(place, schema=SCHEMA, service_name=name)) as db:
            count = await applied(db)
    assert count == 2


async def test_a_text_that_changed_is_applied_and_an_earlier_one_not_again(place: DatabaseForTest) -> None:
    changed = SCHEMA + "ALTER TABLE venue ADD COLUMN IF NOT EXISTS symbol text;"
    for schema in (SCHEMA, changed, SCHEMA, changed):
        async with started(database_on(place, schema=schema)) as db:
            count = await applied(db)
    assert count == 2


async def test_a_schema_can_be_a_file(place: DatabaseForTest, tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text(SCHEMA)
    async with started(database_on(place, schema=file)) as db:
        assert await applied(db) == 1
    with pytest.raises(StartError, match=r"missing\.sql could not be read"):
        await database_on(place, schema=tmp_path / "missing.sql").start()


async def test_a_schema_may_set_the_search_path_as_dumps_do(place: DatabaseForTest) -> None:
    schema = "SELECT set_config('search_path', '', false); CREATE TABLE IF NOT EXISTS public.venue (id int)"
    async with started(database_on(place, schema=schema)) as db:
        assert await applied(db) == 0


async def test_a_wrong_schema_ends_the_start_and_leaves_nothing(place: DatabaseForTest) -> None:
    wrong = database_on(place, schema=SCHEMA + "CREATE TABEL oops ();")
    with pytest.raises(StartError, match=r'syntax error at or near "TABEL" \(SQLSTATE 42601\)'):
        await wrong.start()
    async with started(database_on(place)) as db:
        row = await db.query_row("SELECT to_regclass('venue') IS NULL AND to_regclass('chassis_schema') IS NULL")
        assert row is not None
        assert row[0] is True


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("COMMIT;", "stored up to there$"),
        ("COMMIT; BEGIN;", "stored up to there$"),
        ("COMMIT AND CHAIN;", "stored up to there$"),
        ("ROLLBACK; BEGIN;", "stored up to there$"),
        ("COMMIT; BEGIN; CREATE TABEL oops ();", "syntax error"),
        ("COMMIT; BEGIN; SELECT 1/0;", r"stored up to there, and failed later: division by zero \(SQLSTATE 22012\)$"),
        ("COMMIT; SELECT 1/0;", "stored up to there, and failed later: division by zero"),
        ("ROLLBACK; SELECT 1/0;", "^the schema could not be applied: division by zero"),
    ],
)
async def test_a_schema_that_ends_its_transaction_is_refused_and_what_became_of_it_is_told(
    place: DatabaseForTest, end: str, told: str
) -> None:
    with pytest.raises(StartError, match=told) as raised:
        await database_on(place, schema=SCHEMA + end).start()
    if "stored" in told:
        assert "must not have COMMIT" in str(raised.value)


async def test_a_schema_that_ends_a_part_of_its_transaction_is_none_that_ends_it(place: DatabaseForTest) -> None:
    parts = "SAVEPOINT a; INSERT INTO venue VALUES (2); ROLLBACK TO a; RELEASE a;"
    async with started(database_on(place, schema=SCHEMA + parts)) as db:
        assert await applied(db) == 1


@pytest.mark.parametrize("limit", ["query_timeout", "statement_timeout"])
async def test_a_schema_that_takes_too_long_is_told_as_that_and_is_no_database_that_is_away(
    place: DatabaseForTest, caplog: pytest.LogCaptureFixture, limit: str
) -> None:
    if limit == "query_timeout":
        slow = database_on(place, schema="SELECT pg_sleep(3600)", query_timeout=0.2)
    else:
        slow = database_on(place, schema="DO $$ BEGIN RAISE query_canceled; END $$")
    async with started(slow) as db:
        with pytest.raises(Temporary, match=r"^the schema of the database could not be applied$") as raised:
            await db.check()
    assert raised.value.detail is not None
    assert raised.value.detail.startswith("applying the schema took longer than database.query_timeout")
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [text.partition(", or")[0] for text in told] == [
        "the database is not available: applying the schema took longer than database.query_timeout"
    ]


async def test_a_schema_that_took_too_long_does_not_go_on_at_the_server(place: DatabaseForTest) -> None:
    slow = database_on(place, schema="SELECT pg_sleep(3600)", query_timeout=0.2)
    async with started(database_on(place)) as other, started(slow):
        await until_none(other, "active")  # between two attempts


async def test_who_waits_too_long_for_another_instance_is_told_so_and_applies_the_schema_later(
    place: DatabaseForTest,
) -> None:
    async with started(database_on(place)) as other:
        slow = database_on(place, schema=SCHEMA, query_timeout=0.2)
        async with other.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await slow.start()
            with pytest.raises(Temporary) as raised:
                await slow.check()
            assert raised.value.detail is not None
            assert raised.value.detail.startswith("waiting for another instance to apply its schema took longer")
        await until(lambda: slow._opener is not None and slow._opener.reachable)
        assert await applied(slow) == 1
        await slow.stop()


async def test_who_may_not_create_tables_can_start_where_they_are_there(place: DatabaseForTest) -> None:
    async with started(database_on(place, schema=SCHEMA)) as db:
        await db.execute(
            "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'reader';"
            "GRANT SELECT ON venue, chassis_schema TO reader"
        )
    async with started(database_on(place, schema=SCHEMA, user="reader", password="reader")) as reader:
        assert await applied(reader) == 1
    with pytest.raises(StartError, match="permission denied"):
        await database_on(place, schema=SCHEMA + " ", user="reader", password="reader").start()
    async with started(database_on(place)) as db:
        await db.execute("DROP OWNED BY reader; DROP ROLE reader")
