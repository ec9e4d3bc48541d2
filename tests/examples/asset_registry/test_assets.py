from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.services.v1 import asset_registry_pb2 as pb

from chassis.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound

ERC20 = AssetType.ASSET_TYPE_ERC20


async def test_an_asset_is_created_with_an_id_and_times_and_is_there(stub: Any) -> None:
    request = pb.CreateAssetRequest(
        symbol="UNI", name="Uniswap", asset_type=ERC20, category="defi", website_url="https://uniswap.org"
    )
    created = (await stub.CreateAsset(request)).asset
    assert uuid.UUID(created.asset_id).version == 4
    assert created.created_at == created.updated_at
    assert created.created_at.seconds > 1_700_000_000
    expected = Asset(symbol="UNI", name="Uniswap", asset_type=ERC20, category="defi", website_url="https://uniswap.org")
    told = Asset()
    told.CopyFrom(created)
    for field in ("asset_id", "created_at", "updated_at"):
        told.ClearField(field)
    assert told == expected
    assert (await stub.GetAsset(pb.GetAssetRequest(asset_id=created.asset_id))).asset == created


async def test_a_new_asset_is_told_to_all_who_listen(stub: Any, given: Any, events: asyncio.Queue[Any]) -> None:
    asset = await given.asset()
    event = await events.get()
    assert event.asset == asset
    assert event.source == "api"
    assert uuid.UUID(event.event_id)
    assert event.HasField("timestamp")
    assert event.actor_id == "service:cqar"


async def test_nothing_is_told_of_an_asset_that_was_refused(stub: Any, given: Any, events: asyncio.Queue[Any]) -> None:
    await given.asset("BTC", "Bitcoin")
    with pytest.raises(AlreadyExists):
        await given.asset("BTC", "Bitcoin")
    with pytest.raises(InvalidInput):
        await given.asset("")
    last = await given.asset("LTC")
    assert [(await events.get()).asset.symbol, (await events.get()).asset] == ["BTC", last]


@pytest.mark.parametrize("missing", ["symbol", "name", "asset_type"])
async def test_an_asset_needs_a_symbol_a_name_and_a_type(stub: Any, missing: str) -> None:
    request = pb.CreateAssetRequest(symbol="BTC", name="Bitcoin", asset_type=ERC20)
    request.ClearField(missing)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=f"^invalid input for {missing}: is required$"):
        await stub.CreateAsset(request)


async def test_an_asset_that_does_not_exist_is_not_found(stub: Any) -> None:
    for call in (
        stub.GetAsset(pb.GetAssetRequest(asset_id="a-1")),
        stub.UpdateAsset(pb.UpdateAssetRequest(asset_id="a-1", symbol="X")),
        stub.DeleteAsset(pb.DeleteAssetRequest(asset_id="a-1")),
    ):
        with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
            await call


@pytest.mark.parametrize("method", ["Get", "Update", "Delete"])
async def test_which_asset_has_to_be_said(stub: Any, method: str) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for asset_id: is required$"):
        await getattr(stub, f"{method}Asset")(getattr(pb, f"{method}AssetRequest")())


async def test_an_update_changes_what_is_present_and_nothing_else(stub: Any, given: Any) -> None:
    asset = await given.asset("MATIC", "Polygon", category="layer-1", description="old")
    changed = (
        await stub.UpdateAsset(pb.UpdateAssetRequest(asset_id=asset.asset_id, symbol="POL", description=""))
    ).asset
    assert changed.updated_at.ToMicroseconds() >= asset.updated_at.ToMicroseconds()
    asset.MergeFrom(Asset(symbol="POL", description="", updated_at=changed.updated_at))
    assert changed == asset
    assert changed.HasField("description")
    assert (await stub.GetAsset(pb.GetAssetRequest(asset_id=asset.asset_id))).asset == asset


async def test_an_update_without_a_change_is_refused(stub: Any, given: Any) -> None:
    asset = await given.asset()
    with pytest.raises(InvalidInput, match=r"^nothing to change: set at least one of symbol, name, asset_type"):
        await stub.UpdateAsset(pb.UpdateAssetRequest(asset_id=asset.asset_id))


async def test_an_update_to_a_name_that_is_taken_is_refused(stub: Any, given: Any) -> None:
    await given.asset("ONE", "Harmony")
    two = await given.asset("TWO", "Harmony")
    with pytest.raises(AlreadyExists, match=r"^asset already exists: ONE \(Harmony\)$"):
        await stub.UpdateAsset(pb.UpdateAssetRequest(asset_id=two.asset_id, symbol="ONE"))


async def test_a_deleted_asset_is_gone(stub: Any, given: Any) -> None:
    asset = await given.asset()
    assert (await stub.DeleteAsset(pb.DeleteAssetRequest(asset_id=asset.asset_id))).success
    with pytest.raises(NotFound):
        await stub.GetAsset(pb.GetAssetRequest(asset_id=asset.asset_id))


