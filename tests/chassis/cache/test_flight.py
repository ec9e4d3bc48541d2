"""Loads beside other things that happen to their entry, and loads that wait for loads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from google.protobuf.wrappers_pb2 import StringValue

from chassis.cache import BackendFailure, Cache, MemoryBackend
from chassis.metrics import Metrics
from tests.assets import BITCOIN

KEY = "asset:a-1"
NEW = Asset(asset_id="a-1", symbol="XBT")

Loader = Callable[[], Coroutine[Any, Any, Asset]]


class SlowToStore(MemoryBackend):
    """Has a value only when it is told to: what is asked on another connection meanwhile is done before."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.arrives = asyncio.Event(), asyncio.Event()
        self.deletes = True

    async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
        self.sent.set()
        # As a command that was sent: who waits for its answer can be cancelled, and it arrives all the same.
        self.arriving = asyncio.ensure_future(self._arrive(key, value, ttl))
        await asyncio.shield(self.arriving)

    async def _arrive(self, key: bytes, value: bytes, ttl: float) -> None:
        await self.arrives.wait()
        await super().set(key, value, ttl, None)

    async def delete(self, keys: Sequence[bytes], timeout: float | None) -> int:
        if not self.deletes:
            raise BackendFailure("it is on fire")
        return await super().delete(keys, timeout)


async def made(backend: MemoryBackend, metrics: Metrics | None = None) -> Cache:
    cache = Cache(backend, metrics=metrics)
    await cache.start()
    return cache


async def load() -> Asset:
    return BITCOIN


async def loaded(cache: Cache) -> None:
    """Wait until the loads that are under way have ended."""
    if loads := {*cache._flights._loads._tasks}:
        await asyncio.wait(loads)


# Changes while a value is on its way into the cache.


@pytest.mark.parametrize("change", ["delete", "set"])
async def test_what_was_changed_while_it_was_being_stored_does_not_stay(change: str) -> None:
    metrics = Metrics("cqar")
    backend = SlowToStore()
    cache = await made(backend, metrics)
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, load))
    await backend.sent.wait()
    if change == "delete":
        assert await cache.delete(KEY) == 0
        changing = None
    else:
        backend.sent.clear()
        changing = asyncio.ensure_future(cache.set(KEY, NEW))
        await backend.sent.wait()
    backend.arrives.set()
    assert await caller == BITCOIN
    if changing is not None:
        await changing
    assert await cache.get(KEY, Asset) != BITCOIN
    assert metrics.value("cqar_cache_skip_total", entity="asset") == 1


async def test_a_value_on_its_way_into_the_cache_is_taken_back_also_where_its_caller_is_gone() -> None:
    backend = SlowToStore()
    cache = await made(backend)
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, load))
    await backend.sent.wait()
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    await cache.delete(KEY)
    backend.arrives.set()
    await backend.arriving
    await loaded(cache)
    assert await cache.get(KEY, Asset) is None


async def test_a_value_that_could_not_be_taken_back_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("cqar")
    backend = SlowToStore()
    cache = await made(backend, metrics)
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, load))
    await backend.sent.wait()
    await cache.delete(KEY)
    backend.deletes = False
    backend.arrives.set()
    assert await caller == BITCOIN
    assert metrics.value("cqar_cache_delete_error_total", entity="asset") == 1
    assert "it is on fire" in caplog.text


async def test_a_load_that_does_not_notice_that_nobody_waits_is_not_kept() -> None:
    cache = await made(MemoryBackend())
    begun, go = asyncio.Event(), asyncio.Event()

    async def deaf() -> Asset:
        begun.set()
        try:
            await go.wait()
        except asyncio.CancelledError:
            await go.wait()
        return BITCOIN

    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, deaf))
    await begun.wait()
    caller.cancel()
    await asyncio.wait({caller})
    await cache.delete(KEY)
    go.set()
    await loaded(cache)
    assert await cache.get(KEY, Asset) is None


async def test_a_load_beside_one_of_another_type_is_not_kept_where_its_entry_was_deleted() -> None:
    cache = await made(MemoryBackend())
    begun, go = [asyncio.Event(), asyncio.Event()], asyncio.Event()

    async def first() -> Asset:
        begun[0].set()
        await go.wait()
        return BITCOIN

    async def second() -> StringValue:
        begun[1].set()
        await go.wait()
        return StringValue()

    callers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, first))]
    await begun[0].wait()
    callers.append(asyncio.ensure_future(cache.get_or_load(KEY, StringValue, second)))
    await begun[1].wait()
    await cache.delete(KEY)
    go.set()
    assert await asyncio.gather(*callers) == [BITCOIN, StringValue()]
    assert not await cache.exists(KEY)


# Loads that wait for loads.


def asking(cache: Cache, key: str, loader: Loader) -> Loader:
    async def ask() -> Asset:
        return await cache.get_or_load(key, Asset, loader)

    return ask


async def test_loaders_that_ask_for_one_another_are_told_so_and_leave_nothing_behind() -> None:
    cache = await made(MemoryBackend())

    async def of_a() -> Asset:
        return await cache.get_or_load("asset:b", Asset, of_b)

    async def of_b() -> Asset:
        return await cache.get_or_load("asset:a", Asset, of_a)

    with pytest.raises(RuntimeError, match="asset:b > asset:a > asset:b"):
        await cache.get_or_load("asset:a", Asset, of_a)
    await loaded(cache)
    assert len(cache._flights) == 0
    assert await cache.get_or_load("asset:a", Asset, load) == BITCOIN


async def test_loads_that_two_calls_began_and_that_wait_for_one_another_are_told_so() -> None:
    cache = await made(MemoryBackend())
    both = asyncio.Barrier(2)

    def after_both(key: str) -> Loader:
        async def ask() -> Asset:
            await both.wait()
            return await cache.get_or_load(key, Asset, load)

        return ask

    results = await asyncio.gather(
        cache.get_or_load("asset:a", Asset, after_both("asset:b")),
        cache.get_or_load("asset:b", Asset, after_both("asset:a")),
        return_exceptions=True,
    )
    # The one who would have closed the circle is told, and with it who waits for that.
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]


async def test_a_loader_that_asks_for_what_it_loads_in_a_task_of_its_own_is_told_so() -> None:
    cache = await made(MemoryBackend())

    async def in_a_task() -> Asset:
        return await asyncio.create_task(in_a_circle())

    in_a_circle = asking(cache, KEY, in_a_task)
    with pytest.raises(RuntimeError, match="asset:a-1 > asset:a-1"):
        await in_a_circle()


async def test_loaders_that_share_what_they_ask_for_are_no_circle() -> None:
    cache = await made(MemoryBackend())
    begun, go = asyncio.Event(), asyncio.Event()
    loads = []

    async def base() -> Asset:
        loads.append("base")
        begun.set()
        await go.wait()
        return BITCOIN

    of_base = asking(cache, "asset:base", base)

    async def twice() -> Asset:
        first, _ = await asyncio.gather(of_base(), of_base())
        return first

    callers = [
        asyncio.ensure_future(cache.get_or_load("asset:a", Asset, twice)),
        asyncio.ensure_future(cache.get_or_load("asset:b", Asset, asking(cache, "asset:a", twice))),
        asyncio.ensure_future(of_base()),
    ]
    await begun.wait()
    go.set()
    assert await asyncio.gather(*callers) == [BITCOIN] * 3
    assert loads == ["base"]
