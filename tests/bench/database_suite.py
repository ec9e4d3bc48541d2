"""One row read by its key from PostgreSQL: the database of a service beside asyncpg's pool."""

from __future__ import annotations

from tests.bench.statistics import Goal
from tests.bench.suite import Suite, Variant, faster, working

_TASKS, _CONNECTIONS = 16, 8


def _variant(name: str, by: str, at_once: int, count: int) -> Variant:
    settings = {"by": by, "at_once": at_once, "connections": _CONNECTIONS, "count": count, "tracing": 0.1}
    return Variant(name, "database_clients", settings=settings)


# How many in a turn: about a quarter of a second of each.
_ASYNCPG_ONE = _variant("asyncpg acquire, fetchrow, one at a time", "asyncpg", 1, 1_000)
_ASYNCPG = _variant("asyncpg acquire, fetchrow, 16 tasks on 8 connections", "asyncpg", _TASKS, 2_000)
_CHASSIS_ONE = _variant("chassis query_row, one at a time", "chassis", 1, 1_000)
_CHASSIS = _variant("chassis query_row, 16 tasks on 8 connections", "chassis", _TASKS, 2_000)

_GOALS = [
    faster(_CHASSIS_ONE, _ASYNCPG_ONE, Goal(1.0, 1.25)),
    faster(_CHASSIS, _ASYNCPG, Goal(1.0, 1.25)),
]


def database_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return Suite(
        *("database", "Reading a row", "reads"),
        [_ASYNCPG_ONE, _ASYNCPG, _CHASSIS_ONE, _CHASSIS],
        _GOALS,
        working(["postgres"], scale),
        turns=3,
        seconds=45,
        subject="client",
        saturates=False,
    )
