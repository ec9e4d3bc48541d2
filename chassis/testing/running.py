from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from chassis.client import channel
from chassis.service import ServiceChassis

if TYPE_CHECKING:
    from chassis.bus import MemoryBroker

Service = TypeVar("Service", bound=ServiceChassis)

FOR_TESTS: Mapping[str, object] = {
    "server.grpc_port": 0,
    "server.http_port": 0,
    "server.drain_delay": 0,
    "server.shutdown_timeout": "5s",
    "log.level": "error",
}


class Running(Generic[Service]):
    """A service that runs in a test: the service itself, and ways to call it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._channels: list[grpc.aio.Channel] = []

    def channel(self, **options: Any) -> grpc.aio.Channel:
        """Open a channel to it, with the options of `chassis.client.channel`; closed with the service."""
        opened = channel(self.service.grpc_address, **options)
        self._channels.append(opened)
        return opened

    def http_url(self, path: str = "/") -> str:
        """The URL of one of its HTTP paths."""
        return f"http://{self.service.http_address}{path}"

    async def close(self) -> None:
        """Close the channels."""
        while self._channels:
            await self._channels.pop().close()


@asynccontextmanager
async def running(
    cls: type[Service],
    config: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    broker: MemoryBroker | None = None,
) -> AsyncIterator[Running[Service]]:
    """Run a service for the time of the block; raises AssertionError where it could not be stopped cleanly.

    `config` has dotted keys (`{"auth.api_keys": ["test:0123456789abcdef"]}`); the environment is empty unless
    `environ` is given, and no file is read. Ports are free ones, nothing waits for load balancers, and log lines below
    `error` are not written, unless it says otherwise. Services that are given one `broker` see each other's events.
    """
    settings = cls.configure(environ=environ or {}, overrides={**FOR_TESTS, **(config or {})})
    service = cls(settings, broker=broker)
    # In a task, and so in a context, of its own: what belongs to this service does not rub off on the test.
    await asyncio.create_task(service.start())
    handle = Running(service)
    try:
        yield handle
    finally:
        await handle.close()
        failures = await asyncio.create_task(service.stop())
    assert not failures, f"the service did not stop by itself: {failures}"
