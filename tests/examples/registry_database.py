"""A database with the registry's tables: created once, and empty for each test. Import both fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chassis.testing.servers import DatabaseForTest, ServersForTests
from examples.asset_registry.postgres_store import SCHEMA

TABLES = ("assets", "chains", "deployments", "venues", "venue_assets")


@pytest.fixture(scope="session")
def kept_registry_database(dev_servers: ServersForTests) -> Iterator[DatabaseForTest]:
    database = dev_servers.database()
    dev_servers.postgres.sql(SCHEMA.read_text(encoding="utf-8"), database=database.name)
    yield database
    dev_servers.postgres.drop_database(database.name)


@pytest.fixture
def registry_database(dev_servers: ServersForTests, kept_registry_database: DatabaseForTest) -> DatabaseForTest:
    dev_servers.postgres.sql(f"TRUNCATE {', '.join(TABLES)}", database=kept_registry_database.name)
    return kept_registry_database
