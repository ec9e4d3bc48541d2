from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientError, ClientSession
from cqc.services.v1 import asset_registry_pb2 as pb

from chassis.errors import ChassisError
from examples.asset_registry import reference
from examples.demo.screen import Screen
from examples.demo.stage import PATIENCE, Stage

AWAY_SECONDS = 1.5
_PAUSE = 0.05


class Outage:
    """Takes a server away from under both services, gives it back, and tells what their callers saw meanwhile."""

    def __init__(self, screen: Screen, stage: Stage, stub: Any, http: ClientSession, asset_id: str) -> None:
        self._screen = screen
        self._stage = stage
        self._stub = stub
        self._http = http
        self._asset_id = asset_id
        self._created = 0
        self._seen: Counter[tuple[str, str]] = Counter()

    async def of(self, name: str, server: Any, allowed: set[str]) -> None:
        """Go through one outage: callers may see only these codes, and all must be well again by itself."""
        calling = [
            asyncio.create_task(self._call("read", self._read)),
            asyncio.create_task(self._call("write", self._write)),
        ]
        try:
            await asyncio.to_thread(server.stop)
            self._seen.clear()
            await asyncio.sleep(AWAY_SECONDS)
            seen = dict(self._seen)
            readiness = await self._readiness()
            await asyncio.to_thread(server.start)
            took = await self._back()
        finally:
            for task in calling:
                task.cancel()
            await asyncio.gather(*calling, return_exceptions=True)
        told = "; ".join(
            f"{kind}s {', '.join(f'{count} {code}' for (each, code), count in sorted(seen.items()) if each == kind)}"
            for kind in ("read", "write")
        )
        unexpected = {code for _, code in seen} - allowed
        self._screen.check(f"{name} away", f"{name} away: callers saw", sorted(unexpected) or "as expected", told)
        self._screen.say(f"      readiness meanwhile: {readiness}")
        self._screen.check(
            f"{name} back", f"{name} back: reads, writes and health", "well", f"after {took:.1f} s, by itself"
        )

    async def _call(self, kind: str, call: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await call()
                code = "OK"
            except ChassisError as error:
                code = error.code.name
            self._seen[kind, code] += 1
            await asyncio.sleep(_PAUSE)

    async def _read(self) -> None:
        await self._stub.GetAsset(pb.GetAssetRequest(asset_id=self._asset_id), timeout=2)

    async def _write(self) -> None:
        self._created += 1
        name = f"Outage {time.time_ns()}"
        request = pb.CreateAssetRequest(symbol="OUT", name=name, asset_type=reference.NATIVE)
        await self._stub.CreateAsset(request, timeout=2)

    async def _back(self) -> float:
        """Wait until a read, a write and both services' health are well; the seconds that took."""
        started = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._read()
                    await self._write()
                    if await self._readiness() == "both healthy":
                        return time.monotonic() - started
                except ChassisError:
                    pass
                await asyncio.sleep(_PAUSE)

    async def _readiness(self) -> str:
        failing = []
        for name, address in (("cqar", self._stage.registry_http), ("listing-watch", self._stage.watch_http)):
            try:
                async with self._http.get(f"http://{address}/health/ready") as response:
                    checks = (await response.json())["checks"]
            except ClientError as error:
                failing.append(f"{name}: {type(error).__name__}")
                continue
            failing += [f"{name}: {check}" for check, result in checks.items() if result["status"] != "ok"]
        return f"not well are {', '.join(failing)}" if failing else "both healthy"
