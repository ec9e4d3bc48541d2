"""What a cache promises, over every backend."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import cqc
import pytest
from cqc.assets.v1.asset_pb2 import Asset
from cqc.markets.v1.trade_pb2 import Trade
from cqc.venues.v1.venue_pb2 import Venue
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.cache import Backend, Cache, MemoryBackend, cache_key
from chassis.cache.redis import RedisBackend
from chassis.errors import InvalidInput, NotFound, Temporary
from chassis.metrics import Metrics
from tests.assets import BITCOIN
from tests.contracts.random_messages import random_message

PATIENCE = 20.0
KEY = cache_key("asset", "a-1")


def message_types() -> Iterator[type[Message]]:
    for module in pkgutil.walk_packages(cqc.__path__, "cqc."):
        if module.name.endswith("_pb2"):
            contract = importlib.import_module(module.name)
            for name in contract.DESCRIPTOR.message_types_by_name:
                yield getattr(contract, name)


TYPES = list(message_types())


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    keyspace = request.getfixturevalue("redis_keyspace")
    # Patient: these tests are about what it does, and the machine may be busy.
    patience = {"timeout": PATIENCE, "dial_timeout": PATIENCE}
    return RedisBackend(keyspace.host, keyspace.port, password=keyspace.password, db=keyspace.db, **patience)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("cqar")


@pytest.fixture
async def cache(backend: Backend, metrics: Metrics) -> AsyncIterator[Cache]:
    cache = Cache(backend, metrics=metrics)
    await cache.start()
    yield cache
    await cache.stop()


async def put(cache: Cache, key: str, data: bytes) -> None:
    await cache.backend.set(key.encode(), data, 0, None)


async def until_gone(cache: Cache, key: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await cache.exists(key):
            pass


async def test_what_was_set_is_got(cache: Cache) -> None:
    assert await cache.set(KEY, BITCOIN) is True
    assert await cache.get(KEY, Asset) == BITCOIN


async def test_what_was_never_set_is_a_miss(cache: Cache) -> None:
    assert await cache.get(KEY, Asset) is None
    assert await cache.exists(KEY) is False


async def test_each_reader_gets_a_message_of_its_own(cache: Cache) -> None:
    await cache.set(KEY, BITCOIN)
    first, second = await asyncio.gather(cache.get(KEY, Asset), cache.get(KEY, Asset))
    assert first is not None
    first.symbol = "changed"
    assert second == await cache.get(KEY, Asset) == BITCOIN


async def test_a_later_value_replaces_an_earlier_one(cache: Cache) -> None:
    await cache.set(KEY, BITCOIN)
    await cache.set(KEY, Asset(asset_id="a-1", symbol="XBT"))
    found = await cache.get(KEY, Asset)
    assert found is not None
    assert found.symbol == "XBT"


async def test_a_message_without_any_field_set_is_kept_too(cache: Cache) -> None:
    await cache.set(KEY, Asset())
    assert await cache.get(KEY, Asset) == Asset()
    assert await cache.exists(KEY) is True


async def test_deletion_says_how_many_there_were(cache: Cache) -> None:
    for key in ("asset:1", "asset:2"):
        await cache.set(key, BITCOIN)
    assert await cache.delete("asset:1", "asset:2", "asset:3") == 2
    assert await cache.delete("asset:1") == 0
    assert await cache.get("asset:2", Asset) is None
    assert await cache.delete() == 0


async def test_a_value_ends_with_its_time(cache: Cache) -> None:
    await cache.set(KEY, BITCOIN, ttl=0.05)
    await until_gone(cache, KEY)
    assert await cache.get(KEY, Asset) is None


async def test_the_next_value_has_its_own_time(cache: Cache) -> None:
    await cache.set(KEY, BITCOIN, ttl=0.05)
    await cache.set(KEY, BITCOIN, ttl=0)
    await cache.set("asset:short", BITCOIN, ttl=0.1)
    await until_gone(cache, "asset:short")
    assert await cache.exists(KEY) is True


async def test_a_hundred_concurrent_readers_each_get_their_own_value(cache: Cache) -> None:
    messages = {cache_key("asset", number): Asset(asset_id=str(number)) for number in range(100)}
    assert all(await asyncio.gather(*(cache.set(key, message) for key, message in messages.items())))
    found = await asyncio.gather(*(cache.get(key, Asset) for key in (*messages, "asset:none")))
    assert found == [*messages.values(), None]


async def test_everything_at_once_in_one_turn_of_the_loop(cache: Cache) -> None:
    await cache.set("asset:1", BITCOIN)
    got, missed, stored, deleted, there = await asyncio.gather(
        cache.get("asset:1", Asset),
        cache.get("asset:2", Asset),
        cache.set("asset:3", BITCOIN),
        cache.delete("asset:4"),
        cache.exists("asset:5"),
    )
    assert (got, missed, stored, deleted, there) == (BITCOIN, None, True, 0, False)


async def test_readers_who_give_up_do_not_shift_the_answers_of_others(cache: Cache) -> None:
    keys = [cache_key("asset", number) for number in range(50)]
    await asyncio.gather(*(cache.set(key, Asset(asset_id=key)) for key in keys))
    generator = random.Random(7)
    for _ in range(40):
        tasks = [asyncio.ensure_future(cache.get(key, Asset)) for key in keys]
        for _ in range(generator.randrange(4)):
            await asyncio.sleep(0)
        gone = set(generator.sample(range(50), 25))
        for index in gone:
            tasks[index].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for index, (key, result) in enumerate(zip(keys, found, strict=True)):
            if index in gone and isinstance(result, asyncio.CancelledError):
                continue
            assert result == Asset(asset_id=key)


# Values that are none.


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xff", id="garbage"),
        pytest.param(BITCOIN.SerializeToString()[:-3], id="truncated"),
        pytest.param(b'{"asset_id": "a-1"}', id="json"),
        pytest.param(BITCOIN.SerializeToString() + b"\xa2\x06\x03new", id="newer schema"),
        pytest.param(BITCOIN.SerializeToString() * 2, id="twice"),
        pytest.param(b"\x0a\x02\xff\xfe", id="no text"),
        pytest.param(Trade(trade_id="t-1", price=1.5, timestamp={"seconds": 5}).SerializeToString(), id="foreign"),
    ],
)
async def test_a_value_that_is_none_is_a_miss_that_is_counted_and_overwritten(
    cache: Cache, metrics: Metrics, data: bytes
) -> None:
    await put(cache, KEY, data)
    assert await cache.get(KEY, Asset) is None

    async def load() -> Asset:
        return BITCOIN

    assert await cache.get_or_load(KEY, Asset, load) == BITCOIN
    assert await cache.get(KEY, Asset) == BITCOIN
    assert metrics.value("cqar_cache_undecodable_total", entity="asset") == 2
    assert metrics.value("cqar_cache_hit_total", entity="asset") == 1
    assert metrics.value("cqar_cache_miss_total", entity="asset") == 0


async def test_hits_misses_and_what_entity_they_were_of_are_counted(cache: Cache, metrics: Metrics) -> None:
    await cache.set(KEY, BITCOIN)
    await cache.set("venue:v-1", Venue(venue_id="v-1"))
    await cache.get(KEY, Asset)
    await cache.get(KEY, Asset)
    await cache.get("venue:v-2", Venue)
    await cache.get("leader", Asset)
    counted = {
        entity: (
            metrics.value("cqar_cache_hit_total", entity=entity),
            metrics.value("cqar_cache_miss_total", entity=entity),
            metrics.value("cqar_cache_get_error_total", entity=entity),
        )
        for entity in ("asset", "venue", "unknown")
    }
    assert counted == {"asset": (2, 0, 0), "venue": (0, 1, 0), "unknown": (0, 1, 0)}
    assert metrics.value("cqar_cache_operation_duration_seconds_count", operation="get") == 4
    assert metrics.value("cqar_cache_operation_duration_seconds_count", operation="set") == 2


# One load for all who miss.


class Source:
    """Counts how often it is asked, and answers when it is told to."""

    def __init__(self, *, ready: bool = False, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()
        if ready:
            self.opened.set()

    async def __call__(self) -> Asset:
        self.asked += 1
        self.reached.set()
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        return Asset(asset_id=f"load-{self.asked}")


async def test_a_thousand_callers_who_miss_one_hot_key_cause_one_load(cache: Cache) -> None:
    source = Source()
    callers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, source)) for _ in range(1000)]
    await source.reached.wait()
    source.opened.set()
    loaded = await asyncio.gather(*callers)
    assert source.asked == 1
    assert all(message == Asset(asset_id="load-1") for message in loaded)
    assert len({id(message) for message in loaded}) == 1000
    assert await cache.get(KEY, Asset) == Asset(asset_id="load-1")


async def test_the_loaded_value_is_there_for_the_next(cache: Cache) -> None:
    source = Source(ready=True)
    assert await cache.get_or_load(KEY, Asset, source) == await cache.get_or_load(KEY, Asset, source)
    assert source.asked == 1


async def test_a_loader_that_fails_gives_each_caller_its_error_and_is_called_once(cache: Cache) -> None:
    source = Source(error=NotFound.of("asset", "a-1"))
    callers = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, source)) for _ in range(100)]
    await source.reached.wait()
    source.opened.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert source.asked == 1
    assert {str(result) for result in results} == {"asset not found: a-1"}
    assert all(isinstance(result, NotFound) for result in results)
    with pytest.raises(NotFound):
        await cache.get_or_load(KEY, Asset, source)
    assert source.asked == 2
    assert await cache.exists(KEY) is False


async def test_the_first_caller_can_be_cancelled_and_the_others_get_the_value(cache: Cache) -> None:
    source = Source()
    first, *others = [asyncio.ensure_future(cache.get_or_load(KEY, Asset, source)) for _ in range(11)]
    await source.reached.wait()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    source.opened.set()
    assert await asyncio.gather(*others) == [Asset(asset_id="load-1")] * 10
    assert source.asked == 1


async def test_when_the_last_caller_is_gone_the_load_ends(cache: Cache) -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def load() -> Asset:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, load))
    await begun.wait()
    caller.cancel()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    assert await cache.get_or_load(KEY, Asset, Source(ready=True)) == Asset(asset_id="load-1")


@pytest.mark.parametrize("change", ["delete", "set"])
async def test_what_was_loaded_before_a_change_does_not_stay(cache: Cache, metrics: Metrics, change: str) -> None:
    source = Source()
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, source))
    await source.reached.wait()
    if change == "delete":
        await cache.delete(KEY)
    else:
        await cache.set(KEY, BITCOIN)
    source.opened.set()
    assert await caller == Asset(asset_id="load-1")
    assert await cache.get(KEY, Asset) == (None if change == "delete" else BITCOIN)
    assert metrics.value("cqar_cache_skip_total", entity="asset") == 1


async def test_whoever_comes_after_a_change_does_not_get_the_load_from_before_it(cache: Cache) -> None:
    before, after = Source(), Source(ready=True)
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, before))
    await before.reached.wait()
    await cache.delete(KEY)
    assert await cache.get_or_load(KEY, Asset, after) == Asset(asset_id="load-1")
    assert after.asked == 1
    before.opened.set()
    await caller


async def test_a_loader_that_gives_something_else_is_told_what_is_wrong(cache: Cache) -> None:
    async def load() -> Any:
        return None

    with pytest.raises(TypeError, match="gave NoneType where Asset is kept"):
        await cache.get_or_load(KEY, Asset, load)


async def test_a_loader_that_asks_for_what_it_loads_is_told_so(cache: Cache) -> None:
    async def load() -> Asset:
        return await cache.get_or_load(KEY, Asset, load)

    with pytest.raises(RuntimeError, match="never end: asset:a-1 > asset:a-1"):
        await cache.get_or_load(KEY, Asset, load)


async def test_a_loader_may_ask_for_other_entries(cache: Cache) -> None:
    async def load() -> Asset:
        return await cache.get_or_load("asset:base", Asset, Source(ready=True))

    assert await cache.get_or_load(KEY, Asset, load) == Asset(asset_id="load-1")
    assert await cache.get("asset:base", Asset) == Asset(asset_id="load-1")


# Input that cannot be.


@pytest.mark.parametrize("key", ["", "asset:\n1", "asset:\x00", "asset:\ud800", "asset:\u2028"])
async def test_what_cannot_be_a_key_is_refused(cache: Cache, key: str) -> None:
    for ask in (
        cache.get(key, Asset),
        cache.set(key, BITCOIN),
        cache.delete(key),
        cache.exists(key),
        cache.get_or_load(key, Asset, Source(ready=True)),
    ):
        with pytest.raises(InvalidInput):
            await ask


@pytest.mark.parametrize("ttl", [-1, float("inf"), float("nan")])
async def test_a_time_that_makes_no_sense_is_refused(cache: Cache, ttl: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        await cache.set(KEY, BITCOIN, ttl=ttl)


async def test_what_is_no_message_is_refused(cache: Cache) -> None:
    with pytest.raises(TypeError, match="protobuf messages, not dict"):
        await cache.set(KEY, {"asset_id": "a-1"})  # type: ignore[arg-type]


# Its life.


async def test_after_the_stop_reads_miss_and_nothing_is_stored(cache: Cache) -> None:
    await cache.set(KEY, BITCOIN)
    await cache.check()
    await cache.stop()
    assert await cache.get(KEY, Asset) is None
    assert await cache.set(KEY, BITCOIN) is False
    assert await cache.exists(KEY) is False
    assert await cache.get_or_load(KEY, Asset, Source(ready=True)) == Asset(asset_id="load-1")
    with pytest.raises(Temporary, match="did not confirm"):
        await cache.delete(KEY)
    with pytest.raises(Temporary, match="not running"):
        await cache.check()


async def test_it_can_be_started_again(cache: Cache) -> None:
    await cache.stop()
    await cache.start()
    assert await cache.set(KEY, BITCOIN) is True
    assert await cache.get(KEY, Asset) == BITCOIN


async def test_the_stop_ends_loads(cache: Cache) -> None:
    source = Source()
    caller = asyncio.ensure_future(cache.get_or_load(KEY, Asset, source))
    await source.reached.wait()
    await cache.stop()
    with pytest.raises(Temporary, match="was not loaded"):
        await caller


# All that CQC has, with random content.


def test_the_types_of_the_contract_are_all_there() -> None:
    assert len(TYPES) > 100


async def test_every_message_of_the_contract_comes_back_as_it_was(cache: Cache) -> None:
    generator = random.Random(11)
    messages = {cache_key(cls.DESCRIPTOR.full_name, n): random_message(cls, generator) for cls in TYPES for n in "ab"}
    assert all(await asyncio.gather(*(cache.set(key, message) for key, message in messages.items())))
    found = await asyncio.gather(*(cache.get(key, type(message)) for key, message in messages.items()))
    assert found == list(messages.values())


@given(
    parts=st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])), min_size=1),
    cls=st.sampled_from(TYPES),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=60)
def test_any_message_under_any_key_comes_back_as_it_was(parts: list[str], cls: type[Message], seed: int) -> None:
    key = cache_key("x", *parts)
    message = random_message(cls, random.Random(seed))

    async def there_and_back() -> None:
        cache = Cache(MemoryBackend())
        await cache.start()
        await cache.set(key, message)
        assert await cache.get(key, cls) == message

    asyncio.run(there_and_back())
