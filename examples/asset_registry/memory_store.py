from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.errors import NotFound
from examples.asset_registry.store import (
    AssetFilter,
    Position,
    already_exists,
    changed,
    in_use,
    venue_asset_key,
)

R = TypeVar("R", Asset, AssetDeployment, Chain, Venue, VenueAsset)


class MemoryStore:
    """An `AssetStore` in the memory of the process: gone when it ends, and for tests and first steps.

    Nothing in it waits, so every method is one step on the event loop.

    >>> import asyncio
    >>> store = MemoryStore()
    >>> asyncio.run(store.add_chain(Chain(chain_id="1", chain_name="Ethereum")))
    >>> asyncio.run(store.chain("1")).chain_name
    'Ethereum'
    """

    def __init__(self) -> None:
        self._assets: Table[Asset] = Table(
            lambda asset: asset.asset_id, lambda asset: (asset.symbol.lower(), asset.name.lower())
        )
        self._chains: Table[Chain] = Table(lambda chain: chain.chain_id, lambda chain: chain.chain_name.lower())
        self._deployments: Table[AssetDeployment] = Table(
            lambda deployment: deployment.deployment_id,
            lambda deployment: (deployment.chain_id, _comparable(deployment.address)),
        )
        self._venues: Table[Venue] = Table(
            lambda venue: venue.venue_id, lambda venue: (venue.name.lower(), venue.chain_id)
        )
        self._venue_assets: Table[VenueAsset] = Table(lambda listing: (listing.venue_id, listing.asset_id))

    async def add_asset(self, asset: Asset) -> None:
        self._assets.add(asset)

    async def asset(self, asset_id: str) -> Asset:
        return _found(self._assets, "asset", asset_id)

    async def update_asset(self, asset_id: str, changes: Asset) -> Asset:
        asset = changed(_found(self._assets, "asset", asset_id), changes)
        self._assets.replace(asset)
        return asset

    async def delete_asset(self, asset_id: str) -> None:
        _found(self._assets, "asset", asset_id)
        if (
            any(deployment.asset_id == asset_id for deployment in self._deployments)
            or any(listing.asset_id == asset_id for listing in self._venue_assets)
            or any(chain.native_asset_id == asset_id for chain in self._chains)
        ):
            raise in_use(asset_id)
        self._assets.remove(asset_id)

    async def assets(self, matching: AssetFilter, *, after: Position | None = None, limit: int) -> list[Asset]:
        behind = [
            asset for asset in self._assets if _matches(asset, matching) and (not after or Position.of(asset) > after)
        ]
        return _copies(sorted(behind, key=Position.of)[:limit])

    async def count_assets(self, matching: AssetFilter) -> int:
        return sum(_matches(asset, matching) for asset in self._assets)

    async def search_assets(self, text: str, *, limit: int) -> list[Asset]:
        wanted = text.lower()

        def rank(asset: Asset) -> tuple[bool, bool, bool, str, str]:
            symbol, name = asset.symbol.lower(), asset.name.lower()
            return symbol != wanted, not symbol.startswith(wanted), not name.startswith(wanted), symbol, name

        found = [asset for asset in self._assets if wanted in asset.symbol.lower() or wanted in asset.name.lower()]
        return _copies(sorted(found, key=rank)[:limit])

    async def native_asset_id(self, symbol: str) -> str | None:
        ids = [
            asset.asset_id
            for asset in self._assets
            if asset.asset_type == AssetType.ASSET_TYPE_NATIVE and asset.symbol.lower() == symbol.lower()
        ]
        return ids[0] if len(ids) == 1 else None

    async def add_deployment(self, deployment: AssetDeployment, *, native: bool) -> None:
        _found(self._assets, "asset", deployment.asset_id)
        chain = _found(self._chains, "chain", deployment.chain_id)
        self._deployments.add(deployment)
        if native and not chain.native_asset_id:
            chain.native_asset_id = deployment.asset_id
            self._chains.replace(chain)

    async def deployment(self, deployment_id: str) -> AssetDeployment:
        return _found(self._deployments, "deployment", deployment_id)

    async def deployments(self, asset_id: str | None, chain_id: str | None, *, limit: int) -> list[AssetDeployment]:
        matching = [
            deployment
            for deployment in self._deployments
            if asset_id in (None, deployment.asset_id) and chain_id in (None, deployment.chain_id)
        ]
        matching.sort(key=lambda deployment: (deployment.created_at.ToMicroseconds(), deployment.deployment_id))
        return _copies(matching[:limit])

    async def add_chain(self, chain: Chain) -> None:
        if chain.native_asset_id:
            _found(self._assets, "asset", chain.native_asset_id)
        self._chains.add(chain)

    async def chain(self, chain_id: str) -> Chain:
        return _found(self._chains, "chain", chain_id)

    async def chains(self, chain_type: str | None, *, limit: int) -> list[Chain]:
        matching = [chain for chain in self._chains if chain_type in (None, chain.chain_type)]
        return _copies(sorted(matching, key=lambda chain: chain.chain_name.lower())[:limit])

    async def add_venue(self, venue: Venue) -> None:
        if venue.chain_id:
            _found(self._chains, "chain", venue.chain_id)
        self._venues.add(venue)

    async def venue(self, venue_id: str) -> Venue:
        return _found(self._venues, "venue", venue_id)

    async def venues(self, venue_type: VenueType.ValueType | None, chain_id: str | None, *, limit: int) -> list[Venue]:
        matching = [
            venue
            for venue in self._venues
            if venue_type in (None, venue.venue_type) and chain_id in (None, venue.chain_id)
        ]
        matching.sort(key=lambda venue: (venue.created_at.ToMicroseconds(), venue.venue_id))
        return _copies(matching[:limit])

    async def add_venue_asset(self, venue_asset: VenueAsset) -> None:
        _found(self._venues, "venue", venue_asset.venue_id)
        _found(self._assets, "asset", venue_asset.asset_id)
        if venue_asset.deployment_id:
            _found(self._deployments, "deployment", venue_asset.deployment_id)
        self._venue_assets.add(venue_asset)

    async def venue_asset(self, venue_id: str, asset_id: str) -> VenueAsset:
        listing = self._venue_assets.get((venue_id, asset_id))
        if listing is None:
            raise NotFound.of("venue asset", venue_asset_key(venue_id, asset_id))
        return listing

    async def venue_assets(self, venue_id: str | None, asset_id: str | None, *, limit: int) -> list[VenueAsset]:
        matching = [
            listing
            for listing in self._venue_assets
            if venue_id in (None, listing.venue_id) and asset_id in (None, listing.asset_id)
        ]
        matching.sort(key=lambda listing: (listing.listed_at.ToMicroseconds(), listing.venue_id, listing.asset_id))
        return _copies(matching[:limit])


