from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from chassis.database import Database
from chassis.dev import PostgresServer
from chassis.testing.servers import DatabaseForTest, ServersForTests
from tests.chassis.database.kit import TABLE, database_on, started


@pytest.fixture(scope="session")
def place(dev_servers: ServersForTests) -> DatabaseForTest:
    """One database for all tests here: making one for each takes longer than most of them."""
    return dev_servers.database()


@pytest.fixture
async def db(place: DatabaseForTest) -> AsyncIterator[Database]:
    """A running component, with an empty table `asset`."""
    async with started(database_on(place)) as database:
        await database.execute(f"DROP TABLE IF EXISTS asset; {TABLE}")
        yield database


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that tests may kill."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        server.create_database("own")
        yield server
