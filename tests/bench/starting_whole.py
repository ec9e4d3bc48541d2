"""A service with every part is started; a line of JSON says how long it took, and how much of that were imports.

What imports take is measured where Python itself has to find and run a module, so that those of parts count, too,
which are imported when the part is started.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

# Called by Python for every module that is not there yet (CPython, Lib/importlib/_bootstrap.py).
_BOOTSTRAP: Any = importlib._bootstrap


class Imports:
    """Counts the time of all imports from now on, those within others once."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self._depth = 0
        self._find_and_load = _BOOTSTRAP._find_and_load
        _BOOTSTRAP._find_and_load = self._timed

    def _timed(self, *arguments: Any) -> Any:
        if self._depth:
            return self._find_and_load(*arguments)
        self._depth += 1
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return self._find_and_load(*arguments)
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            self._depth -= 1


def main(file: str) -> None:
    """Start it, tell, and end without a word to anybody."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    imports = Imports()

    import asyncio
    from pathlib import Path

    import uvloop
    from cqc.events.v1.asset_events_pb2 import AssetCreated

    from chassis.bus import subscribe
    from tests.bench.starting import Small

    class Whole(Small):
        uses = ("database", "cache", "bus")
        schema = "CREATE TABLE IF NOT EXISTS assets (id integer PRIMARY KEY, name text NOT NULL)"

        @subscribe(AssetCreated)
        async def on_asset_created(self, event: AssetCreated) -> None:
            """Nothing."""

    async def start() -> None:
        service = Whole(Whole.configure(file=Path(file), environ={}))
        await service.start()
        ready = {
            "cpu": time.process_time(),
            "own_wall": time.perf_counter() - begun - imports.wall,
            "own_cpu": time.process_time() - begun_cpu - imports.cpu,
        }
        os.write(sys.stderr.fileno(), json.dumps(ready).encode() + b"\n")
        os._exit(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start())
