from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 20.0

Line = dict[str, Any]


class Stage:
    """The services on their ports, and every line that they logged."""

    def __init__(self, collector_port: int) -> None:
        self.registry = f"127.0.0.1:{_free_port()}"
        self.registry_http = f"127.0.0.1:{_free_port()}"
        self.watch = f"127.0.0.1:{_free_port()}"
        self.watch_http = f"127.0.0.1:{_free_port()}"
        self.lines: list[Line] = []
        self._collector = f"http://127.0.0.1:{collector_port}"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Stage:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.demo.services",
            cwd=ROOT,
            env={**os.environ, **self._environment()},
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        for service in ("cqar", "listing-watch"):
            await self.line(functools.partial(_is, service, "service started"))
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        assert self._reading is not None
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
        await self._reading

    def _environment(self) -> dict[str, str]:
        environment = {
            "CQAR_SERVER_GRPC_PORT": self.registry.rpartition(":")[2],
            "CQAR_SERVER_HTTP_PORT": self.registry_http.rpartition(":")[2],
            "LISTING_WATCH_SERVER_GRPC_PORT": self.watch.rpartition(":")[2],
            "LISTING_WATCH_SERVER_HTTP_PORT": self.watch_http.rpartition(":")[2],
            "LISTING_WATCH_SETTINGS_REGISTRY_TARGET": self.registry,
        }
        for prefix in ("CQAR", "LISTING_WATCH"):
            environment |= {
                f"{prefix}_SERVER_DRAIN_DELAY": "0s",
                f"{prefix}_TRACING_ENABLED": "true",
                f"{prefix}_TRACING_ENDPOINT": self._collector,
                f"{prefix}_TRACING_BATCH_TIMEOUT": "200ms",
            }
        return environment

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            async with self._news:
                self.lines.append(json.loads(text))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def line(self, wanted: Callable[[Line], bool]) -> Line:
        """Wait for a log line; raises TimeoutError, or RuntimeError where the services are gone."""

        def found() -> Line | None:
            return next((line for line in self.lines if wanted(line)), None)

        async with asyncio.timeout(PATIENCE), self._news:
            while (line := found()) is None:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise RuntimeError(f"the services ended with {self._process.returncode}")
                await self._news.wait()
        return line


def _is(service: str, message: str, line: Line) -> bool:
    return bool(line["service_name"] == service and line["message"] == message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
