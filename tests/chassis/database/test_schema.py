from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chassis.component import StartError
from chassis.database import Database
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import database_on, started

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


async def test_a_schema_that_commits_by_itself_is_refused(place: DatabaseForTest) -> None:
    with pytest.raises(StartError, match="must not have COMMIT"):
        await database_on(place, schema=SCHEMA + "COMMIT;").start()


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
