from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping

from chassis.dev import DevServers
from examples.demo.collector import Collector
from examples.demo.screen import Screen
from examples.demo.session import EXPECTED, Session, linger
from examples.demo.stage import ROOT, Stage

FOLDER = ROOT / ".chassis" / "demo"


async def demo(*, once: bool, expected: Mapping[str, str] = EXPECTED, outages: bool = True) -> int:
    """Play the session; returns the exit code: 0 only if all was as expected."""
    screen = Screen(expected)
    # The reference set is registered anew each time, so last time's data has to go.
    shutil.rmtree(FOLDER, ignore_errors=True)
    servers = DevServers(FOLDER, ("postgres", "redis", "nats"))
    async with servers, Collector() as collector, Stage(servers, collector.port) as stage:
        screen.title("Both services run, on servers of their own")
        for server in servers:
            screen.say(f"  {server.version:<24} on {server.host}:{server.port}")
        await Session(screen, stage, collector).play(outages=outages)
        screen.verdict()
        if not once:
            await linger(screen, stage)
    return 1 if screen.surprises else 0


def main() -> int:
    """Run the demo from the command line; DEMO_ONCE=1 ends after the session."""
    try:
        return asyncio.run(demo(once=os.environ.get("DEMO_ONCE") == "1"))
    except KeyboardInterrupt:
        print()
        return 0


if __name__ == "__main__":
    sys.exit(main())
