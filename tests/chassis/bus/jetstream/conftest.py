from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext

from chassis.bus import Bus, Stream
from chassis.bus.jetstream import JetStreamBackend
from chassis.config import SecretUrl
from chassis.dev import NatsServer
from chassis.retry import Policy
from chassis.testing.servers import AccountForTest


class Services:
    """Makes buses and backends on a NATS server, and stops them at the end of the test."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def backend(self, *urls: SecretUrl, streams: tuple[Stream, ...] | None = None, **options: Any) -> Any:
        """A backend that is started."""
        backend = JetStreamBackend(urls, client_name="test", streams=streams, **options)
        await backend.start()
        self._stack.push_async_callback(backend.stop)
        return backend

    async def bus(self, *urls: SecretUrl, name: str = "cqar", metrics: Any = None, **options: Any) -> Bus:
        """A bus that is started."""
        backend = JetStreamBackend(urls, client_name=name, metrics=metrics)
        defaults = {"publish_retry": Policy(attempts=3, waits=(0.0,)), "backoff": Policy(waits=(0.0,), jitter=0)}
        bus = Bus(backend, service_name=name, metrics=metrics, **(defaults | options))
        await bus.start()
        self._stack.push_async_callback(self._end, bus)
        return bus

    async def peer(self, url: SecretUrl) -> JetStreamContext:
        """What another library sees of the server."""
        client = await nats.connect(url.reveal())
        self._stack.push_async_callback(client.close)
        return client.jetstream()

    async def close(self) -> None:
        await self._stack.aclose()

    @staticmethod
    async def _end(bus: Bus) -> None:
        await bus.drain(0)
        await bus.stop()


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = Services()
    yield services
    await services.close()


@pytest.fixture
async def peer(services: Services, nats_account: AccountForTest) -> JetStreamContext:
    return await services.peer(nats_account.url)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS server that may be killed."""
    with NatsServer(tmp_path, durable=False) as server:
        yield server
