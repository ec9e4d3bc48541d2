"""Many calls and cancelled streams, and whether the service holds afterwards what it held before.

`SOAK_CALLS` (200,000) and `SOAK_STREAMS` (20,000) say how many.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from chassis.testing.servers import ServersForTests
from tests.soak.soaking import Sizes, soak

_LEAST = 100  # of which each of ten parts has some for each connection


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < _LEAST:
        sys.exit(f"{name} is {text!r} and must be a number of {_LEAST} or more")
    return int(text)


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Soak; 1 where something is not back where it was."""
    calls, streams = _number("SOAK_CALLS", 200_000), _number("SOAK_STREAMS", 20_000)
    sizes = Sizes(calls, streams, warm_calls=max(calls // 20, 1000), warm_streams=max(streams // 20, 100))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        servers = ServersForTests(Path(folder))
        try:
            overrides = {
                **servers.database().overrides,
                **servers.account().overrides,
                **servers.keyspace().overrides,
            }
            _tell(f"{calls} unary calls and {streams} cancelled streams, on real servers")
            soaked = soak(overrides, sizes, tell=_tell)
        finally:
            servers.stop()
    _tell(f"\n{soaked.report}\n")
    _tell(f"{soaked.published} events were published; {soaked.opened} connections to the database were opened")
    if soaked.leaked:
        _tell(f"not back where it was: {', '.join(soaked.leaked)}")
        return 1
    _tell("everything is back where it was, and all events were handled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
