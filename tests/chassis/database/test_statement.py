from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.database.statement import MAX_NAMES, MAX_STATEMENTS, OTHER, Effect, Statement, Statements

READS = [
    "SELECT 1",
    "select symbol from asset where id = $1",
    "  -- the asset\n SELECT * FROM asset;",
    "/* one /or/ two */ SELECT count(*), max(price) FROM asset WHERE symbol IN ($1, $2)",
    "SELECT coalesce(lower(a.symbol), 'a;b (evil)') FROM asset AS a (id, symbol)",
    'SELECT "odd name" FROM "odd table" WHERE id = ANY($1::int[])',
    "SELECT 1 FROM asset WHERE EXISTS (SELECT 1 FROM price WHERE asset_id = $1) FOR UPDATE",
    "SELECT pg_catalog.lower($1)",
    "SELECT '/* no comment', '-- nor this'",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "SELECT x::numeric(10, 2), row_number() OVER (PARTITION BY a ORDER BY b) FROM t",
]
HARMLESS = [
    "INSERT INTO asset (id, symbol) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET symbol = excluded.symbol",
    'INSERT INTO public."asset" (id) SELECT n FROM generate_series(1, 5) n',
    "UPDATE asset SET (a, b) = ($1, $2) WHERE id = $3 RETURNING *",
    "DELETE FROM asset WHERE id = $1",
    "WITH gone AS (DELETE FROM asset RETURNING *) INSERT INTO old (id) SELECT id FROM gone",
    "WITH RECURSIVE tree (id) AS (VALUES (1)) SELECT * FROM tree",
    "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
    "SELECT nextval('asset_id')",
    "SELECT pg_advisory_xact_lock($1)",
    "SET LOCAL statement_timeout = '1s'",
    "SET TRANSACTION READ ONLY",
    "NOTIFY channel, 'text'",
    "TRUNCATE asset",
]
CHANGING = [
    "SET search_path TO other",
    "set session authorization bob",
    "SELECT set_config('app.user', $1, false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock($1)",
    "SELECT my_function()",
    'SELECT "My Function" (1)',
    "SELECT other.lower($1)",
    "LISTEN channel",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CREATE TEMP TABLE t ()",
    "SELECT 1 INTO TEMP t",
    "SELECT 1 INTO pg_temp.t",
    'SELECT 1 INTO TABLE "pg_temp_3".t',
    "SELECT 1; SET search_path TO other",
    "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$",
    "SELECT $tag$ text $tag$, set_config('a.b', 'c', false)",
    "SELECT E'\\'', set_config('a.b', 'c', false), ''",
    "SELECT 'a' /* nested /* comment */ ' */, set_config('a.b', 'c', false)",
    "SELECT \"a'b\", set_config('a.b', 'c', false)",
    "CALL my_procedure()",
    "BEGIN",
    "",
    "?",
]
LASTING = ["PREPARE x AS SELECT 1", "deallocate all", "DISCARD ALL", "LOAD 'auto_explain'"]


@pytest.mark.parametrize("sql", READS)
def test_a_plain_read_leaves_nothing_behind_and_can_be_repeated(sql: str) -> None:
    statement = Statement(sql)
    assert (statement.effect, statement.repeatable) == (Effect.NONE, True)


@pytest.mark.parametrize("sql", HARMLESS)
def test_a_change_of_data_leaves_nothing_in_the_session_and_is_not_repeated(sql: str) -> None:
    statement = Statement(sql)
    assert (statement.effect, statement.repeatable) == (Effect.NONE, False)


@pytest.mark.parametrize("sql", CHANGING)
def test_what_changes_the_session_or_might_has_it_reset(sql: str) -> None:
    statement = Statement(sql)
    assert (statement.effect, statement.repeatable) == (Effect.SETTINGS, False)


@pytest.mark.parametrize("sql", LASTING)
def test_what_a_reset_does_not_undo_costs_the_connection(sql: str) -> None:
    assert Statement(sql).effect is Effect.LASTING


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_looked_at(sql: str) -> None:
    statement = Statement(sql)
    assert statement.label == statement.verb
    assert not statement.repeatable or "select" in sql.lower()


