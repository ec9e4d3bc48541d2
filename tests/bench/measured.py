"""What the process of a variant is: a server that is called from outside, or a client that works when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


def nothing() -> None:
    """What is to be done where nothing was put off."""


@dataclass(frozen=True, slots=True)
class Server:
    """Listens on `port` of 127.0.0.1 until it is stopped.

    `settle` does what it has put off, such as spans that wait to be exported: that is part of what calls cost, whenever
    it is done.
    """

    port: int
    stop: Callable[[], Awaitable[Any]]
    settle: Callable[[], object] = nothing


class Client:
    """Does operations on a real server. Only `work` is measured, with what it has put off until `settle`."""

    settle: Callable[[], object] = staticmethod(nothing)

    async def prepare(self, count: int) -> None:
        """Have everything there that `work` will need."""

    async def work(self, count: int) -> None:
        """Do so many operations."""
        raise NotImplementedError

    async def prove(self, count: int) -> None:
        """Raise RuntimeError where the operations did not all happen."""

    async def stop(self) -> None:
        """Close its connections."""


Build = Callable[[dict[str, Any], str], Awaitable[Server | Client]]
"""Makes it from the variant's settings and the public key of tokens; `build` of the variant's module is one."""


async def repeated(operation: Callable[[int], Awaitable[object]], count: int, at_once: int) -> None:
    """Await an operation for each number below `count`: one after the other, or by `at_once` tasks that share them."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await operation(number)

    if at_once == 1:
        await work()
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


class Reader(Client):
    """Reads by number, in so many tasks at once; `read` says whether it got what is there."""

    def __init__(
        self,
        read: Callable[[int], Awaitable[bool]],
        stop: Callable[[], Awaitable[Any]],
        at_once: int,
        settle: Callable[[], object] = nothing,
    ) -> None:
        self.settle = settle
        self._read_one = read
        self._stop = stop
        self._at_once = at_once
        self._read = 0

    async def work(self, count: int) -> None:
        self._read = 0
        await repeated(self._one, count, self._at_once)

    async def _one(self, number: int) -> None:
        if await self._read_one(number):
            self._read += 1

    async def prove(self, count: int) -> None:
        if self._read != count:
            raise RuntimeError(f"{self._read} of {count} reads gave what is there")

    async def stop(self) -> None:
        await self._stop()
