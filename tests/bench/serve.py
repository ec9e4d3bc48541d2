"""The process of one variant that is measured: `python -m tests.bench.serve`, told by lines of JSON what to be.

The first line says what to build; the answer is its port. Each further line has a server do what it has put off, or
tells a client to work. It ends when there is nothing more to read.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import IO, Any

# Nothing else from here: what is imported counts for the memory of a process that should have only what it needs.
from tests.bench.cores import pin
from tests.bench.measured import Build, Client, Server


async def _serve(order: dict[str, Any], answers: IO[str]) -> None:
    build: Build = importlib.import_module(f"tests.bench.{order['kind']}").build
    built = await build(order["settings"], order["public_key"])
    loop = asyncio.get_running_loop()
    questions: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def answer(facts: dict[str, Any]) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    def asked() -> None:
        # Never more than one question waits for its answer, so that nothing is left behind in the buffer.
        line = sys.stdin.readline()
        if not line:
            loop.remove_reader(sys.stdin)
        questions.put_nowait(json.loads(line) if line else None)

    loop.add_reader(sys.stdin, asked)
    answer({"port": built.port if isinstance(built, Server) else 0})
    while (question := await questions.get()) is not None:
        if question["ask"] == "settle":
            built.settle()
            answer({})
        else:
            assert isinstance(built, Client), "only clients can be told to work"
            answer(await _work(built, question["count"]))
    await built.stop()


async def _work(client: Client, count: int) -> dict[str, Any]:
    try:
        await client.prepare(count)
        started, cpu = time.perf_counter(), time.process_time()
        await client.work(count)
        client.settle()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        await client.prove(count)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"seconds": seconds, "cpu": cpu}


def main() -> None:
    """Be what the first line asks for."""
    order = json.loads(sys.stdin.readline())
    pin(order["core"])
    # What is logged goes nowhere, at the cost of writing it; the answers keep the output that was here before.
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
