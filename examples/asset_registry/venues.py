from __future__ import annotations

from cqc.events.v1.venue_events_pb2 import VenueAssetListed
from cqc.services.v1.asset_registry_pb2 import (
    CreateVenueAssetRequest,
    CreateVenueAssetResponse,
    CreateVenueRequest,
    CreateVenueResponse,
    GetVenueAssetRequest,
    GetVenueAssetResponse,
    GetVenueRequest,
    GetVenueResponse,
    ListVenueAssetsRequest,
    ListVenueAssetsResponse,
    ListVenuesRequest,
    ListVenuesResponse,
)
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue

from chassis.errors import InvalidInput
from examples.asset_registry.methods import RegistryMethods
from examples.asset_registry.records import new_id, now
from examples.asset_registry.validation import check, check_filters


class VenueMethods(RegistryMethods):
    """Venues and what they list: create, get, list."""

    async def CreateVenue(self, request: CreateVenueRequest, context: object) -> CreateVenueResponse:
        check(request, required=("name", "venue_type"))
        told = {field.name: value for field, value in request.ListFields()}
        venue = Venue(venue_id=new_id(), is_active=True, created_at=now(), **told)
        await self.store.add_venue(venue)
        return CreateVenueResponse(venue=venue)

    async def GetVenue(self, request: GetVenueRequest, context: object) -> GetVenueResponse:
        check(request, required=("venue_id",))
        return GetVenueResponse(venue=await self.store.venue(request.venue_id))

    async def ListVenues(self, request: ListVenuesRequest, context: object) -> ListVenuesResponse:
        check_filters(request)
        found = await self.store.venues(
            request.venue_type or None, request.chain_id or None, limit=self.settings.max_listed + 1
        )
        return ListVenuesResponse(venues=self.complete(found, "venue_type and chain_id"))

    async def CreateVenueAsset(self, request: CreateVenueAssetRequest, context: object) -> CreateVenueAssetResponse:
        check(request, required=("venue_id", "asset_id"))
        if request.deployment_id:
            deployment = await self.store.deployment(request.deployment_id)
            if deployment.asset_id != request.asset_id:
                raise InvalidInput.field("deployment_id", f"is a deployment of another asset, {deployment.asset_id}")
        told = {field.name: value for field, value in request.ListFields()}
        venue_asset = VenueAsset(is_active=True, listed_at=now(), **told)
        await self.store.add_venue_asset(venue_asset)
        await self.bus.publish(VenueAssetListed(venue_asset=venue_asset, is_new_listing=True))
        return CreateVenueAssetResponse(venue_asset=venue_asset)

    async def GetVenueAsset(self, request: GetVenueAssetRequest, context: object) -> GetVenueAssetResponse:
        check(request, required=("venue_id", "asset_id"))
        return GetVenueAssetResponse(venue_asset=await self.store.venue_asset(request.venue_id, request.asset_id))

    async def ListVenueAssets(self, request: ListVenueAssetsRequest, context: object) -> ListVenueAssetsResponse:
        check_filters(request)
        if not request.venue_id and not request.asset_id:
            raise InvalidInput.field("venue_id", "is required, unless asset_id is given")
        most = self.settings.max_listed
        found = await self.store.venue_assets(request.venue_id or None, request.asset_id or None, limit=most + 1)
        return ListVenueAssetsResponse(venue_assets=self.complete(found, "venue_id and asset_id"))
