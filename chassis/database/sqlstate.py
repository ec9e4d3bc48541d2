"""What PostgreSQL's SQLSTATE codes mean, in the words of `chassis.errors`: the one place that says so.

>>> type(error_for("23505")).__name__, type(error_for("40P01")).__name__, type(error_for("23514")).__name__
('AlreadyExists', 'Conflict', 'InvalidInput')

What callers are told has nothing of the statement or its values in it; the log gets the SQLSTATE and the names of what
was violated. Codes: PostgreSQL 18, appendix A.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from grpc import StatusCode

from chassis.errors import (
    Aborted,
    AlreadyExists,
    ChassisError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    Meaning,
    NotFound,
    Permanent,
    Temporary,
    Verdict,
)


class Conflict(Aborted):
    """The transaction lost against a concurrent one, and nothing of it was stored: repeating all of it may succeed."""


class CommitUnknown(Temporary):
    """The connection was lost, or the time ran out, during COMMIT: the transaction may have been stored, or not.

    It is not tried again by a retry policy, as its effects could come twice. Whoever can tell from the data whether
    it was stored, or makes it so that twice does no harm, can repeat it.
    """

    meaning = Meaning(StatusCode.UNAVAILABLE, 503, Verdict.RETRY, logging.WARNING, retryable=False)


class EndedEarly(Permanent):
    """The server ended a transaction in the middle of its block, one way or the other, as a statement said."""


@dataclass(frozen=True, slots=True)
class Told:
    """An error's class, and what the caller reads."""

    error: type[ChassisError]
    message: str


UNAVAILABLE: Final = "the database is not available right now"
TOO_LATE: Final = "the database did not answer in time"
BAD_VALUE: Final = "a value is not one that can be stored or looked for"
FAULT: Final = "the database could not do what it was asked for"
_CONFLICT: Final = Told(Conflict, "a concurrent change of the same data came first; try again")
READ_ONLY: Final = "25006"
NO_COMMIT: Final = "a transaction ends with its block, or by commit() or rollback(): no statement in it can end it"
NO_LASTING: Final = "{} does not belong in a transaction: what it leaves in the session only ends with the connection"
_UNAVAILABLE: Final = Told(Temporary, UNAVAILABLE)
_INVALID: Final = Told(InvalidInput, BAD_VALUE)
_STATE: Final = Told(FailedPrecondition, "the stored data is not in the state that this needs")
_PERMANENT: Final = Told(Permanent, FAULT)

STATES: Final[Mapping[str, Told]] = MappingProxyType(
    {
        # Values.
        "23502": Told(InvalidInput, "a value that is needed is missing"),
        "23514": Told(InvalidInput, "a value is outside of what is allowed"),
        "44000": Told(InvalidInput, "a value is outside of what is allowed"),
        # Other rows.
        "23505": Told(AlreadyExists, "it exists already"),
        "23503": Told(FailedPrecondition, "what it refers to does not exist, or something still refers to it"),
        "23001": Told(FailedPrecondition, "something still refers to it"),
        "23P01": Told(FailedPrecondition, "it is in conflict with something that exists"),
        "P0001": Told(FailedPrecondition, "a rule of the database refuses it"),  # RAISE EXCEPTION, in a trigger say
        "P0002": Told(NotFound, "it does not exist"),
        # Concurrent transactions.
        "40001": _CONFLICT,
        "40P01": _CONFLICT,
        "40003": Told(CommitUnknown, "whether it was stored is not known"),
        "55P03": Told(Aborted, "it is being changed by someone else right now; try again"),
        "55006": Told(Aborted, "it is in use right now; try again"),
        # Time.
        "57014": Told(DeadlineExceeded, TOO_LATE),  # statement_timeout, lock waits of autovacuum, pg_cancel_backend
        "25P04": Told(DeadlineExceeded, "the transaction took too long"),
        "25P03": Told(Temporary, "the transaction was idle for too long"),
        # The server.
        READ_ONLY: Told(Temporary, "the database takes no changes right now"),  # a standby, or a primary that was one
        "57P04": _UNAVAILABLE,
        "08007": Told(CommitUnknown, "whether it was stored is not known"),
        "3D000": _UNAVAILABLE,
        "72000": Told(Aborted, "the data changed too much meanwhile; try again"),
    }
)
"""Codes that mean something of their own."""

