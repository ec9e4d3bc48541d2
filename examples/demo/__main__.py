from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from examples.demo.collector import Collector
from examples.demo.screen import Screen
from examples.demo.session import EXPECTED, Session, linger
from examples.demo.stage import Stage


async def demo(*, once: bool, expected: Mapping[str, str] = EXPECTED) -> int:
    """Play the session; returns the exit code: 0 only if all was as expected."""
    screen = Screen(expected)
    async with Collector() as collector, Stage(collector.port) as stage:
        await Session(screen, stage, collector).play()
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
