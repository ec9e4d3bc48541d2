from __future__ import annotations

import asyncio
from typing import Any

from chassis.background import Background
from chassis.database.growth import Growth


class Failing:
    """An opener that opens nothing, and searches until it is told to find something."""

    def __init__(self) -> None:
        self.opened = 0
        self.searches = 0
        self.found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def open(self) -> Any:
        self.opened += 1
        raise ConnectionRefusedError

    async def search(self) -> Any:
        self.searches += 1
        return await self.found


async def test_after_a_connection_that_could_not_be_opened_there_is_one_search_and_no_other_attempt() -> None:
    opener, background, added = Failing(), Background(), asyncio.Queue[tuple[Any, bool]]()
    growth = Growth(opener, background, add=lambda *what: added.put_nowait(what))  # type: ignore[arg-type]
    growth.open(2)
    assert growth.opening == 2
    while opener.searches == 0:  # noqa: ASYNC110
        await asyncio.sleep(0)
    growth.open(3)
    growth.search()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (opener.opened, opener.searches, growth.opening, growth.searching) == (2, 1, 0, True)
    opener.found.set_result("a connection")
    assert await added.get() == ("a connection", True)
    assert not growth.searching
    await background.end()
