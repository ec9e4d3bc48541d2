from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cqc.assets.v1.asset_pb2 import AssetType
from cqc.events.v1.asset_events_pb2 import AssetCreated, AssetDeploymentCreated
from cqc.events.v1.venue_events_pb2 import VenueAssetListed
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

from chassis.auth import from_config
from chassis.testing import Running, running
from chassis.testing.servers import AccountForTest, DatabaseForTest, KeyspaceForTest
from examples.asset_registry.reference import ASSETS, DEPLOYMENTS, LISTINGS, register
from examples.asset_registry.service import AssetRegistry
from examples.listing_watch.service import ListingWatch
from tests.examples.registry_database import kept_registry_database, registry_database

__all__ = ["kept_registry_database", "registry_database"]

EXAMPLES = Path(__file__).parents[3] / "examples"
DEMO_KEY, WATCH_KEY = "demo-key-for-the-tour", "listing-watch-key-for-the-tour"


class Observed(ListingWatch):
    """The service, and how many events it is done with."""

    handled = 0

    async def on_start(self) -> None:
        await super().on_start()
        self.progress = asyncio.Condition()

    async def on_asset_created(self, event: AssetCreated) -> None:
        await super().on_asset_created(event)
        await self._done()

    async def on_deployment_created(self, event: AssetDeploymentCreated) -> None:
        await super().on_deployment_created(event)
        await self._done()

    async def on_listed(self, event: VenueAssetListed) -> None:
        await super().on_listed(event)
        await self._done()

    async def _done(self) -> None:
        async with self.progress:
            self.handled += 1
            self.progress.notify_all()

    async def until(self, count: int) -> None:
        async with self.progress:
            await self.progress.wait_for(lambda: self.handled >= count)


class Platform:
    """The two services beside each other, and a client of both."""

    def __init__(self, registry: Running[AssetRegistry], watch: Running[Observed], http: aiohttp.ClientSession) -> None:
        self.registry = AssetRegistryStub(registry.channel(token=DEMO_KEY))
        self.bus = registry.service.bus
        self.watch = watch.service
        self.url = watch.http_url
        self._http = http

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._http.get(self.url(path), headers={"Authorization": f"Bearer {DEMO_KEY}"}) as response:
            return response.status, await response.json()

    async def create_asset(self, symbol: str, name: str) -> str:
        request = pb.CreateAssetRequest(symbol=symbol, name=name, asset_type=AssetType.ASSET_TYPE_NATIVE)
        return (await self.registry.CreateAsset(request)).asset.asset_id


@dataclass(frozen=True)
class Servers:
    """The servers that both need, and the two services on them."""

    registry_config: dict[str, object]
    watch_config: dict[str, object]

    def registry(self) -> AbstractAsyncContextManager[Running[AssetRegistry]]:
        keys = [f"demo:{DEMO_KEY}", f"listing-watch:{WATCH_KEY}"]
        return running(AssetRegistry, {**self.registry_config, "auth.api_keys": keys})

    def watch(
        self, registry: Running[AssetRegistry], **settings: object
    ) -> AbstractAsyncContextManager[Running[Observed]]:
        known = {"registry_target": registry.service.grpc_address, "registry_key": WATCH_KEY, **settings}
        config = {**self.watch_config, "auth.api_keys": [f"demo:{DEMO_KEY}"]}
        return running(Observed, {**config, **{f"settings.{name}": value for name, value in known.items()}})


@pytest.fixture
def servers(
    registry_database: DatabaseForTest, redis_keyspace: KeyspaceForTest, nats_account: AccountForTest
) -> Servers:
    only_registry = {**registry_database.overrides, **redis_keyspace.overrides, "cache.required": False}
    return Servers({**only_registry, **nats_account.overrides}, {**nats_account.overrides})


RunPlatform = Callable[..., AbstractAsyncContextManager[Platform]]


