"""What every store of the asset registry does: a new one is one more entry of `STORES`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.cache import from_config
from chassis.component import Component
from chassis.config import load
from chassis.database import Database
from chassis.errors import AlreadyExists, FailedPrecondition, NotFound
from examples.asset_registry.cached_store import CachedStore
from examples.asset_registry.memory_store import MemoryStore
from examples.asset_registry.postgres_store import SCHEMA, PostgresStore
from examples.asset_registry.store import AssetFilter, AssetStore, Position
from tests.examples.registry_database import kept_registry_database, registry_database

__all__ = ["kept_registry_database", "registry_database"]

NATIVE, ERC20 = AssetType.ASSET_TYPE_NATIVE, AssetType.ASSET_TYPE_ERC20
CEX, DEX = VenueType.VENUE_TYPE_CEX, VenueType.VENUE_TYPE_DEX
ANY = AssetFilter()


@asynccontextmanager
async def in_memory(request: pytest.FixtureRequest) -> AsyncIterator[AssetStore]:
    yield MemoryStore()


@asynccontextmanager
async def in_postgres(request: pytest.FixtureRequest) -> AsyncIterator[AssetStore]:
    overrides = request.getfixturevalue("registry_database").overrides
    config = load(environ={}, defaults={"service.name": "cqar"}, overrides=overrides, uses=["database"])
    async with started(Database.from_config(config.database, schema=SCHEMA, service_name="cqar")) as database:
        yield PostgresStore(database)


@asynccontextmanager
async def through_redis(request: pytest.FixtureRequest) -> AsyncIterator[AssetStore]:
    overrides = request.getfixturevalue("redis_keyspace").overrides
    config = load(environ={}, defaults={"service.name": "cqar"}, overrides=overrides, uses=["cache"])
    async with started(from_config(config.cache)) as cache, in_postgres(request) as store:
        yield CachedStore(store, cache)


C = TypeVar("C", bound=Component)


@asynccontextmanager
async def started(component: C) -> AsyncIterator[C]:
    await component.start()
    try:
        yield component
    finally:
        await component.stop()


STORES = {"memory": in_memory, "postgres": in_postgres, "postgres through redis": through_redis}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[AssetStore]:
    async with STORES[request.param](request) as made:
        yield made


def an_id() -> str:
    return str(uuid.uuid4())


def at(microseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMicroseconds(1_700_000_000_000_000 + microseconds)
    return timestamp


def an_asset(symbol: str = "BTC", name: str | None = None, *, created: int = 0, **fields: object) -> Asset:
    return Asset(
        asset_id=an_id(),
        symbol=symbol,
        name=f"Name of {symbol}" if name is None else name,
        created_at=at(created),
        updated_at=at(created),
        **{"asset_type": NATIVE, **fields},  # type: ignore[arg-type]
    )


def a_chain(chain_id: str = "1", name: str | None = None, **fields: object) -> Chain:
    return Chain(chain_id=chain_id, chain_name=name or f"Chain {chain_id}", **fields)  # type: ignore[arg-type]


def a_deployment(asset: Asset, chain: Chain, address: str | None = "0xAb", *, created: int = 0) -> AssetDeployment:
    return AssetDeployment(
        deployment_id=an_id(),
        asset_id=asset.asset_id,
        chain_id=chain.chain_id,
        chain_name=chain.chain_name,
        address=address,
        decimals=18,
        created_at=at(created),
        updated_at=at(created),
    )


def a_venue(name: str = "Kraken", *, created: int = 0, **fields: object) -> Venue:
    return Venue(
        venue_id=an_id(),
        name=name,
        is_active=True,
        created_at=at(created),
        **{"venue_type": CEX, **fields},  # type: ignore[arg-type]
    )


def a_listing(venue: Venue, asset: Asset, *, listed: int = 0, **fields: object) -> VenueAsset:
    return VenueAsset(
        venue_id=venue.venue_id,
        asset_id=asset.asset_id,
        is_active=True,
        listed_at=at(listed),
        **fields,  # type: ignore[arg-type]
    )


async def add(store: AssetStore, *records: Asset | Chain | Venue) -> None:
    for record in records:
        if isinstance(record, Asset):
            await store.add_asset(record)
        elif isinstance(record, Chain):
            await store.add_chain(record)
        else:
            await store.add_venue(record)


def symbols(assets: list[Asset]) -> list[str]:
    return [asset.symbol for asset in assets]


# Every record comes back as it went in.


async def test_an_asset_comes_back_field_by_field(store: AssetStore) -> None:
    asset = an_asset(category="layer-1", description="Peer-to-peer\ncash", logo_url="", website_url="https://b.org")
    asset.metadata["rank"] = 1
    await store.add_asset(asset)
    assert await store.asset(asset.asset_id) == asset


async def test_a_field_that_is_absent_stays_absent_and_one_that_is_empty_stays_empty(store: AssetStore) -> None:
    asset = an_asset(description="")
    await store.add_asset(asset)
    kept = await store.asset(asset.asset_id)
    assert kept.HasField("description")
    assert not kept.HasField("category")
    assert not kept.HasField("metadata")


async def test_a_chain_comes_back_field_by_field(store: AssetStore) -> None:
    ether = an_asset("ETH")
    chain = a_chain(
        native_asset_id=ether.asset_id,
        chain_type="evm",
        network_id=2**62,
        explorer_url="https://e.io",
        is_testnet=False,
    )
    chain.metadata["native_asset_symbol"] = "ETH"
    await add(store, ether, chain)
    assert await store.chain("1") == chain


async def test_a_deployment_comes_back_field_by_field(store: AssetStore) -> None:
    asset, chain = an_asset(), a_chain()
    await add(store, asset, chain)
    deployment = a_deployment(asset, chain)
    deployment.deployed_at.CopyFrom(at(-1))
    await store.add_deployment(deployment, native=False)
    assert await store.deployment(deployment.deployment_id) == deployment


async def test_a_venue_comes_back_field_by_field(store: AssetStore) -> None:
    chain = a_chain()
    venue = a_venue(chain_id="1", protocol_address="0x1", website_url="https://k.com", api_endpoint="wss://k.com")
    await add(store, chain, venue)
    assert await store.venue(venue.venue_id) == venue


async def test_a_listing_comes_back_field_by_field(store: AssetStore) -> None:
    venue, asset, chain = a_venue(), an_asset(), a_chain()
    await add(store, venue, asset, chain)
    deployment = a_deployment(asset, chain)
    await store.add_deployment(deployment, native=False)
    listing = a_listing(
        venue,
        asset,
        venue_asset_symbol="XXBT",
        deployment_id=deployment.deployment_id,
        deposit_enabled=False,
        trading_enabled=True,
        withdrawal_fee=0.1,
    )
    await store.add_venue_asset(listing)
    assert await store.venue_asset(venue.venue_id, asset.asset_id) == listing


# Copies.


async def test_what_is_done_to_a_record_later_does_not_reach_the_store(store: AssetStore) -> None:
    asset, chain = an_asset(), a_chain()
    await add(store, asset, chain)
    asset.symbol = chain.chain_name = "changed"
    assert (await store.asset(asset.asset_id)).symbol == "BTC"
    assert (await store.chain("1")).chain_name == "Chain 1"


async def test_what_is_done_to_an_answer_does_not_reach_the_store(store: AssetStore) -> None:
    asset, chain, venue = an_asset(category="layer-1"), a_chain(), a_venue()
    await add(store, asset, chain, venue)
    await store.add_deployment(a_deployment(asset, chain), native=False)
    await store.add_venue_asset(a_listing(venue, asset))

    async def answers() -> list[Asset | Chain | Venue | AssetDeployment | VenueAsset]:
        return [
            await store.asset(asset.asset_id),
            *await store.assets(ANY, limit=10),
            *await store.search_assets("BTC", limit=10),
            await store.update_asset(asset.asset_id, Asset(category="layer-1")),
            await store.chain("1"),
            *await store.chains(None, limit=10),
            await store.venue(venue.venue_id),
            *await store.venues(None, None, limit=10),
            *await store.deployments(asset.asset_id, None, limit=10),
            *await store.venue_assets(venue.venue_id, None, limit=10),
            await store.venue_asset(venue.venue_id, asset.asset_id),
        ]

    before = [answer.SerializeToString(deterministic=True) for answer in await answers()]
    for answer in await answers():
        answer.Clear()
    assert [answer.SerializeToString(deterministic=True) for answer in await answers()] == before
    assert all(before)


# What is not there.


async def test_what_is_not_there_is_named(store: AssetStore) -> None:
    with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
        await store.asset("a-1")
    with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
        await store.update_asset("a-1", Asset(symbol="X"))
    with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
        await store.delete_asset("a-1")
    with pytest.raises(NotFound, match=r"^chain not found: 1$"):
        await store.chain("1")
    with pytest.raises(NotFound, match=r"^deployment not found: d-1$"):
        await store.deployment("d-1")
    with pytest.raises(NotFound, match=r"^venue not found: v-1$"):
        await store.venue("v-1")
    with pytest.raises(NotFound, match=r"^venue asset not found: a-1 at venue v-1$"):
        await store.venue_asset("v-1", "a-1")


async def test_a_record_that_refers_to_nothing_is_not_kept(store: AssetStore) -> None:
    asset, chain, venue = an_asset(), a_chain(), a_venue()
    await add(store, asset, chain, venue)
    unknown_asset, unknown_chain, unknown_venue = an_asset("NO"), a_chain("404"), a_venue("No")
    with pytest.raises(NotFound, match=f"^asset not found: {unknown_asset.asset_id}$"):
        await store.add_deployment(a_deployment(unknown_asset, chain), native=False)
    with pytest.raises(NotFound, match=r"^chain not found: 404$"):
        await store.add_deployment(a_deployment(asset, unknown_chain), native=False)
    with pytest.raises(NotFound, match=f"^asset not found: {unknown_asset.asset_id}$"):
        await store.add_chain(a_chain("2", native_asset_id=unknown_asset.asset_id))
    with pytest.raises(NotFound, match=r"^chain not found: 404$"):
        await store.add_venue(a_venue("Orca", chain_id="404"))
    with pytest.raises(NotFound, match=f"^venue not found: {unknown_venue.venue_id}$"):
        await store.add_venue_asset(a_listing(unknown_venue, asset))
    with pytest.raises(NotFound, match=f"^asset not found: {unknown_asset.asset_id}$"):
        await store.add_venue_asset(a_listing(venue, unknown_asset))
    unknown_deployment = an_id()
    with pytest.raises(NotFound, match=f"^deployment not found: {unknown_deployment}$"):
        await store.add_venue_asset(a_listing(venue, asset, deployment_id=unknown_deployment))
    assert await store.deployments(asset.asset_id, None, limit=10) == []
    assert await store.venue_assets(venue.venue_id, None, limit=10) == []
    assert await store.chains(None, limit=10) == [chain]
    assert await store.venues(None, None, limit=10) == [venue]


# What is there already.


@pytest.mark.parametrize(("symbol", "name"), [("BTC", "Bitcoin"), ("btc", "BITCOIN")])
async def test_an_asset_with_the_same_symbol_and_name_exists_already(store: AssetStore, symbol: str, name: str) -> None:
    await store.add_asset(an_asset("BTC", "Bitcoin"))
    with pytest.raises(AlreadyExists, match=rf"^asset already exists: {symbol} \({name}\)$"):
        await store.add_asset(an_asset(symbol, name))
    assert await store.count_assets(ANY) == 1


async def test_letters_beyond_ascii_have_an_upper_and_a_lower_case_too(store: AssetStore) -> None:
    await add(store, an_asset("ÄΩ", "Žluťoučký"), a_chain("1", "Ελλάς"))
    with pytest.raises(AlreadyExists):
        await store.add_asset(an_asset("äω", "ŽLUŤOUČKÝ"))
    with pytest.raises(AlreadyExists):
        await store.add_chain(a_chain("2", "ελλάς"))
    assert symbols(await store.search_assets("ťOUč", limit=10)) == ["ÄΩ"]


async def test_assets_may_share_a_symbol_or_a_name(store: AssetStore) -> None:
    await add(store, an_asset("UNI", "Uniswap"), an_asset("UNI", "Unicorn"), an_asset("UNX", "Uniswap"))
    assert await store.count_assets(ANY) == 3


async def test_of_two_that_add_the_same_at_once_one_wins(store: AssetStore) -> None:
    outcomes = await asyncio.gather(
        *(store.add_asset(an_asset("BTC", "Bitcoin")) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [AlreadyExists] * 4
    assert await store.count_assets(ANY) == 1


async def test_a_chain_is_known_by_its_id_and_by_its_name(store: AssetStore) -> None:
    await store.add_chain(a_chain("1", "Ethereum"))
    with pytest.raises(AlreadyExists, match=r"^chain already exists: 1 \(Other\)$"):
        await store.add_chain(a_chain("1", "Other"))
    with pytest.raises(AlreadyExists, match=r"^chain already exists: 2 \(ethereum\)$"):
        await store.add_chain(a_chain("2", "ethereum"))


async def test_an_address_is_taken_once_on_a_chain_whatever_its_case(store: AssetStore) -> None:
    asset, one, two = an_asset(), a_chain("1"), a_chain("2")
    await add(store, asset, one, two)
    await store.add_deployment(a_deployment(asset, one, "0xAb"), native=False)
    with pytest.raises(AlreadyExists, match=r"^deployment already exists: 0xaB on chain 1$"):
        await store.add_deployment(a_deployment(asset, one, "0xaB"), native=False)
    await store.add_deployment(a_deployment(asset, two, "0xaB"), native=False)


async def test_in_addresses_without_0x_the_case_counts(store: AssetStore) -> None:
    asset, chain = an_asset(), a_chain("solana")
    await add(store, asset, chain)
    await store.add_deployment(a_deployment(asset, chain, "So1111"), native=False)
    await store.add_deployment(a_deployment(asset, chain, "so1111"), native=False)
    with pytest.raises(AlreadyExists):
        await store.add_deployment(a_deployment(asset, chain, "so1111"), native=False)


async def test_a_chain_has_one_native_deployment(store: AssetStore) -> None:
    ether, other, chain = an_asset("ETH"), an_asset("ETC"), a_chain()
    await add(store, ether, other, chain)
    await store.add_deployment(a_deployment(ether, chain, None), native=True)
    with pytest.raises(AlreadyExists, match=r"^deployment already exists: native asset on chain 1$"):
        await store.add_deployment(a_deployment(other, chain, None), native=True)
    assert (await store.chain("1")).native_asset_id == ether.asset_id


async def test_a_venue_name_is_taken_once_on_each_chain(store: AssetStore) -> None:
    await add(store, a_chain("1"), a_chain("10"), a_venue("Uniswap", chain_id="1"))
    await add(store, a_venue("Uniswap", chain_id="10"), a_venue("Uniswap"))
    with pytest.raises(AlreadyExists, match=r"^venue already exists: UNISWAP on chain 1$"):
        await store.add_venue(a_venue("UNISWAP", chain_id="1"))
    with pytest.raises(AlreadyExists, match=r"^venue already exists: uniswap$"):
        await store.add_venue(a_venue("uniswap"))


async def test_a_venue_lists_an_asset_once(store: AssetStore) -> None:
    venue, asset = a_venue(), an_asset()
    await add(store, venue, asset)
    await store.add_venue_asset(a_listing(venue, asset))
    key = f"{asset.asset_id} at venue {venue.venue_id}"
    with pytest.raises(AlreadyExists, match=f"^venue asset already exists: {key}$"):
        await store.add_venue_asset(a_listing(venue, asset))


# Updates.


async def test_an_update_sets_what_is_present_and_leaves_the_rest(store: AssetStore) -> None:
    asset = an_asset(
        "MATIC", "Polygon", category="layer-1", description="old", website_url="https://polygon.technology"
    )
    await store.add_asset(asset)
    changes = Asset(symbol="POL", asset_type=ERC20, description="", updated_at=at(7))
    updated = await store.update_asset(asset.asset_id, changes)
    asset.MergeFrom(changes)
    assert updated == asset == await store.asset(asset.asset_id)
    assert updated.HasField("description")
    assert updated.category == "layer-1"


async def test_a_time_and_metadata_are_set_as_a_whole(store: AssetStore) -> None:
    asset = an_asset(created=7)
    asset.metadata.update({"rank": 1, "tags": ["pow"]})
    await store.add_asset(asset)
    changes = Asset(updated_at=at(0))  # a full second: no part of it is in the message
    changes.metadata.update({"rank": 2, "nested": {"none": None, "text": "ß", "list": [1.5, True, {}]}})
    updated = await store.update_asset(asset.asset_id, changes)
    assert (updated.updated_at, updated.metadata) == (changes.updated_at, changes.metadata)
    assert await store.asset(asset.asset_id) == updated


async def test_an_update_to_what_another_asset_is_called_changes_nothing(store: AssetStore) -> None:
    one, two = an_asset("ONE", "Harmony"), an_asset("TWO", "Other")
    await add(store, one, two)
    with pytest.raises(AlreadyExists, match=r"^asset already exists: one \(harmony\)$"):
        await store.update_asset(two.asset_id, Asset(symbol="one", name="harmony"))
    assert await store.asset(two.asset_id) == two


async def test_a_name_given_up_is_free_for_others(store: AssetStore) -> None:
    one = an_asset("ONE", "Harmony")
    await store.add_asset(one)
    await store.update_asset(one.asset_id, Asset(symbol="one"))
    await store.update_asset(one.asset_id, Asset(name="Former"))
    await store.add_asset(an_asset("ONE", "Harmony"))
    assert await store.count_assets(ANY) == 2


async def test_of_updates_at_once_to_different_fields_none_is_lost(store: AssetStore) -> None:
    asset = an_asset()
    await store.add_asset(asset)
    await asyncio.gather(
        store.update_asset(asset.asset_id, Asset(category="a")),
        store.update_asset(asset.asset_id, Asset(description="b")),
        store.update_asset(asset.asset_id, Asset(website_url="https://c.io")),
    )
    kept = await store.asset(asset.asset_id)
    assert (kept.category, kept.description, kept.website_url) == ("a", "b", "https://c.io")


# Deletes.


async def test_a_deleted_asset_is_gone_and_may_come_again(store: AssetStore) -> None:
    asset = an_asset("BTC", "Bitcoin")
    await store.add_asset(asset)
    await store.delete_asset(asset.asset_id)
    with pytest.raises(NotFound):
        await store.asset(asset.asset_id)
    assert await store.count_assets(ANY) == 0
    await store.add_asset(an_asset("BTC", "Bitcoin"))


@pytest.mark.parametrize("use", ["deployment", "listing", "chain"])
async def test_an_asset_in_use_is_not_deleted(store: AssetStore, use: str) -> None:
    asset, chain, venue = an_asset(), a_chain(), a_venue()
    await add(store, asset, chain, venue)
    if use == "deployment":
        await store.add_deployment(a_deployment(asset, chain), native=False)
    elif use == "listing":
        await store.add_venue_asset(a_listing(venue, asset))
    else:
        await store.add_chain(a_chain("2", native_asset_id=asset.asset_id))
    with pytest.raises(FailedPrecondition, match=f"^asset {asset.asset_id} is in use"):
        await store.delete_asset(asset.asset_id)
    assert await store.asset(asset.asset_id) == asset


# Lists of assets.


async def test_assets_are_listed_oldest_first(store: AssetStore) -> None:
    await add(store, an_asset("C", created=3), an_asset("A", created=1), an_asset("B", created=2))
    assert symbols(await store.assets(ANY, limit=10)) == ["A", "B", "C"]
    assert symbols(await store.assets(ANY, limit=2)) == ["A", "B"]


async def test_assets_of_the_same_time_have_an_order_too(store: AssetStore) -> None:
    assets = [an_asset(f"A{number}") for number in range(8)]
    await add(store, *assets)
    expected = symbols(sorted(assets, key=lambda asset: asset.asset_id))
    assert symbols(await store.assets(ANY, limit=10)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_page_by_page_every_asset_comes_once(store: AssetStore, size: int) -> None:
    assets = [an_asset(f"A{number}", created=number // 3) for number in range(7)]
    await add(store, *assets)
    seen: list[Asset] = []
    after = None
    while page := await store.assets(ANY, after=after, limit=size):
        seen += page
        after = Position.of(page[-1])
    assert seen == await store.assets(ANY, limit=100)
    assert len(seen) == 7


async def test_what_happens_between_two_pages_moves_nothing(store: AssetStore) -> None:
    assets = [an_asset(f"A{number}", created=number) for number in range(4)]
    await add(store, *assets)
    first = await store.assets(ANY, limit=2)
    await store.update_asset(assets[2].asset_id, Asset(symbol="Z", updated_at=at(99)))
    await store.delete_asset(assets[1].asset_id)
    await store.add_asset(an_asset("NEW", created=50))
    rest = await store.assets(ANY, after=Position.of(first[-1]), limit=10)
    assert symbols(rest) == ["Z", "A3", "NEW"]


async def test_filters_hold_for_lists_and_counts(store: AssetStore) -> None:
    await add(
        store,
        an_asset("A", created=1, category="defi"),
        an_asset("B", created=2, category="defi", asset_type=ERC20),
        an_asset("C", created=3, asset_type=ERC20),
    )
    for matching, expected in [
        (ANY, ["A", "B", "C"]),
        (AssetFilter(asset_type=ERC20), ["B", "C"]),
        (AssetFilter(category="defi"), ["A", "B"]),
        (AssetFilter(ERC20, "defi"), ["B"]),
        (AssetFilter(category="DEFI"), []),
    ]:
        assert symbols(await store.assets(matching, limit=10)) == expected
        assert await store.count_assets(matching) == len(expected)


# Search.


async def test_the_best_match_comes_first(store: AssetStore) -> None:
    await add(
        store,
        an_asset("stETH", "Lido Staked Ether"),
        an_asset("ETHW", "EthereumPoW"),
        an_asset("ETH", "Ether"),
        an_asset("X", "Ethena"),
        an_asset("BTC", "Bitcoin"),
        an_asset("Q", "Tethered"),
    )
    assert symbols(await store.search_assets("eth", limit=10)) == ["ETH", "ETHW", "X", "Q", "stETH"]
    assert symbols(await store.search_assets("ETH", limit=2)) == ["ETH", "ETHW"]


@pytest.mark.parametrize("text", ["%", "_", "\\", "'", "B_C", "B%"])
async def test_what_databases_take_for_patterns_is_text(store: AssetStore, text: str) -> None:
    await add(store, an_asset("BTC", "Bitcoin"), an_asset("ODD", f"Odd {text} one"))
    assert symbols(await store.search_assets(text, limit=10)) == ["ODD"]


async def test_a_native_asset_is_found_by_its_symbol_if_there_is_just_one(store: AssetStore) -> None:
    ether = an_asset("ETH", "Ether")
    await add(store, ether, an_asset("ETH", "A token", asset_type=ERC20))
    assert await store.native_asset_id("eth") == ether.asset_id
    assert await store.native_asset_id("BTC") is None
    await store.add_asset(an_asset("Eth", "Another"))
    assert await store.native_asset_id("ETH") is None


async def test_the_first_native_deployment_names_the_native_asset_of_its_chain(store: AssetStore) -> None:
    ether, token, chain = an_asset("ETH"), an_asset("UNI"), a_chain()
    await add(store, ether, token, chain)
    await store.add_deployment(a_deployment(token, chain), native=False)
    assert not (await store.chain("1")).HasField("native_asset_id")
    await store.add_deployment(a_deployment(ether, chain, None), native=True)
    chain.native_asset_id = ether.asset_id
    assert await store.chain("1") == chain


async def test_a_native_deployment_that_is_refused_leaves_its_chain_as_it_was(store: AssetStore) -> None:
    ether, chain, other = an_asset("ETH"), a_chain("1"), a_chain("2")
    await add(store, ether, chain, other)
    await store.add_deployment(a_deployment(ether, other, None), native=False)
    with pytest.raises(AlreadyExists):
        await store.add_deployment(a_deployment(ether, other, None), native=True)
    unknown = an_asset("NO")
    with pytest.raises(NotFound, match=f"^asset not found: {unknown.asset_id}$"):
        await store.add_deployment(a_deployment(unknown, chain, None), native=True)
    assert [await store.chain("1"), await store.chain("2")] == [chain, other]


async def test_of_native_deployments_at_once_one_wins(store: AssetStore) -> None:
    assets, chain = [an_asset(symbol) for symbol in "ABCD"], a_chain()
    await add(store, *assets, chain)
    outcomes = await asyncio.gather(
        *(store.add_deployment(a_deployment(asset, chain, None), native=True) for asset in assets),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExists"] * 3 + ["NoneType"]
    (deployment,) = await store.deployments(None, "1", limit=10)
    assert (await store.chain("1")).native_asset_id == deployment.asset_id


async def test_a_native_asset_that_is_known_stays(store: AssetStore) -> None:
    ether, other = an_asset("ETH"), an_asset("ETC")
    await add(store, ether, other, a_chain(native_asset_id=ether.asset_id))
    await store.add_deployment(a_deployment(other, a_chain(), None), native=True)
    assert (await store.chain("1")).native_asset_id == ether.asset_id


# The other lists.


async def test_deployments_are_listed_by_asset_by_chain_and_by_both(store: AssetStore) -> None:
    one, two, here, there = an_asset("A"), an_asset("B"), a_chain("1"), a_chain("2")
    await add(store, one, two, here, there)
    deployments = [
        a_deployment(one, here, "0x3", created=3),
        a_deployment(two, here, "0x1", created=1),
        a_deployment(one, there, "0x2", created=2),
    ]
    for deployment in deployments:
        await store.add_deployment(deployment, native=False)

    async def addresses(asset: Asset | None, chain: Chain | None, limit: int = 10) -> list[str]:
        found = await store.deployments(asset and asset.asset_id, chain and chain.chain_id, limit=limit)
        return [deployment.address for deployment in found]

    assert await addresses(one, None) == ["0x2", "0x3"]
    assert await addresses(None, here) == ["0x1", "0x3"]
    assert await addresses(None, here, limit=1) == ["0x1"]
    assert await addresses(one, here) == ["0x3"]
    assert await addresses(two, there) == []


async def test_chains_are_listed_by_name(store: AssetStore) -> None:
    await add(store, a_chain("2", "solana", chain_type="svm"), a_chain("3", "Base", chain_type="evm"))
    await add(store, a_chain("1", "Ethereum", chain_type="evm"))

    async def names(chain_type: str | None, limit: int = 10) -> list[str]:
        return [chain.chain_name for chain in await store.chains(chain_type, limit=limit)]

    assert await names(None) == ["Base", "Ethereum", "solana"]
    assert await names(None, limit=2) == ["Base", "Ethereum"]
    assert await names("evm") == ["Base", "Ethereum"]
    assert await names("move") == []


async def test_venues_are_listed_by_type_and_chain(store: AssetStore) -> None:
    await add(store, a_chain("1"), a_chain("10"))
    await add(store, a_venue("Late", created=9), a_venue("Kraken", created=1))
    await add(store, a_venue("Curve", created=2, venue_type=DEX, chain_id="1"))
    await add(store, a_venue("Velodrome", created=3, venue_type=DEX, chain_id="10"))

    async def names(venue_type: VenueType.ValueType | None, chain_id: str | None, limit: int = 10) -> list[str]:
        return [venue.name for venue in await store.venues(venue_type, chain_id, limit=limit)]

    assert await names(None, None) == ["Kraken", "Curve", "Velodrome", "Late"]
    assert await names(None, None, limit=1) == ["Kraken"]
    assert await names(DEX, None) == ["Curve", "Velodrome"]
    assert await names(None, "1") == ["Curve"]
    assert await names(CEX, "1") == []


async def test_listings_are_listed_by_venue_by_asset_and_by_both(store: AssetStore) -> None:
    kraken, binance, bitcoin, ether = a_venue("Kraken"), a_venue("Binance"), an_asset("BTC"), an_asset("ETH")
    await add(store, kraken, binance, bitcoin, ether)
    await store.add_venue_asset(a_listing(kraken, bitcoin, listed=2, venue_asset_symbol="XXBT"))
    await store.add_venue_asset(a_listing(kraken, ether, listed=1, venue_asset_symbol="XETH"))
    await store.add_venue_asset(a_listing(binance, bitcoin, listed=3, venue_asset_symbol="BTC"))

    async def listed(venue: Venue | None, asset: Asset | None, limit: int = 10) -> list[str]:
        found = await store.venue_assets(venue and venue.venue_id, asset and asset.asset_id, limit=limit)
        return [listing.venue_asset_symbol for listing in found]

    assert await listed(kraken, None) == ["XETH", "XXBT"]
    assert await listed(kraken, None, limit=1) == ["XETH"]
    assert await listed(None, bitcoin) == ["XXBT", "BTC"]
    assert await listed(binance, bitcoin) == ["BTC"]
    assert await listed(binance, ether) == []
