"""One row read by its key from PostgreSQL: the database of a service beside asyncpg's pool."""

from __future__ import annotations

from functools import partial

from tests.bench.client_suite import client, client_suite
from tests.bench.statistics import Goal
from tests.bench.suite import Suite, faster

_one = partial(client, "database_clients", at_once=1, connections=8, tracing=0.1)
_many = partial(client, "database_clients", at_once=16, connections=8, tracing=0.1)

_ASYNCPG_ONE = _one("asyncpg acquire, fetchrow, one at a time", "asyncpg", 1_000)
_ASYNCPG = _many("asyncpg acquire, fetchrow, 16 tasks on 8 connections", "asyncpg", 2_000)
_UNRESET_ONE = _one("asyncpg without its reset, one at a time", "asyncpg_without_reset", 1_000)
_UNRESET = _many("asyncpg without its reset, 16 tasks on 8 connections", "asyncpg_without_reset", 2_000)
_CHASSIS_ONE = _one("chassis query_row, one at a time", "chassis", 1_000)
_CHASSIS = _many("chassis query_row, 16 tasks on 8 connections", "chassis", 2_000)

_GOALS = [
    faster(_CHASSIS_ONE, _ASYNCPG_ONE, Goal(1.0, 1.25)),
    faster(_CHASSIS, _ASYNCPG, Goal(1.0, 1.25)),
    # Most of it is a query that is not sent: this is the rest.
    faster(_CHASSIS_ONE, _UNRESET_ONE),
    faster(_CHASSIS, _UNRESET),
]


def database_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return client_suite(
        *("database", "Reading a row", "reads"),
        [_ASYNCPG_ONE, _ASYNCPG, _UNRESET_ONE, _UNRESET, _CHASSIS_ONE, _CHASSIS],
        _GOALS,
        server="postgres",
        scale=scale,
    )