@pytest.fixture
def running_platform(servers: Servers) -> RunPlatform:
    """Run both services; settings are those of the watch."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[Platform]:
        async with (
            servers.registry() as registry,
            servers.watch(registry, **settings) as watch,
            aiohttp.ClientSession() as http,
        ):
            yield Platform(registry, watch, http)

    return run


async def test_a_listing_at_the_registry_is_seen_with_its_details(running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        stub = platform.registry
        asset_id = await platform.create_asset("ETH", "Ether")
        chain = (await stub.CreateChain(pb.CreateChainRequest(name="Ethereum", chain_id=1, chain_type="evm"))).chain
        await stub.CreateAssetDeployment(
            pb.CreateAssetDeploymentRequest(asset_id=asset_id, chain_id=chain.chain_id, decimals=18, is_native=True)
        )
        venue = (await stub.CreateVenue(pb.CreateVenueRequest(name="Kraken", venue_type=1))).venue  # type: ignore[arg-type]
        listing = pb.CreateVenueAssetRequest(venue_id=venue.venue_id, asset_id=asset_id, venue_asset_symbol="XETH")
        listed = (await stub.CreateVenueAsset(listing)).venue_asset
        await platform.watch.until(3)

        status, body = await platform.get("/listings")
        assert status == 200
        assert body["total"] == 1
        (sighting,) = body["listings"]
        assert sighting.pop("last_seen").endswith("+00:00")
        assert sighting == {
            "asset_id": asset_id,
            "symbol": "ETH",
            "name": "Ether",
            "deployments": [{"chain": "Ethereum", "chain_type": "evm", "address": None, "decimals": 18}],
            "listings": [{"venue": "Kraken", "symbol": "XETH", "listed_at": listed.listed_at.ToJsonString()}],
        }
        status, alone = await platform.get(f"/listings/{asset_id}")
        assert (status, alone["symbol"]) == (200, "ETH")


async def test_the_whole_reference_set_arrives(running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        await register(platform.registry)
        await platform.watch.until(len(ASSETS) + len(DEPLOYMENTS) + len(LISTINGS))
        _, body = await platform.get("/listings?limit=500")
        assert {sighting["symbol"] for sighting in body["listings"]} == {asset.symbol for asset in ASSETS}
        _, body = await platform.get("/listings?limit=2")
        assert (len(body["listings"]), body["total"]) == (2, len(ASSETS))


async def test_what_happened_while_it_was_away_is_seen_when_it_is_back(servers: Servers) -> None:
    async with servers.registry() as registry, aiohttp.ClientSession() as http:
        async with servers.watch(registry) as watch:
            await Platform(registry, watch, http).create_asset("BTC", "Bitcoin")
            await watch.service.until(1)
        assert watch.service.handled == 1
        platform = Platform(registry, watch, http)
        await platform.create_asset("ETH", "Ether")
        async with servers.watch(registry) as watch:
            await watch.service.until(1)
            assert [sighting.symbol for sighting in watch.service.sightings.latest(10)] == ["ETH"]


async def test_no_more_assets_are_remembered_than_said(running_platform: RunPlatform) -> None:
    async with running_platform(keep=2) as platform:
        for symbol in ("A", "B", "C"):
            await platform.create_asset(symbol, f"Name of {symbol}")
        await platform.watch.until(3)
        _, body = await platform.get("/listings")
        assert [sighting["symbol"] for sighting in body["listings"]] == ["C", "B"]


async def test_an_event_that_comes_twice_is_seen_once(running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        asset_id = await platform.create_asset("BTC", "Bitcoin")
        event = AssetCreated(asset={"asset_id": asset_id})  # type: ignore[arg-type]
        await platform.bus.publish(event)
        await platform.watch.until(2)
        assert (await platform.get("/listings"))[1]["total"] == 1


async def test_an_asset_that_is_gone_by_now_is_not_shown_and_holds_nothing_up(running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        await platform.bus.publish(AssetCreated(asset={"asset_id": "gone"}))  # type: ignore[arg-type]
        await platform.create_asset("BTC", "Bitcoin")
        await platform.watch.until(2)
        _, body = await platform.get("/listings")
        assert [sighting["symbol"] for sighting in body["listings"]] == ["BTC"]


async def test_an_asset_that_was_not_seen_is_not_found(running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        status, body = await platform.get("/listings/a-1")
        assert (status, body["error"], body["code"]) == (404, "asset not found: a-1", "NOT_FOUND")


@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "", "1e2", "9" * 5000])
async def test_a_limit_that_is_none_is_refused(limit: str, running_platform: RunPlatform) -> None:
    async with running_platform() as platform:
        status, body = await platform.get(f"/listings?limit={limit}")
        assert (status, body["error"]) == (400, "invalid input for limit: must be a number from 1 to 500")


async def test_nobody_reads_listings_without_a_key(running_platform: RunPlatform) -> None:
    async with running_platform() as platform, aiohttp.ClientSession() as stranger:
        for path in ("/listings", "/listings/a-1"):
            async with stranger.get(platform.url(path)) as response:
                assert response.status == 401
        async with stranger.get(platform.url("/health/ready")) as response:
            assert response.status == 200


def test_its_configuration_is_short_and_fits_that_of_the_registry() -> None:
    file = EXAMPLES / "listing_watch" / "config.yaml"
    assert 10 <= len(file.read_text().splitlines()) <= 20
    config = ListingWatch.configure(file=file, environ={}, dev=True)
    registry = AssetRegistry.configure(file=EXAMPLES / "asset_registry" / "config.yaml", environ={}, dev=True)
    assert config.warnings == ()
    assert config.settings.registry_target == f"127.0.0.1:{registry.server.grpc_port}"
    ports = {section.server.grpc_port for section in (config, registry)}
    assert len(ports | {section.server.http_port for section in (config, registry)}) == 4
    authenticator = from_config(registry.auth)
    assert authenticator is not None
    key = config.settings.registry_key.reveal()
    assert authenticator.authenticate(key).id == config.service.name