CLASSES: Final[Mapping[str, Told]] = MappingProxyType(
    {
        "08": _UNAVAILABLE,
        "22": _INVALID,
        "23": _STATE,
        "28": _UNAVAILABLE,
        "40": Told(Aborted, "a concurrent change of the same data came first; try again"),
        "53": _UNAVAILABLE,
        "55": _STATE,
        "57": _UNAVAILABLE,
        "58": _UNAVAILABLE,
    }
)
"""All other codes of these classes (the first two characters); what is in neither table is `Permanent`."""

# What operators should hear about even where the caller's error is of a kind that is not logged as one.
_ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        READ_ONLY: "the database is read-only: a standby, or default_transaction_read_only is on",
        "28P01": "the database refuses the password: check database.user and database.password",
        "28000": "the database refuses the login: check database.user, database.ssl_mode and pg_hba.conf",
        "3D000": "the database does not exist: check database.database",
        "42501": "the user of the database lacks a privilege: GRANT it, or check database.user",
        "53100": "the disk of the database is full",
        "53200": "the database is out of memory",
        "53300": "the database has no connections left: raise max_connections there, or lower database.max_conns",
        "55000": "the database is not in the state that this needs",
        "57P03": "the database is starting up, shutting down or recovering",
        "57P04": "the database was dropped",
        "58030": "the database can not read or write its files",
        "XX001": "data of the database is corrupted",
        "XX002": "an index of the database is corrupted",
    }
)

# The session is gone, or about to be, after these.
_ENDS_SESSION: Final = frozenset({"25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"})


def told(sqlstate: str) -> Told:
    """Which error a code is, and what the caller reads."""
    return STATES.get(sqlstate) or CLASSES.get(sqlstate[:2]) or _PERMANENT


def error_for(sqlstate: str, detail: str | None = None) -> ChassisError:
    """Make the error that a code stands for.

    >>> error_for("22P02").code.name, error_for("57P01").code.name, error_for("42P01").code.name
    ('INVALID_ARGUMENT', 'UNAVAILABLE', 'INTERNAL')
    """
    meant = told(sqlstate)
    return meant.error(meant.message, detail=detail or f"SQLSTATE {sqlstate}")


def advice(sqlstate: str) -> str | None:
    """What an operator can do about it; None where it says nothing about the server or its configuration."""
    return _ADVICE.get(sqlstate)


def ends_session(sqlstate: str) -> bool:
    """Whether the server closes the connection with this code."""
    return sqlstate in _ENDS_SESSION or sqlstate.startswith("08")


def translate(error: BaseException) -> ChassisError | None:
    """Give the meaning of an error that the server answered with; None for anything else.

    The constraint, table and column that it names go to the log. Its own text has values in it and goes nowhere, also
    not in a stack that ends with it: `error` says from here on what may be told.
    """
    sqlstate = sqlstate_of(error)
    if sqlstate is None:
        return None
    detail = _detail(error, sqlstate)
    if getattr(error, "sqlstate", None) == sqlstate:
        error.args = (detail,)
        vars(error).update(detail=None, hint=None)
    return error_for(sqlstate, detail)


def commit_unknown(error: ChassisError) -> CommitUnknown:
    """Say of a COMMIT that was not answered that nobody knows what became of it."""
    return CommitUnknown(
        "the database did not confirm the change: it may have been stored, or not",
        detail=error.detail or error.message,
        code=error.code,
    )


def _detail(error: BaseException, sqlstate: str) -> str:
    parts = [f"SQLSTATE {sqlstate} ({type(error).__name__.removesuffix('Error')})"]
    for what in ("constraint", "table", "column"):
        if name := getattr(error, f"{what}_name", None):
            parts.append(f"{what} {name}")
    if sqlstate[:2] == "42" and sqlstate != "42601":
        # Names and types of what is not there: without them nobody finds the statement that is wrong.
        parts.append(str(getattr(error, "message", "")))
    return ", ".join(parts)


def sqlstate_of(error: BaseException | None) -> str | None:
    """The SQLSTATE behind an error, None where the server did not answer with one.

    >>> sqlstate_of(Temporary("not now")) is None
    True
    """
    return _attribute(error, "sqlstate")


def constraint_of(error: BaseException | None) -> str | None:
    """The name of the constraint that was violated, to tell one `AlreadyExists` from another."""
    return _attribute(error, "constraint_name")


def _attribute(error: BaseException | None, name: str) -> str | None:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(value := getattr(error, name, None), str):
            return value
        error, seen = error.__cause__, seen + 1
    return None
