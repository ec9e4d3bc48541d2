from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chassis import ServiceChassis
from chassis.dev import DevServers, overrides_for
from chassis.dev.overrides import database_of
from chassis.dev.ports import Reservation
from examples.asset_registry.service import AssetRegistry
from examples.listing_watch.service import ListingWatch

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 20.0

Line = dict[str, Any]


class Stage:
    """Both services in processes of their own, started by `chassis run` on real servers, and every line they logged."""

    def __init__(self, servers: DevServers, collector_port: int) -> None:
        self.servers = servers
        # Reserved until the end: what the demo does meanwhile would give them to somebody else.
        self._reservations: list[Reservation] = []
        self.registry = self._reserve()
        self.registry_http = self._reserve()
        self.watch = self._reserve()
        self.watch_http = self._reserve()
        self.lines: list[Line] = []
        self._collector = f"http://127.0.0.1:{collector_port}"
        self._processes: list[asyncio.subprocess.Process] = []
        self._reading: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()

    def _reserve(self) -> str:
        self._reservations.append(Reservation())
        return f"127.0.0.1:{self._reservations[-1].port}"

    async def __aenter__(self) -> Stage:
        try:
            await self._start(AssetRegistry, "asset_registry", self.registry, self.registry_http)
            await self._start(ListingWatch, "listing_watch", self.watch, self.watch_http)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*self._reading)
        for reservation in self._reservations:
            reservation.close()

    async def _start(self, cls: type[ServiceChassis], package: str, grpc_address: str, http_address: str) -> None:
        file = Path("examples") / package / "config.yaml"
        environment = self._environment(cls, ROOT / file)
        environment[f"{cls.env_prefix}_SERVER_GRPC_PORT"] = grpc_address.rpartition(":")[2]
        environment[f"{cls.env_prefix}_SERVER_HTTP_PORT"] = http_address.rpartition(":")[2]
        environment["LISTING_WATCH_SETTINGS_REGISTRY_TARGET"] = self.registry
        target = f"examples.{package}.service:{cls.__name__}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chassis.cli", "run", target, "--config", str(file)),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is the demo's: it then tells the services to stop, in order.
            start_new_session=True,
        )
        self._processes.append(process)
        self._reading.append(asyncio.create_task(self._read(process)))
        await self.line(functools.partial(_is, cls.name, "service started"))

    def _environment(self, cls: type[ServiceChassis], file: Path) -> dict[str, str]:
        """Where the servers are, as the environment says it wherever a service runs."""
        config = cls.configure(file=file, dev=True)
        addresses = overrides_for(self.servers, cls.uses, config)
        if "database.host" in addresses:
            self.servers.postgres.create_database(database_of(config))
        values: Mapping[str, object] = {key: given.value for key, given in addresses.items()}
        values = {
            **values,
            "server.drain_delay": "0s",
            "tracing.enabled": "true",
            "tracing.endpoint": self._collector,
            "tracing.sample_rate": "1",
            "tracing.batch_timeout": "200ms",
        }
        return {
            f"{cls.env_prefix}_{key.upper().replace('.', '_')}": ",".join(value)
            if isinstance(value, list)
            else _text(value)
            for key, value in values.items()
        }

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for text in process.stdout:
            async with self._news:
                self.lines.append(json.loads(text))
                self._news.notify_all()
        await process.wait()
        async with self._news:
            self._news.notify_all()

    async def line(self, wanted: Callable[[Line], bool]) -> Line:
        """Wait for a log line; raises TimeoutError, or RuntimeError where a service is gone."""

        def found() -> Line | None:
            return next((line for line in self.lines if wanted(line)), None)

        async with asyncio.timeout(PATIENCE), self._news:
            while (line := found()) is None:
                if any(process.returncode is not None for process in self._processes):
                    raise RuntimeError(f"a service ended by itself; its last words: {self.lines[-1:]}")
                await self._news.wait()
        return line


def _text(value: object) -> str:
    reveal = getattr(value, "reveal", None)
    return str(reveal() if reveal is not None else value)


def _is(service: str, message: str, line: Line) -> bool:
    return bool(line["service_name"] == service and line["message"] == message)
