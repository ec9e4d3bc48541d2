"""What the registry keeps in Redis, for how long, and what becomes of it; the rest is in tests/contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue
from redis.asyncio import Redis

from chassis.cache import Cache
from chassis.cache.redis import RedisBackend
from chassis.errors import FailedPrecondition, NotFound, Temporary
from chassis.testing.servers import KeyspaceForTest
from examples.asset_registry.cached_store import LISTING_TTL, RECORD_TTL, CachedStore
from examples.asset_registry.memory_store import MemoryStore
from tests.proxy import Proxy

BITCOIN = Asset(asset_id="a-1", symbol="BTC", name="Bitcoin")
ETHEREUM = Chain(chain_id="1", chain_name="Ethereum")
KRAKEN = Venue(venue_id="v-1", name="Kraken")
LISTING = VenueAsset(venue_id="v-1", asset_id="a-1", venue_asset_symbol="XXBT")
NATIVE = AssetDeployment(deployment_id="d-1", asset_id="a-1", chain_id="1")


XBT = Asset(asset_id="a-1", symbol="XBT", name="Bitcoin")


class Counting(MemoryStore):
    """Counts how often it is asked for an asset."""

    asked = 0

    async def asset(self, asset_id: str) -> Asset:
        self.asked += 1
        return await super().asset(asset_id)


@pytest.fixture
async def behind() -> Counting:
    store = Counting()
    await store.add_asset(BITCOIN)
    await store.add_chain(ETHEREUM)
    await store.add_venue(KRAKEN)
    await store.add_venue_asset(LISTING)
    return store


@pytest.fixture
async def proxy(redis_keyspace: KeyspaceForTest) -> AsyncIterator[Proxy]:
    async with Proxy(redis_keyspace.host, redis_keyspace.port) as proxy:
        yield proxy


@pytest.fixture
async def cache(redis_keyspace: KeyspaceForTest, proxy: Proxy) -> AsyncIterator[Cache]:
    cache = Cache(
        RedisBackend(proxy.host, proxy.port, password=redis_keyspace.password, db=redis_keyspace.db, timeout=0.5)
    )
    await cache.start()
    yield cache
    await cache.stop()


@pytest.fixture
def store(behind: Counting, cache: Cache) -> CachedStore:
    return CachedStore(behind, cache)


@pytest.fixture
async def redis(redis_keyspace: KeyspaceForTest) -> AsyncIterator[Any]:
    """What is really there."""
    client = Redis.from_url(redis_keyspace.url.reveal())
    yield client
    await client.aclose()


async def test_records_lie_under_the_keys_of_the_go_registry_for_as_long_as_there(
    store: CachedStore, redis: Any
) -> None:
    for read in (store.asset("a-1"), store.chain("1"), store.venue("v-1"), store.venue_asset("v-1", "a-1")):
        await read
    kept = {key: (await redis.get(key), await redis.pttl(key)) for key in await redis.keys("*")}
    expected = {
        b"asset:a-1": (BITCOIN, RECORD_TTL),
        b"chain:1": (ETHEREUM, RECORD_TTL),
        b"venue:v-1": (KRAKEN, RECORD_TTL),
        b"venue_asset:v-1:a-1": (LISTING, LISTING_TTL),
    }
    assert kept.keys() == expected.keys()
    for key, (record, seconds) in expected.items():
        value, left = kept[key]
        assert type(record).FromString(value) == record
        assert seconds * 1000 - 60_000 < left <= seconds * 1000
    assert (RECORD_TTL, LISTING_TTL) == (3600, 900)


async def test_what_is_in_the_cache_is_not_asked_of_the_store(store: CachedStore, behind: Counting) -> None:
    assert [await store.asset("a-1") for _ in range(3)] == [BITCOIN] * 3
    assert behind.asked == 1


async def test_of_many_who_miss_an_asset_at_once_one_asks_the_store(store: CachedStore, behind: Counting) -> None:
    assert await asyncio.gather(*(store.asset("a-1") for _ in range(50))) == [BITCOIN] * 50
    assert behind.asked == 1


async def test_what_is_not_there_is_not_remembered(store: CachedStore, redis: Any) -> None:
    with pytest.raises(NotFound, match=r"^asset not found: a-2$"):
        await store.asset("a-2")
    assert await redis.keys("*") == []
    await store.add_asset(Asset(asset_id="a-2", symbol="ETH", name="Ether"))
    assert (await store.asset("a-2")).symbol == "ETH"


async def test_a_change_is_seen_at_once_also_by_other_instances(
    store: CachedStore, behind: Counting, cache: Cache
) -> None:
    other = CachedStore(behind, cache)
    await other.asset("a-1")
    await store.update_asset("a-1", Asset(symbol="XBT"))
    assert (await other.asset("a-1")).symbol == (await store.asset("a-1")).symbol == "XBT"


async def test_what_was_deleted_is_gone(store: CachedStore, behind: Counting, redis: Any) -> None:
    await behind.add_asset(Asset(asset_id="a-2", symbol="ETH", name="Ether"))
    await store.asset("a-2")
    await store.delete_asset("a-2")
    assert await redis.keys("*") == []
    with pytest.raises(NotFound):
        await store.asset("a-2")


async def test_the_native_deployment_of_a_chain_is_a_change_of_the_chain(store: CachedStore) -> None:
    await store.chain("1")
    await store.add_deployment(NATIVE, native=True)
    assert (await store.chain("1")).native_asset_id == "a-1"


async def test_another_deployment_leaves_the_chain_where_it_is(store: CachedStore, redis: Any) -> None:
    await store.chain("1")
    await store.add_deployment(NATIVE, native=False)
    assert await redis.keys("*") == [b"chain:1"]


class Unanswering(Counting):
    """Stores what it is told, and does not live to say so."""

    async def update_asset(self, asset_id: str, changes: Asset) -> Asset:
        await super().update_asset(asset_id, changes)
        raise Temporary("the database is not available right now")


async def test_a_change_of_which_nobody_knows_whether_it_was_stored_is_not_hidden_by_the_cache(cache: Cache) -> None:
    behind = Unanswering()
    await behind.add_asset(BITCOIN)
    store = CachedStore(behind, cache)
    await store.asset("a-1")
    with pytest.raises(Temporary):
        await store.update_asset("a-1", Asset(symbol="XBT"))
    assert (await store.asset("a-1")).symbol == "XBT"


async def test_an_error_of_the_store_is_told_as_it_is(store: CachedStore) -> None:
    with pytest.raises(FailedPrecondition, match=r"^asset a-1 is in use"):
        await store.delete_asset("a-1")


def take_away(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.reset()


async def test_without_a_cache_all_goes_on(store: CachedStore, proxy: Proxy) -> None:
    take_away(proxy)
    assert await store.asset("a-1") == BITCOIN
    assert (await store.update_asset("a-1", Asset(symbol="XBT"))).symbol == "XBT"
    assert (await store.asset("a-1")).symbol == "XBT"
    await store.add_deployment(NATIVE, native=True)
    assert (await store.chain("1")).native_asset_id == "a-1"


async def test_what_was_changed_while_the_cache_was_away_is_not_read_from_it_when_it_is_back(
    store: CachedStore, proxy: Proxy, redis: Any
) -> None:
    await store.asset("a-1")
    take_away(proxy)
    await store.update_asset("a-1", Asset(symbol="XBT"))
    await proxy.heal()
    assert Asset.FromString(await redis.get("asset:a-1")).symbol == "BTC"
    assert (await store.asset("a-1")).symbol == "XBT"
    # Sooner or later the cache is reached again, and what it has is right.
    async with asyncio.timeout(10):
        while await redis.get("asset:a-1") != XBT.SerializeToString():
            assert await store.asset("a-1") == XBT
