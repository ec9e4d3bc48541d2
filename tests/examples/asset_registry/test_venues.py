from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.errors import AlreadyExists, InvalidInput, NotFound

DEX = VenueType.VENUE_TYPE_DEX


async def list_at(stub: Any, venue: Any, asset: Any, **fields: Any) -> VenueAsset:
    request = {"venue_id": venue.venue_id, "asset_id": asset.asset_id, **fields}
    listing: VenueAsset = (await stub.CreateVenueAsset(pb.CreateVenueAssetRequest(**request))).venue_asset
    return listing


async def test_a_venue_is_created_active_with_an_id_and_a_time(stub: Any, given: Any) -> None:
    await given.chain(1)
    venue = await given.venue(
        "Curve", venue_type=DEX, chain_id="1", website_url="https://curve.finance", api_endpoint="wss://api.curve.fi"
    )
    assert uuid.UUID(venue.venue_id).version == 4
    assert venue == Venue(
        venue_id=venue.venue_id,
        name="Curve",
        venue_type=DEX,
        chain_id="1",
        website_url="https://curve.finance",
        api_endpoint="wss://api.curve.fi",
        is_active=True,
        created_at=venue.created_at,
    )
    assert venue.HasField("created_at")
    assert (await stub.GetVenue(pb.GetVenueRequest(venue_id=venue.venue_id))).venue == venue


async def test_a_venue_needs_a_name_a_type_and_a_chain_that_exists(stub: Any, given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for venue_type: is required$"):
        await stub.CreateVenue(pb.CreateVenueRequest(name="Kraken"))
    with pytest.raises(InvalidInput, match=r"^invalid input for venue_type: must not be unspecified; .*VENUE_TYPE_CEX"):
        await given.venue(venue_type=VenueType.VENUE_TYPE_UNSPECIFIED)
    with pytest.raises(InvalidInput, match=r"^invalid input for name: must not be empty$"):
        await given.venue("")
    with pytest.raises(NotFound, match=r"^chain not found: 404$"):
        await given.venue("Curve", chain_id="404")


async def test_a_venue_is_registered_once(given: Any) -> None:
    await given.venue("Kraken")
    with pytest.raises(AlreadyExists, match=r"^venue already exists: KRAKEN$"):
        await given.venue("KRAKEN")


async def test_venues_are_listed_all_by_type_and_by_chain(stub: Any, given: Any) -> None:
    await given.chain(1)
    kraken, curve = await given.venue("Kraken"), await given.venue("Curve", venue_type=DEX, chain_id="1")

    async def listed(**request: Any) -> list[Venue]:
        return list((await stub.ListVenues(pb.ListVenuesRequest(**request))).venues)

    assert await listed() == [kraken, curve]
    assert await listed(venue_type=DEX) == [curve]
    assert await listed(venue_type=VenueType.VENUE_TYPE_UNSPECIFIED, chain_id="1") == [curve]
    assert await listed(venue_type=VenueType.VENUE_TYPE_CEX, chain_id="1") == []


async def test_a_listing_says_what_may_be_done_and_since_when(stub: Any, given: Any) -> None:
    venue, asset = await given.venue(), await given.asset()
    listing = await list_at(stub, venue, asset, venue_asset_symbol="XXBT", trading_enabled=True, deposit_enabled=False)
    assert listing == VenueAsset(
        venue_id=venue.venue_id,
        asset_id=asset.asset_id,
        venue_asset_symbol="XXBT",
        trading_enabled=True,
        deposit_enabled=False,
        listed_at=listing.listed_at,
        is_active=True,
    )
    assert listing.HasField("listed_at")
    assert not listing.HasField("withdraw_enabled")
    request = pb.GetVenueAssetRequest(venue_id=venue.venue_id, asset_id=asset.asset_id)
    assert (await stub.GetVenueAsset(request)).venue_asset == listing


async def test_a_new_listing_is_told(stub: Any, given: Any, events: asyncio.Queue[Any]) -> None:
    venue, asset = await given.venue(), await given.asset()
    listing = await list_at(stub, venue, asset)
    assert (await events.get()).asset == asset
    event = await events.get()
    assert event.venue_asset == listing
    assert event.is_new_listing


async def test_a_listing_needs_a_venue_and_an_asset_that_exist(stub: Any, given: Any) -> None:
    venue, asset = await given.venue(), await given.asset()
    with pytest.raises(NotFound, match=r"^venue not found: v-1$"):
        await list_at(stub, venue, asset, venue_id="v-1")
    with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
        await list_at(stub, venue, asset, asset_id="a-1")
    with pytest.raises(NotFound, match=r"^deployment not found: d-1$"):
        await list_at(stub, venue, asset, deployment_id="d-1")
    with pytest.raises(InvalidInput, match=r"^invalid input for asset_id: is required$"):
        await list_at(stub, venue, asset, asset_id=None)


async def test_a_listing_refers_to_a_deployment_of_its_own_asset(stub: Any, given: Any) -> None:
    venue, asset, other, chain = (
        await given.venue(),
        await given.asset("A"),
        await given.asset("B"),
        await given.chain(),
    )
    request = pb.CreateAssetDeploymentRequest(
        asset_id=asset.asset_id, chain_id=chain.chain_id, contract_address="0x1", decimals=6
    )
    deployment_id = (await stub.CreateAssetDeployment(request)).deployment.deployment_id
    with pytest.raises(InvalidInput, match=f"for deployment_id: is a deployment of another asset, {asset.asset_id}$"):
        await list_at(stub, venue, other, deployment_id=deployment_id)
    assert (await list_at(stub, venue, asset, deployment_id=deployment_id)).deployment_id == deployment_id


async def test_a_venue_lists_an_asset_once(stub: Any, given: Any) -> None:
    venue, asset = await given.venue(), await given.asset()
    await list_at(stub, venue, asset)
    with pytest.raises(AlreadyExists, match=r"^venue asset already exists: "):
        await list_at(stub, venue, asset)


async def test_what_is_not_there_is_not_found(stub: Any) -> None:
    with pytest.raises(NotFound, match=r"^venue not found: v-1$"):
        await stub.GetVenue(pb.GetVenueRequest(venue_id="v-1"))
    with pytest.raises(NotFound, match=r"^venue asset not found: a-1 at venue v-1$"):
        await stub.GetVenueAsset(pb.GetVenueAssetRequest(venue_id="v-1", asset_id="a-1"))


async def test_listings_are_listed_by_venue_and_by_asset(stub: Any, given: Any) -> None:
    kraken, binance = await given.venue("Kraken"), await given.venue("Binance")
    bitcoin, ether = await given.asset("BTC"), await given.asset("ETH")
    one, two = await list_at(stub, kraken, bitcoin), await list_at(stub, kraken, ether)
    three = await list_at(stub, binance, bitcoin)

    async def listed(**request: Any) -> list[VenueAsset]:
        return list((await stub.ListVenueAssets(pb.ListVenueAssetsRequest(**request))).venue_assets)

    assert await listed(venue_id=kraken.venue_id) == [one, two]
    assert await listed(asset_id=bitcoin.asset_id) == [one, three]
    assert await listed(venue_id=binance.venue_id, asset_id=ether.asset_id) == []
    with pytest.raises(InvalidInput, match=r"^invalid input for venue_id: is required, unless asset_id is given$"):
        await listed()
