from __future__ import annotations

import re

from aiohttp import web
from cqc.assets.v1.asset_pb2 import Asset
from cqc.events.v1.asset_events_pb2 import AssetCreated, AssetDeploymentCreated
from cqc.events.v1.venue_events_pb2 import VenueAssetListed
from cqc.services.v1.asset_registry_pb2 import GetAssetRequest, GetChainRequest, GetVenueRequest
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

from chassis import ServiceChassis
from chassis.bus import subscribe
from chassis.errors import InvalidInput, NotFound
from examples.listing_watch.settings import WatchSettings
from examples.listing_watch.sightings import Sighting, Sightings

MAX_LISTED = 500
LIMIT = re.compile(r"[0-9]{1,9}")


class ListingWatch(ServiceChassis):
    """Watches what the registry says is new, and shows it: `GET /listings` and `GET /listings/{asset_id}`.

    >>> ListingWatch.name, ListingWatch.uses
    ('listing-watch', ('bus',))
    """

    name = "listing-watch"
    version = "1.0.0"
    env_prefix = "LISTING_WATCH"
    uses = ("bus",)
    Settings = WatchSettings

    async def on_start(self) -> None:
        settings: WatchSettings = self.config.settings
        self.sightings = Sightings(settings.keep)
        self.registry = AssetRegistryStub(
            self.channel(settings.registry_target, token=settings.registry_key.reveal() or None)
        )

    @subscribe(AssetCreated)
    async def on_asset_created(self, event: AssetCreated) -> None:
        await self.see(event.asset.asset_id)

    @subscribe(AssetDeploymentCreated)
    async def on_deployment_created(self, event: AssetDeploymentCreated) -> None:
        deployment = event.deployment
        chain = (await self.registry.GetChain(GetChainRequest(chain_id=deployment.chain_id))).chain
        if sighting := await self.see(deployment.asset_id):
            sighting.deployments[deployment.deployment_id] = {
                "chain": chain.chain_name,
                "chain_type": chain.chain_type,
                "address": deployment.address or None,
                "decimals": deployment.decimals,
            }

    @subscribe(VenueAssetListed)
    async def on_listed(self, event: VenueAssetListed) -> None:
        listing = event.venue_asset
        venue = (await self.registry.GetVenue(GetVenueRequest(venue_id=listing.venue_id))).venue
        if sighting := await self.see(listing.asset_id):
            sighting.listings[listing.venue_id] = {
                "venue": venue.name,
                "symbol": listing.venue_asset_symbol or sighting.symbol,
                "listed_at": listing.listed_at.ToJsonString(),
            }
            self.log.info("listed", symbol=sighting.symbol, venue=venue.name)

    async def see(self, asset_id: str) -> Sighting | None:
        """Ask the registry what the asset is called today; None if it is gone since, and there is nothing to show."""
        try:
            asset: Asset = (await self.registry.GetAsset(GetAssetRequest(asset_id=asset_id))).asset
        except NotFound:
            self.log.info("gone before it was seen", asset_id=asset_id)
            return None
        return self.sightings.see(asset_id, symbol=asset.symbol, name=asset.name)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/listings", self.get_listings)
        app.router.add_get("/listings/{asset_id}", self.get_listing)

    async def get_listings(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "50")
        if not LIMIT.fullmatch(limit) or not 1 <= int(limit) <= MAX_LISTED:
            raise InvalidInput.field("limit", f"must be a number from 1 to {MAX_LISTED}")
        latest = self.sightings.latest(int(limit))
        return web.json_response(
            {"listings": [sighting.as_json() for sighting in latest], "total": len(self.sightings)}
        )

    async def get_listing(self, request: web.Request) -> web.Response:
        asset_id = request.match_info["asset_id"]
        sighting = self.sightings.get(asset_id)
        if sighting is None:
            raise NotFound.of("asset", asset_id)
        return web.json_response(sighting.as_json())
