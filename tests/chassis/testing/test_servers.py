"""The fixtures with which tests have real servers: each test has a place of its own in them."""

from __future__ import annotations

import asyncio

import asyncpg
import nats
import redis.asyncio
import redis.exceptions

from chassis.config import load
from chassis.testing.servers import AccountForTest, DatabaseForTest, KeyspaceForTest, ServersForTests, frozen


async def test_a_database_is_empty_and_gone_afterwards(dev_servers: ServersForTests) -> None:
    first, second = dev_servers.database(), dev_servers.database()
    for database in (first, second):
        connection = await asyncpg.connect(database.dsn.reveal())
        await connection.execute("CREATE TABLE prices (price int)")
        await connection.close()
    for database in (first, second):
        dev_servers.postgres.drop_database(database.name)
    left = dev_servers.postgres.sql("SELECT datname FROM pg_database").split()
    assert not {first.name, second.name} & set(left)


async def test_an_account_of_nats_has_its_own_streams(dev_servers: ServersForTests) -> None:
    accounts = [dev_servers.account() for _ in range(40)]
    for account in (accounts[0], accounts[-1]):
        client = await nats.connect(account.url.reveal())
        assert await client.jetstream().streams_info() == []
        await client.jetstream().add_stream(name="cqc_events", subjects=["cqc.events.>"])
        await client.close()


async def test_a_keyspace_is_empty(dev_servers: ServersForTests) -> None:
    for keyspace in (dev_servers.keyspace(), dev_servers.keyspace()):
        async with redis.asyncio.from_url(keyspace.url.reveal()) as client:
            assert await client.dbsize() == 0
            await client.set("key", "value")


def test_each_says_how_a_service_is_configured_to_use_it(
    postgres_database: DatabaseForTest, nats_account: AccountForTest, redis_keyspace: KeyspaceForTest
) -> None:
    overrides = {**postgres_database.overrides, **nats_account.overrides, **redis_keyspace.overrides}
    config = load(environ={}, uses=("database", "cache", "bus"), defaults={"service.name": "cqar"}, overrides=overrides)
    assert (config.database.port, config.database.database) == (postgres_database.port, postgres_database.name)
    assert (config.cache.port, config.cache.db) == (redis_keyspace.port, redis_keyspace.db)
    assert config.eventbus.servers == (nats_account.url,)


def test_a_server_that_a_test_killed_is_there_for_the_next(dev_servers: ServersForTests) -> None:
    server = dev_servers.redis
    port = server.port
    server.kill()
    assert dev_servers.redis.is_running
    assert dev_servers.redis.port == port


async def test_a_frozen_server_is_there_and_says_nothing_until_it_is_not_frozen(
    dev_servers: ServersForTests, postgres_database: DatabaseForTest
) -> None:
    connection = await asyncpg.connect(postgres_database.dsn.reveal())
    with frozen(dev_servers.postgres):
        asking = asyncio.ensure_future(connection.fetchval("SELECT 1"))
        probe = await asyncio.open_connection(postgres_database.host, postgres_database.port)
        probe[1].close()
        assert not asking.done()
    assert await asking == 1
    await connection.close()
