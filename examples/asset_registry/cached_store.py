from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from cqc.assets.v1.asset_pb2 import Asset
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.cache import Cache, cache_key
from chassis.errors import DeadlineExceeded, Temporary
from examples.asset_registry.store import AssetFilter, AssetStore, Position, Record

RECORD_TTL: Final = 60 * 60.0
LISTING_TTL: Final = 15 * 60.0
"""Seconds that entries live; keys, values and these are those of the platform's Go registry, which can share them."""

R = TypeVar("R", bound=Record)


class CachedStore:
    """An `AssetStore` in front of another one: what is looked for by its id is asked of the cache first.

    A change forgets the entry of what it changed. While the cache does not answer, changes are made all the same, and
    this instance reads what it changed past the cache until that has forgotten it. Other instances, and those that
    read a record while it was being changed, may see it as it was for as long as entries live, and no longer.
    """

    def __init__(self, store: AssetStore, cache: Cache) -> None:
        self._store = store
        self._cache = cache
        self._outdated: dict[str, object] = {}

    # Through the cache.

    async def asset(self, asset_id: str) -> Asset:
        key = cache_key("asset", asset_id)
        return await self._read(key, Asset, lambda: self._store.asset(asset_id), RECORD_TTL)

    async def chain(self, chain_id: str) -> Chain:
        key = cache_key("chain", chain_id)
        return await self._read(key, Chain, lambda: self._store.chain(chain_id), RECORD_TTL)

    async def venue(self, venue_id: str) -> Venue:
        key = cache_key("venue", venue_id)
        return await self._read(key, Venue, lambda: self._store.venue(venue_id), RECORD_TTL)

    async def venue_asset(self, venue_id: str, asset_id: str) -> VenueAsset:
        key = cache_key("venue_asset", venue_id, asset_id)
        return await self._read(key, VenueAsset, lambda: self._store.venue_asset(venue_id, asset_id), LISTING_TTL)

    async def _read(self, key: str, message_type: type[R], load: Callable[[], Awaitable[R]], ttl: float) -> R:
        if key in self._outdated and not await self._forget():
            return await load()
        return await self._cache.get_or_load(key, message_type, load, ttl)

    # Changes of what may be in it.

    async def update_asset(self, asset_id: str, changes: Asset) -> Asset:
        async with self._changing("asset", asset_id):
            return await self._store.update_asset(asset_id, changes)

    async def delete_asset(self, asset_id: str) -> None:
        async with self._changing("asset", asset_id):
            await self._store.delete_asset(asset_id)

    async def add_deployment(self, deployment: AssetDeployment, *, native: bool) -> None:
        if native:
            async with self._changing("chain", deployment.chain_id):
                await self._store.add_deployment(deployment, native=True)
        else:
            await self._store.add_deployment(deployment, native=False)

    @asynccontextmanager
    async def _changing(self, prefix: str, key: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Also where it failed: what timed out may have been stored all the same.
            self._outdated[cache_key(prefix, key)] = object()
            await self._forget()

    async def _forget(self) -> bool:
        """Have the cache forget what is outdated; False where it did not confirm that, which it has told in the log."""
        forgotten = dict(self._outdated)
        try:
            await self._cache.delete(*forgotten)
        except (Temporary, DeadlineExceeded):
            return False
        for key, change in forgotten.items():
            # Not if it was changed once more meanwhile.
            if self._outdated.get(key) is change:
                del self._outdated[key]
        return True

    # Past it.

    async def add_asset(self, asset: Asset) -> None:
        await self._store.add_asset(asset)

    async def assets(self, matching: AssetFilter, *, after: Position | None = None, limit: int) -> list[Asset]:
        return await self._store.assets(matching, after=after, limit=limit)

    async def count_assets(self, matching: AssetFilter) -> int:
        return await self._store.count_assets(matching)

    async def search_assets(self, text: str, *, limit: int) -> list[Asset]:
        return await self._store.search_assets(text, limit=limit)

    async def native_asset_id(self, symbol: str) -> str | None:
        return await self._store.native_asset_id(symbol)

    async def deployment(self, deployment_id: str) -> AssetDeployment:
        return await self._store.deployment(deployment_id)

    async def deployments(self, asset_id: str | None, chain_id: str | None, *, limit: int) -> list[AssetDeployment]:
        return await self._store.deployments(asset_id, chain_id, limit=limit)

    async def add_chain(self, chain: Chain) -> None:
        await self._store.add_chain(chain)

    async def chains(self, chain_type: str | None, *, limit: int) -> list[Chain]:
        return await self._store.chains(chain_type, limit=limit)

    async def add_venue(self, venue: Venue) -> None:
        await self._store.add_venue(venue)

    async def venues(self, venue_type: VenueType.ValueType | None, chain_id: str | None, *, limit: int) -> list[Venue]:
        return await self._store.venues(venue_type, chain_id, limit=limit)

    async def add_venue_asset(self, venue_asset: VenueAsset) -> None:
        await self._store.add_venue_asset(venue_asset)

    async def venue_assets(self, venue_id: str | None, asset_id: str | None, *, limit: int) -> list[VenueAsset]:
        return await self._store.venue_assets(venue_id, asset_id, limit=limit)
