from __future__ import annotations

import asyncpg
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.database import CommitUnknown, Conflict, constraint_of, sqlstate_of
from chassis.database.sqlstate import STATES, advice, ends_session, error_for, translate
from chassis.errors import (
    Aborted,
    AlreadyExists,
    ChassisError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Permanent,
    Temporary,
)

SQLSTATES = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5)


@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [
        ("23505", AlreadyExists),
        ("23503", FailedPrecondition),
        ("23001", FailedPrecondition),
        ("23P01", FailedPrecondition),
        ("23502", InvalidInput),
        ("23514", InvalidInput),
        ("22P02", InvalidInput),
        ("22001", InvalidInput),
        ("22003", InvalidInput),
        ("40001", Conflict),
        ("40P01", Conflict),
        ("40000", Aborted),
        ("55P03", Aborted),
        ("40003", CommitUnknown),
        ("08007", CommitUnknown),
        ("57014", DeadlineExceeded),
        ("25P04", DeadlineExceeded),
        ("25P03", Temporary),
        ("08000", Temporary),
        ("08006", Temporary),
        ("57P01", Temporary),
        ("57P02", Temporary),
        ("57P03", Temporary),
        ("57P05", Temporary),
        ("53300", Temporary),
        ("53100", Temporary),
        ("25006", Temporary),
        ("28P01", Temporary),
        ("3D000", Temporary),
        ("P0001", FailedPrecondition),
        ("P0002", NotFound),
        ("25P02", Permanent),
        ("42501", Permanent),
        ("42601", Permanent),
        ("42P01", Permanent),
        ("0A000", Permanent),
        ("XX000", Permanent),
        ("ZZZZZ", Permanent),
    ],
)
def test_a_code_has_one_meaning(sqlstate: str, error: type[ChassisError]) -> None:
    assert type(error_for(sqlstate)) is error


@settings(deadline=None)
@given(SQLSTATES)
def test_every_code_has_a_meaning_and_says_which_it_was(sqlstate: str) -> None:
    error = error_for(sqlstate)
    assert error.message
    assert sqlstate not in error.message
    assert error.detail == f"SQLSTATE {sqlstate}"


@settings(deadline=None)
@given(SQLSTATES, st.text(min_size=3), st.text(min_size=3))
def test_nothing_of_what_the_server_says_reaches_the_caller(sqlstate: str, text: str, detail: str) -> None:
    answer = asyncpg.PostgresError.new({"C": sqlstate, "M": text, "D": detail, "n": "asset_pkey"})
    # An unknown code has a class without one: the answer itself has it.
    error = translate(answer)
    assert error is not None
    assert error.message == error_for(sqlstate).message
    assert error.detail is not None
    assert "asset_pkey" in error.detail


@pytest.mark.parametrize("sqlstate", [*STATES, "23505", "40001", "57P01"])
def test_codes_that_are_retried_are_those_after_which_nothing_was_stored(sqlstate: str) -> None:
    error = error_for(sqlstate)
    expected = isinstance(error, Aborted | Temporary) and not isinstance(error, CommitUnknown)
    assert error.meaning.retryable is expected


def test_an_unknown_commit_is_unavailable_and_not_retried() -> None:
    assert CommitUnknown("?").code is StatusCode.UNAVAILABLE
    assert not CommitUnknown("?").meaning.retryable


def test_the_code_and_the_constraint_are_found_behind_an_error() -> None:
    answer = asyncpg.PostgresError.new({"C": "23505", "M": "…", "n": "asset_symbol_key", "t": "asset"})
    error = AlreadyExists("there is such an asset")
    middle = error_for("23505")
    middle.__cause__, error.__cause__ = answer, middle
    assert (sqlstate_of(error), constraint_of(error)) == ("23505", "asset_symbol_key")
    assert (sqlstate_of(None), constraint_of(ValueError())) == (None, None)


def test_operators_get_advice_on_what_only_they_can_mend() -> None:
    told = [advice(state) for state in ("28P01", "28000", "3D000", "53300", "25006", "42501", "57P03")]
    assert all(told)
    assert len(set(told)) == len(told)
    assert advice("23505") is None


def test_the_session_ends_with_codes_of_shutdown_and_connection_only() -> None:
    assert all(map(ends_session, ("57P01", "57P02", "08006", "25P03", "57P05")))
    assert not any(map(ends_session, ("57014", "23505", "40001", "53200")))
