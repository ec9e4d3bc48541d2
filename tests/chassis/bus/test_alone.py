"""What is begun alone, and what it does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from chassis.bus.alone import Alone
from chassis.bus.held import Held
from tests.chassis.bus.test_consumer import Delivered


class Knowing:
    """A settler that refuses nothing."""

    async def is_too_much(self, delivery: object) -> bool:
        return False


async def test_a_handler_that_does_not_end_when_it_is_cut_off_is_waited_for_no_longer_than_that() -> None:
    begun: list[Held] = []
    over = asyncio.Event()
    stubborn: asyncio.Task[None] = asyncio.ensure_future(_never())

    def begin(held: Held, refused: bool) -> None:
        begun.append(held)

    async def postpone(held: Held, why: Exception) -> None:
        raise why

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(work)

    settler: Any = Knowing()
    alone = Alone(settler, {stubborn}, begin=begin, spawn=spawn, postpone=postpone, done=over.set, patience=0.01)
    held = Held(("stream", 1), Delivered(sequence=1), 0.0)
    alone.add(held)
    async with asyncio.timeout(10):
        await over.wait()

    assert begun == [held]
    stubborn.cancel()


async def _never() -> None:
    await asyncio.Event().wait()