class Table(Generic[R]):
    """Records of one type, found by their id and unique by further keys; gives out copies, and keeps copies."""

    def __init__(self, identify: Callable[[R], Hashable], *unique: Callable[[R], Hashable]) -> None:
        self._identify: Callable[[R], Hashable] = identify
        self._unique: list[tuple[Callable[[R], Hashable], dict[Hashable, Hashable]]] = [(key, {}) for key in unique]
        self._rows: dict[Hashable, R] = {}

    def __iter__(self) -> Iterator[R]:
        """Go through the rows themselves: to be read here, and copied before anybody else gets them."""
        return iter(self._rows.values())

    def get(self, key: Hashable) -> R | None:
        row = self._rows.get(key)
        return None if row is None else _copy(row)

    def add(self, record: R) -> None:
        if self._identify(record) in self._rows:
            raise already_exists(record)
        self.replace(record)

    def replace(self, record: R) -> None:
        key = self._identify(record)
        if any(taken.get(key_of(record), key) != key for key_of, taken in self._unique):
            raise already_exists(record)
        self.remove(key)
        self._rows[key] = _copy(record)
        for key_of, taken in self._unique:
            taken[key_of(record)] = key

    def remove(self, key: Hashable) -> None:
        if key in self._rows:
            row = self._rows.pop(key)
            for key_of, taken in self._unique:
                del taken[key_of(row)]


def _copy(record: R) -> R:
    copy = type(record)()
    copy.CopyFrom(record)
    return copy


def _copies(records: list[R]) -> list[R]:
    return [_copy(record) for record in records]


def _found(table: Table[R], noun: str, key: str) -> R:
    record = table.get(key)
    if record is None:
        raise NotFound.of(noun, key)
    return record


def _matches(asset: Asset, matching: AssetFilter) -> bool:
    return matching.asset_type in (None, asset.asset_type) and matching.category in (None, asset.category)


def _comparable(address: str) -> str:
    return address.lower() if address[:2].lower() == "0x" else address
