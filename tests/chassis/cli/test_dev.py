"""`chassis run --dev` as a developer meets it: servers come with the service, go with it, and keep what was stored."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from chassis.dev.processes import descendants
from tests.process import Process, is_alive, processes

PROMISED = 3.0

SERVICE = """
import asyncpg
from redis.asyncio import Redis
from chassis import ServiceChassis

class Counting(ServiceChassis):
    name = "counting"
    uses = ("database", "cache")

    async def on_start(self):
        database = self.config.database
        connection = await asyncpg.connect(
            host=database.host, port=database.port, user=database.user, password=database.password.reveal(),
            database=database.database, ssl=False,
        )
        await connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now())")
        await connection.execute("INSERT INTO starts DEFAULT VALUES")
        rows = await connection.fetchval("SELECT count(*) FROM starts")
        await connection.close()
        cache = self.config.cache
        async with Redis(host=cache.host, port=cache.port, password=cache.password.reveal(), db=cache.db) as client:
            keys = await client.incr("starts")
        self.log.info("counted", rows=rows, keys=keys, database=database.database)

class Alone(ServiceChassis):
    name = "alone"
"""


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "counting.py").write_text(SERVICE)
    with processes(tmp_path) as start:
        # How long it waits before it stops is a part of what --dev sets.
        yield partial(start, server_drain_delay=None)


def test_servers_are_told_and_stopped_with_the_service_and_a_restart_finds_the_data(start: Start) -> None:
    process = start("run", "counting:Counting", "--dev")
    counted = process.until("counted")
    assert (counted["rows"], counted["keys"], counted["database"]) == (1, 1, "counting")
    process.until("service started")
    told = {line["server"]: line["message"] for line in process.lines if "server" in line}
    assert sorted(told) == ["postgres", "redis"]
    assert told["postgres"].startswith("PostgreSQL 18")
    assert told["postgres"].endswith("data in .chassis/postgres")
    second = start("run", "counting:Counting", "--dev")
    code, _, errors = second.end()
    assert (code, f"in use by process {process.pid}" in errors, "Traceback" in errors) == (1, True, False)
    servers = descendants(process.pid)
    code, _, errors = process.end(by=signal.SIGTERM)
    assert (code, errors) == (0, "")
    assert [pid for pid in servers if is_alive(pid)] == []
    again = start("run", "counting:Counting", "--dev")
    counted = again.until("counted")
    assert (counted["rows"], counted["keys"]) == (2, 2)


def test_nothing_outlives_a_killed_service(start: Start) -> None:
    process = start("run", "counting:Counting", "--dev")
    process.until("service started")
    servers = descendants(process.pid)
    process.send(signal.SIGKILL)
    until = time.monotonic() + PROMISED
    while any(map(is_alive, servers)):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert start("run", "counting:Counting", "--dev").until("counted")["rows"] == 2


def test_the_configuration_shows_the_addresses_and_starts_nothing(start: Start, tmp_path: Path) -> None:
    process = start("config", "counting:Counting", "--dev")
    assert (process.ended(), process.err) == (0, "")
    output = process.out
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "127.0.0.1" in lines["database.host"]
    assert "--dev" in lines["database.host"]
    assert not (tmp_path / ".chassis" / "postgres" / "data").exists()
    port = (tmp_path / ".chassis" / "redis" / "port").read_text().strip()
    assert port in lines["cache.port"]
    password = (tmp_path / ".chassis" / "redis" / "password").read_text()
    assert password not in output


def test_what_is_wrong_in_the_configuration_is_told_before_anything_starts(start: Start, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("database:\n  hots: db\n")
    code, _, errors = start("run", "counting:Counting", "--dev").end()
    assert (code, "database.hots" in errors) == (2, True)
    assert not (tmp_path / ".chassis").exists()


def test_a_service_that_needs_no_server_gets_none_and_the_manners_of_a_developers_machine(
    start: Start, tmp_path: Path
) -> None:
    process = start("run", "counting:Alone", "--dev")
    process.until("service started")
    assert not (tmp_path / ".chassis").exists()
    process.send(signal.SIGTERM)
    stopping = process.until("service stopping")
    assert stopping["drain_delay_seconds"] == 0
    assert process.end()[0] == 0