async def test_an_asset_that_others_refer_to_is_not_deleted(stub: Any, given: Any) -> None:
    asset, venue = await given.asset(), await given.venue()
    await stub.CreateVenueAsset(pb.CreateVenueAssetRequest(venue_id=venue.venue_id, asset_id=asset.asset_id))
    with pytest.raises(FailedPrecondition, match=r"is in use"):
        await stub.DeleteAsset(pb.DeleteAssetRequest(asset_id=asset.asset_id))


# Pages.


async def pages_of(stub: Any, **request: Any) -> list[list[str]]:
    pages: list[list[str]] = []
    while True:
        answer = await stub.ListAssets(pb.ListAssetsRequest(**request))
        pages.append([asset.symbol for asset in answer.assets])
        if not answer.HasField("next_page_token"):
            return pages
        request["page_token"] = answer.next_page_token


async def test_a_registry_without_assets_has_one_empty_page(stub: Any) -> None:
    answer = await stub.ListAssets(pb.ListAssetsRequest())
    assert answer == pb.ListAssetsResponse(total_count=0)


async def test_pages_follow_each_other_to_the_end(stub: Any, given: Any) -> None:
    for symbol in "ABCDEFG":
        await given.asset(symbol)
    assert await pages_of(stub) == [["A", "B", "C"], ["D", "E", "F"], ["G"]]
    assert await pages_of(stub, page_size=0, page_token="") == [["A", "B", "C"], ["D", "E", "F"], ["G"]]
    assert await pages_of(stub, page_size=4) == [["A", "B", "C", "D"], ["E", "F", "G"]]
    assert await pages_of(stub, page_size=100) == [["A", "B", "C", "D", "E"], ["F", "G"]]
    assert (await stub.ListAssets(pb.ListAssetsRequest(page_size=1))).total_count == 7


async def test_a_last_page_that_is_full_is_the_last(stub: Any, given: Any) -> None:
    for symbol in "ABC":
        await given.asset(symbol)
    assert await pages_of(stub) == [["A", "B", "C"]]


async def test_filters_hold_on_every_page_and_in_the_count(stub: Any, given: Any) -> None:
    for symbol in "ABCDEFGH":
        await given.asset(symbol, asset_type=ERC20, category="defi" if symbol in "ACEGH" else "meme")
    assert await pages_of(stub, category="defi", asset_type=ERC20) == [["A", "C", "E"], ["G", "H"]]
    assert (await stub.ListAssets(pb.ListAssetsRequest(category="defi"))).total_count == 5


async def test_a_page_may_have_another_size_than_the_one_before(stub: Any, given: Any) -> None:
    for symbol in "ABCDE":
        await given.asset(symbol)
    first = await stub.ListAssets(pb.ListAssetsRequest(page_size=1))
    assert await pages_of(stub, page_size=4, page_token=first.next_page_token) == [["B", "C", "D", "E"]]


async def test_a_token_of_a_list_with_other_filters_is_refused(stub: Any, given: Any) -> None:
    for symbol in "ABCD":
        await given.asset(symbol)
    token = (await stub.ListAssets(pb.ListAssetsRequest())).next_page_token
    with pytest.raises(InvalidInput, match=r"^invalid input for page_token: is no token of this list"):
        await stub.ListAssets(pb.ListAssetsRequest(page_token=token, category="defi"))
    with pytest.raises(InvalidInput, match=r"^invalid input for page_token: is no token of this list"):
        await stub.ListAssets(pb.ListAssetsRequest(page_token="2"))


@pytest.mark.parametrize(
    ("method", "request_"),
    [("ListAssets", pb.ListAssetsRequest(page_size=-1)), ("SearchAssets", pb.SearchAssetsRequest(query="x", limit=-1))],
)
async def test_a_negative_size_is_refused(stub: Any, method: str, request_: Any) -> None:
    with pytest.raises(InvalidInput, match=r"must not be negative, and is -1; 0 stands for 3$"):
        await getattr(stub, method)(request_)


# Search.


async def test_assets_are_found_by_a_part_of_symbol_or_name(stub: Any, given: Any) -> None:
    for symbol, name in (("stETH", "Lido Staked Ether"), ("ETH", "Ether"), ("BTC", "Bitcoin"), ("ETHW", "EthereumPoW")):
        await given.asset(symbol, name)

    async def found(query: str, limit: int | None = None) -> list[str]:
        answer = await stub.SearchAssets(pb.SearchAssetsRequest(query=query, limit=limit))
        return [asset.symbol for asset in answer.assets]

    assert await found(" eth ") == ["ETH", "ETHW", "stETH"]
    assert await found("eth", limit=1) == ["ETH"]
    assert await found("COIN") == ["BTC"]
    assert await found("doge") == []


async def test_a_search_gives_no_more_than_a_page(stub: Any, given: Any) -> None:
    for number in range(7):
        await given.asset(f"A{number}")
    assert len((await stub.SearchAssets(pb.SearchAssetsRequest(query="a"))).assets) == 3
    assert len((await stub.SearchAssets(pb.SearchAssetsRequest(query="a", limit=99))).assets) == 5


@pytest.mark.parametrize("query", ["", "  "])
async def test_a_search_for_nothing_is_refused(stub: Any, query: str) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for query: must not be empty$"):
        await stub.SearchAssets(pb.SearchAssetsRequest(query=query))
