"""The process of one server that is measured: `python -m tests.bench.serve`, told by lines of JSON what to be.

The first line says what to build; the answer is its port. Each further line asks for the CPU time used so far. It ends
when there is nothing more to read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import IO, Any

from tests.bench.child import pin

Stop = Callable[[], Awaitable[Any]]
Build = Callable[[dict[str, Any], str], Awaitable[tuple[int, Stop]]]
"""Starts a server from its settings and the public key of tokens; returns its port, and what stops it."""


def _builder(kind: str) -> Build:
    # Imported here: each process has only what its server needs.
    if kind == "bare":
        from tests.bench.bare import build
    elif kind == "by_hand":
        from tests.bench.by_hand import build
    elif kind == "chassis":
        from tests.bench.chassis_service import build
    else:
        raise ValueError(f"there is no server of the kind {kind!r}")
    return build


async def _serve(order: dict[str, Any], answers: IO[str]) -> None:
    port, stop = await _builder(order["kind"])(order["settings"], order["public_key"])
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def answer(facts: dict[str, Any]) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    def asked() -> None:
        # Never more than one question waits for its answer, so that nothing is left behind in the buffer.
        if not sys.stdin.readline():
            loop.remove_reader(sys.stdin)
            over.set_result(None)
            return
        answer({"cpu": time.process_time()})

    loop.add_reader(sys.stdin, asked)
    answer({"port": port})
    await over
    await stop()


def main() -> None:
    """Be the server that the first line asks for."""
    order = json.loads(sys.stdin.readline())
    pin(order["core"])
    # What servers log goes nowhere, at the cost of writing it; the answers keep the output that was here before.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if order["loop"] == "uvloop":
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    else:
        factory = asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(order, answers))


if __name__ == "__main__":
    main()
