"""A little of what `make soak` does much of, and that it tells what a servicer forgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest

from chassis.testing.servers import AccountForTest, DatabaseForTest, KeyspaceForTest
from tests.soak.figures import MEMORY_MB, MORE_THREADS, Figures, leaked, table
from tests.soak.soaking import Sizes, soak

SMALL = Sizes(calls=2_000, streams=200, warm_calls=1_000, warm_streams=100)
FIGURES = Figures(
    tasks=9,
    descriptors=42,
    connections_in_use=0,
    database_connections=2,
    cache_connections=8,
    bus_connections=1,
    unhandled=0,
    threads=5,
    system_threads=15,
    memory_mb=80.0,
)


@pytest.fixture
def overrides(
    postgres_database: DatabaseForTest, nats_account: AccountForTest, redis_keyspace: KeyspaceForTest
) -> Mapping[str, object]:
    return {**postgres_database.overrides, **nats_account.overrides, **redis_keyspace.overrides}


def test_calls_and_cancelled_streams_leave_nothing_behind(overrides: Mapping[str, object]) -> None:
    soaked = soak(overrides, SMALL)
    assert soaked.leaked == [], soaked.report
    assert soaked.published == SMALL.calls / 10
    # There was something to be put away.
    assert soaked.opened > 0
    after = soaked.after
    assert (after.database_connections, after.cache_connections, after.bus_connections) == (2, 8, 1)


def test_what_a_servicer_forgets_is_told(overrides: Mapping[str, object]) -> None:
    # So few calls before the first look that nothing has been forgotten by then.
    sizes = replace(SMALL, warm_calls=80, warm_streams=20)
    leaks = ("task", "descriptor", "connection", "socket", "event", "memory")
    soaked = soak(overrides, sizes, leaks=leaks, settling=2)
    told = {
        *("tasks of asyncio", "file descriptors", "memory (RSS), MB", "events not handled yet"),
        *("database connections in use", "connections to the cache"),
    }
    assert told <= set(soaked.leaked), soaked.report
    assert soaked.report.count("NOT BACK") == len(soaked.leaked)


def test_everything_but_memory_must_be_exactly_as_it_was() -> None:
    assert leaked(FIGURES, FIGURES) == []
    exact = [each.name for each in fields(Figures) if each.name not in ("system_threads", "memory_mb")]
    for name in exact:
        for difference in (1, -1):
            changed = replace(FIGURES, **{name: getattr(FIGURES, name) + difference})
            assert len(leaked(FIGURES, changed)) == 1


def test_memory_has_room_and_the_threads_of_libraries_may_end() -> None:
    assert leaked(FIGURES, replace(FIGURES, memory_mb=FIGURES.memory_mb + MEMORY_MB - 0.1)) == []
    assert leaked(FIGURES, replace(FIGURES, memory_mb=FIGURES.memory_mb + MEMORY_MB)) == ["memory (RSS), MB"]
    assert leaked(FIGURES, replace(FIGURES, system_threads=14)) == []
    assert leaked(FIGURES, replace(FIGURES, system_threads=FIGURES.system_threads + MORE_THREADS)) == []
    more = replace(FIGURES, system_threads=FIGURES.system_threads + MORE_THREADS + 1)
    assert leaked(FIGURES, more) == ["threads of the process"]


def test_the_table_names_what_is_not_back() -> None:
    lines = list(table(FIGURES, replace(FIGURES, tasks=10)))
    (line,) = (line for line in lines if line.endswith("NOT BACK"))
    assert line.split()[:3] == ["tasks", "of", "asyncio"]
