from __future__ import annotations

import traceback

import pytest

from chassis.config import DatabaseConfig, Secret
from chassis.database import Database, constraint_of, sqlstate_of
from chassis.errors import (
    AlreadyExists,
    ChassisError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    Permanent,
    Temporary,
)
from chassis.testing.servers import DatabaseForTest
from tests.chassis.database.kit import FROZEN, database_on, serving, started, until_none

INSERT = "INSERT INTO asset (id, symbol, parent) VALUES ($1, $2, $3)"


async def test_what_is_stored_comes_back(db: Database) -> None:
    assert await db.execute(INSERT, 1, "BTC", None) == 1
    assert await db.execute(INSERT, 2, "ETH", 1) == 1
    rows = await db.query("SELECT id, symbol FROM asset ORDER BY id")
    assert [dict(row) for row in rows] == [{"id": 1, "symbol": "BTC"}, {"id": 2, "symbol": "ETH"}]
    row = await db.query_row("SELECT symbol FROM asset WHERE id = $1", 2, name="get_asset")
    assert row is not None
    assert row["symbol"] == "ETH"


async def test_no_row_is_none_and_no_rows_are_an_empty_list(db: Database) -> None:
    assert await db.query_row("SELECT symbol FROM asset WHERE id = $1", 1) is None
    assert await db.query("SELECT symbol FROM asset") == []


async def test_execute_tells_how_many_rows_were_changed(db: Database) -> None:
    assert await db.execute("INSERT INTO asset (id, symbol) SELECT n, n::text FROM generate_series(1, 5) n") == 5
    assert await db.execute("UPDATE asset SET symbol = symbol || '!' WHERE id > $1", 2) == 3
    assert await db.execute("DELETE FROM asset") == 5
    assert await db.execute("CREATE TABLE other ()") == 0


async def test_several_statements_without_arguments_are_one(db: Database) -> None:
    with pytest.raises(AlreadyExists):
        await db.execute("INSERT INTO asset VALUES (1, 'BTC'); INSERT INTO asset VALUES (1, 'ETH')")
    assert await db.query("SELECT 1 FROM asset") == []


@pytest.mark.parametrize(
    ("sql", "args"),
    [
        (INSERT, (1, "canary", None)),
        (INSERT, (7, None, None)),
        ("SELECT $1::text::uuid", ("canary",)),
    ],
)
async def test_what_the_log_shows_as_the_cause_has_no_values_of_rows_and_arguments(
    db: Database, sql: str, args: tuple[object, ...]
) -> None:
    await db.execute(INSERT, 1, "BTC", None)
    with pytest.raises(ChassisError) as raised:
        await db.execute(sql, *args)
    shown = "".join(traceback.format_exception(raised.value))
    assert "asyncpg" in shown
    for value in ("canary", "(1)", "(7,"):
        assert value not in shown


@pytest.mark.parametrize(
    ("sql", "args", "error", "state", "constraint"),
    [
        (INSERT, (1, "ETH", None), AlreadyExists, "23505", "asset_pkey"),
        (INSERT, (2, "BTC", None), AlreadyExists, "23505", "asset_symbol_key"),
        (INSERT, (2, "ETH", 99), FailedPrecondition, "23503", "asset_parent_fkey"),
        (INSERT, (2, "", None), InvalidInput, "23514", "asset_symbol_check"),
        (INSERT, (2, None, None), InvalidInput, "23502", None),
        (INSERT, ("two", "ETH", None), InvalidInput, "22000", None),
        ("SELECT $1::text::uuid", ("no uuid, but secret",), InvalidInput, "22P02", None),
        ("SELECT * FROM nowhere", (), Permanent, "42P01", None),
        ("SELECT secret FROM asset", (), Permanent, "42703", None),
        ("SELEC 1", (), Permanent, "42601", None),
        ("SELECT $1::int", (), Permanent, "42P02", None),
        ("DO $$ BEGIN RAISE 'secret rule'; END $$", (), FailedPrecondition, "P0001", None),
    ],
)
async def test_an_error_has_a_meaning_and_a_message_without_sql_or_values(
    db: Database,
    sql: str,
    args: tuple[object, ...],
    error: type[ChassisError],
    state: str | None,
    constraint: str | None,
) -> None:
    await db.execute(INSERT, 1, "BTC", None)
    with pytest.raises(error) as raised:
        await db.execute(sql, *args)
    assert type(raised.value) is error
    assert (sqlstate_of(raised.value), constraint_of(raised.value)) == (state, constraint)
    for hidden in ("secret", "ETH", "asset", "SELECT", "two", "nowhere"):
        assert hidden not in raised.value.message
    assert raised.value.detail is not None
    if state is not None:
        assert state in raised.value.detail
        assert "uuid, but" not in raised.value.detail
    assert constraint is None or constraint in raised.value.detail


