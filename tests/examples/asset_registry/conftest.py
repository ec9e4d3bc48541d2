from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.events.v1.asset_events_pb2 import AssetCreated, AssetDeploymentCreated
from cqc.events.v1.venue_events_pb2 import VenueAssetListed
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.testing import Running, running
from chassis.testing.servers import DatabaseForTest, KeyspaceForTest
from examples.asset_registry.service import AssetRegistry
from tests.examples.registry_database import kept_registry_database, registry_database

if TYPE_CHECKING:
    from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryAsyncStub


__all__ = ["kept_registry_database", "registry_database"]


@pytest.fixture
def servers(registry_database: DatabaseForTest, redis_keyspace: KeyspaceForTest) -> dict[str, object]:
    """Where the registry's database and cache are. Its events stay in its process: the tests hear them there."""
    return {**registry_database.overrides, **redis_keyspace.overrides, "cache.required": False}


@pytest.fixture
async def registry(servers: dict[str, object]) -> AsyncIterator[Running[AssetRegistry]]:
    sizes = {"settings.default_page_size": 3, "settings.max_page_size": 5}
    async with running(AssetRegistry, {**servers, **sizes}) as service:
        yield service


@pytest.fixture
def stub(registry: Running[AssetRegistry]) -> AssetRegistryAsyncStub:
    return AssetRegistryStub(registry.channel())


@pytest.fixture
async def events(registry: Running[AssetRegistry]) -> asyncio.Queue[Any]:
    """What the registry publishes, as others see it."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(event: Any) -> None:
        queue.put_nowait(event)

    for event_type in (AssetCreated, AssetDeploymentCreated, VenueAssetListed):
        await registry.service.bus.subscribe(event_type, hear)
    return queue


class Given:
    """Records to begin with, by the registry's own methods."""

    def __init__(self, stub: AssetRegistryAsyncStub) -> None:
        self._stub = stub

    async def asset(self, symbol: str = "BTC", name: str | None = None, **fields: Any) -> Asset:
        request = {"asset_type": AssetType.ASSET_TYPE_NATIVE, "name": name or f"Name of {symbol}", **fields}
        return (await self._stub.CreateAsset(pb.CreateAssetRequest(symbol=symbol, **request))).asset

    async def chain(self, number: int | None = 1, name: str | None = None, **fields: Any) -> Chain:
        request = pb.CreateChainRequest(chain_id=number, name=name or f"Chain {number}", **fields)
        return (await self._stub.CreateChain(request)).chain

    async def venue(self, name: str = "Kraken", **fields: Any) -> Venue:
        request = {"venue_type": VenueType.VENUE_TYPE_CEX, **fields}
        return (await self._stub.CreateVenue(pb.CreateVenueRequest(name=name, **request))).venue


@pytest.fixture
def given(stub: AssetRegistryAsyncStub) -> Given:
    return Given(stub)