@settings(deadline=None)
@given(st.sampled_from(READS), st.text(alphabet="ab '\"$\\;-/*()\n"))
def test_a_dangerous_call_is_never_hidden_by_what_stands_before_it(read: str, noise: str) -> None:
    # Whatever the noise does to it: it is a text that PostgreSQL would not take, or the call is seen.
    for sql in (f"SELECT '{noise.replace(chr(39), chr(39) * 2)}', evil()", f"SELECT 1 /*{noise}*/ , evil()"):
        if "\\" not in noise and "*/" not in noise and "/*" not in noise:
            assert Statement(sql).effect is not Effect.NONE, sql


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT symbol FROM asset WHERE id = $1", "SELECT symbol FROM asset WHERE id = $1"),
        ('SELECT a1, "userId" FROM t2 WHERE a = "ann@home"', 'SELECT a1, "userId" FROM t2 WHERE a = "?"'),
        ("SELECT symbol FROM asset WHERE id = 7 AND a < -1.5e-3", "SELECT symbol FROM asset WHERE id = ? AND a < -?"),
        ("SELECT .5, 0x1f, 1_000, a[1:2]", "SELECT ?, ?, ?, a[?:?]"),
        ("SELECT 1 FROM person WHERE email = 'ann''s' AND id = $1", "SELECT ? FROM person WHERE email = ? AND id = $1"),
        ("SELECT $1 /* ann */ -- 'bob'", "SELECT $1    "),
        ("SELECT '/* ', 'ann', ' */'", "SELECT ?, ?, ?"),
        ("SELECT $$BTC$$", None),
        ("SELECT E'it\\'s'", None),
        ("SELECT 1; SELECT 'BTC'", None),
        ("SELECT /* a /* b */ 'ann' */ 1", None),
    ],
)
def test_what_is_shown_of_a_text_has_no_values_in_it(sql: str, shown: str | None) -> None:
    assert Statement(sql).shown == shown


@settings(deadline=None)
@given(st.text(alphabet="ab1 '\"$;-/*()\n\\"), st.text(alphabet="ab1 '\"$;-/*()\n\\"))
def test_a_value_is_in_nothing_that_is_shown_whatever_stands_around_it(before: str, after: str) -> None:
    noise = [part.replace("'", "''") for part in (before, after)]
    assert "ann" not in (Statement(f"SELECT a FROM b WHERE c = '{noise[0]}ann{noise[1]}'").shown or "")
    assert "ann" not in (Statement(f"SELECT '{noise[0]}', 'ann', '{noise[1]}'").shown or "")


def test_a_statement_without_a_name_is_called_by_its_verb() -> None:
    statements = Statements()
    assert statements.get("select 1").label == "SELECT"
    assert statements.get("FROBNICATE 1").label == "OTHER"
    assert statements.get("select 1", "one").label == "one"


def test_a_text_is_looked_at_once_for_each_name() -> None:
    statements = Statements()
    assert statements.get("SELECT 1", "one") is statements.get("SELECT 1", "one")
    assert statements.get("SELECT 1", "one") is not statements.get("SELECT 1")


def test_names_that_are_made_up_at_run_time_share_one_label() -> None:
    statements = Statements()
    labels = {statements.get("SELECT 1", f"name_{number}").label for number in range(MAX_NAMES + 50)}
    assert len(labels) == MAX_NAMES + 1
    assert OTHER in labels


def test_texts_that_are_made_up_at_run_time_do_not_fill_the_memory() -> None:
    statements = Statements()
    for number in range(MAX_STATEMENTS + 50):
        assert statements.get(f"SELECT {number}").label == "SELECT"
    assert statements.get("SELECT -1") is not statements.get("SELECT -1")
    assert statements.get("SELECT 0") is statements.get("SELECT 0")


@pytest.mark.parametrize("name", ["", "1st", "a b", "a;b", "ä", "x" * 64, "-- name"])
def test_a_name_is_a_word(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a statement"):
        Statements().get("SELECT 1", name)