async def test_the_detail_names_the_table_that_is_not_there(db: Database) -> None:
    with pytest.raises(Permanent) as raised:
        await db.query("SELECT * FROM nowhere")
    assert raised.value.detail is not None
    assert "nowhere" in raised.value.detail


async def test_a_statement_takes_no_longer_than_the_query_timeout(place: DatabaseForTest) -> None:
    async with started(database_on(place, query_timeout=0.05)) as db:
        with pytest.raises(DeadlineExceeded):
            await db.query("SELECT pg_sleep($1)", FROZEN)
        assert len(await db.query("SELECT 1")) == 1


async def test_a_statement_can_have_a_timeout_of_its_own(db: Database) -> None:
    with pytest.raises(DeadlineExceeded):
        await db.query("SELECT pg_sleep($1)", FROZEN, timeout=0.05)


async def test_a_statement_ends_at_the_deadline_of_the_call(db: Database) -> None:
    with serving(0.1), pytest.raises(DeadlineExceeded):
        await db.query("SELECT pg_sleep($1)", FROZEN)


async def test_a_call_without_time_does_not_ask_the_database(db: Database) -> None:
    with serving(0.0), pytest.raises(DeadlineExceeded) as raised:
        await db.execute(INSERT, 1, "BTC", None)
    assert "passed before" in (raised.value.detail or "")
    assert await db.query("SELECT 1 FROM asset") == []


async def test_a_statement_that_was_given_up_is_stopped_on_the_server(db: Database) -> None:
    with pytest.raises(DeadlineExceeded):
        await db.query("SELECT pg_sleep($1)", FROZEN, timeout=0.05)
    await until_none(db, "active")


async def test_a_wrong_number_of_arguments_is_told_in_the_log(db: Database) -> None:
    with pytest.raises(Permanent) as raised:
        await db.query("SELECT $1::int")
    assert "expects 1 argument" in (raised.value.detail or "")


async def test_before_the_start_and_after_the_stop_it_is_not_available(place: DatabaseForTest) -> None:
    db = database_on(place)
    with pytest.raises(Temporary):
        await db.query("SELECT 1")
    with pytest.raises(Temporary):
        await db.check()
    async with started(db):
        await db.check()
        await db.query("SELECT 1")
    with pytest.raises(Temporary):
        await db.query("SELECT 1")
    with pytest.raises(Temporary):
        await db.check()


async def test_it_can_be_started_again(place: DatabaseForTest) -> None:
    db = database_on(place)
    for _ in range(2):
        async with started(db):
            assert len(await db.query("SELECT 1")) == 1


async def test_the_configuration_is_all_it_needs(place: DatabaseForTest) -> None:
    place = place
    section = DatabaseConfig(
        host=place.host, port=place.port, user=place.user, password=place.password, database=place.name
    )
    async with started(Database.from_config(section, service_name="cqar")) as db:
        row = await db.query_row("SELECT current_setting('application_name'), current_user, current_database()")
        assert row is not None
        assert tuple(row) == ("cqar", place.user, place.name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_conns": 0},
        {"min_conns": 5, "max_conns": 4},
        {"min_conns": -1},
        {"query_timeout": 0},
        {"connect_timeout": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("_timeout")):
        Database(host="db", database="cqar", user="cqar", **wrong)  # type: ignore[arg-type]


async def test_a_statement_is_text_and_its_name_a_word(db: Database) -> None:
    with pytest.raises(TypeError, match="SQL text"):
        await db.query(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no name for a statement"):
        await db.query("SELECT 1", name="get asset 17")


def test_the_password_is_in_no_repr() -> None:
    database = Database(host="db", database="cqar", user="cqar", password=Secret("hunter2"))
    assert "hunter2" not in repr(database)
    assert "hunter2" not in repr(vars(database))


@pytest.mark.parametrize("required", [True, False])
def test_whether_it_is_required_is_what_the_configuration_says(required: bool) -> None:
    section = DatabaseConfig(host="db", database="cqar", user="cqar", required=required)
    assert Database.from_config(section).required is required
