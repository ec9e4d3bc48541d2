"""What a client says it has done, it has done."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench.measured import Reader, repeated
from tests.bench.serve import _work


async def stop() -> None:
    pass


@pytest.mark.parametrize("at_once", [1, 3])
async def test_each_number_has_its_turn_once(at_once: int) -> None:
    seen: list[int] = []
    under_way = most = 0

    async def operation(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        seen.append(number)

    await repeated(operation, 10, at_once)
    assert sorted(seen) == list(range(10))
    assert most == at_once


async def test_work_has_a_time_and_its_cpu() -> None:
    async def read(number: int) -> bool:
        return True

    told = await _work(Reader(read, stop, 1), 5)
    assert told.keys() == {"seconds", "cpu"}


async def test_work_that_did_not_happen_gives_no_figure() -> None:
    async def read(number: int) -> bool:
        return number > 0

    assert await _work(Reader(read, stop, 2), 5) == {"error": "RuntimeError: 4 of 5 reads gave what is there"}
