from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from chassis.auth import from_config
from chassis.errors import Unauthorized, Unimplemented
from chassis.testing import Running, running
from examples.asset_registry import reference
from examples.asset_registry.service import AssetRegistry

CONFIG = Path(__file__).parents[3] / "examples" / "asset_registry" / "config.yaml"
SERVICE = pb.DESCRIPTOR.services_by_name["AssetRegistry"]
KEY = "demo-key-for-the-tour"

SERVED = {
    *("CreateAsset", "GetAsset", "UpdateAsset", "DeleteAsset", "ListAssets", "SearchAssets"),
    *("CreateAssetDeployment", "GetAssetDeployment", "ListAssetDeployments"),
    *("CreateChain", "GetChain", "ListChains"),
    *("CreateVenue", "GetVenue", "ListVenues"),
    *("CreateVenueAsset", "GetVenueAsset", "ListVenueAssets"),
}


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods if method.name not in SERVED])
async def test_methods_that_are_left_out_are_unimplemented(stub: Any, method: str) -> None:
    request = GetMessageClass(SERVICE.methods_by_name[method].input_type)()
    with pytest.raises(Unimplemented, match=f"^/cqc.services.v1.AssetRegistry/{method} is not implemented"):
        await getattr(stub, method)(request)


async def test_the_whole_reference_set_can_be_registered(stub: Any, registry: Running[AssetRegistry]) -> None:
    ids = await reference.register(stub)
    assert ids.chains["Ethereum"] == "1"
    listed = await stub.ListAssets(pb.ListAssetsRequest())
    assert listed.total_count == len(reference.ASSETS) == len(ids.assets)
    for chain in (await stub.ListChains(pb.ListChainsRequest())).chains:
        native = chain.metadata["native_asset_symbol"]
        assert chain.native_asset_id == ids.assets[native]
    usdc = await stub.ListAssetDeployments(pb.ListAssetDeploymentsRequest(asset_id=ids.assets["USDC"]))
    assert {deployment.chain_name for deployment in usdc.deployments} >= {"Ethereum", "Base", "Solana"}
    at_kraken = pb.ListVenueAssetsRequest(venue_id=ids.venues["Kraken", None])
    symbols = {listing.venue_asset_symbol for listing in (await stub.ListVenueAssets(at_kraken)).venue_assets}
    assert "XXBT" in symbols


def test_its_configuration_is_short_and_without_problems() -> None:
    assert 10 <= len(CONFIG.read_text().splitlines()) <= 20
    config = AssetRegistry.configure(file=CONFIG, environ={}, dev=True)
    assert config.warnings == ()
    assert config.settings.default_page_size == 20
    authenticator = from_config(config.auth)
    assert authenticator is not None
    assert authenticator.authenticate(KEY).id == "demo"
    assert authenticator.authenticate("listing-watch-key-for-the-tour").id == "listing-watch"


def test_the_keys_in_plain_sight_can_be_replaced() -> None:
    config = AssetRegistry.configure(file=CONFIG, environ={"DEMO_KEY": "another-key-for-the-demo"}, dev=True)
    authenticator = from_config(config.auth)
    assert authenticator is not None
    assert authenticator.authenticate("another-key-for-the-demo").id == "demo"
    with pytest.raises(Unauthorized):
        authenticator.authenticate(KEY)


async def test_with_keys_configured_nobody_without_one_is_served(servers: dict[str, object]) -> None:
    async with running(AssetRegistry, {**servers, "auth.api_keys": [f"demo:{KEY}"]}) as registry:
        with pytest.raises(Unauthorized):
            await AssetRegistryStub(registry.channel()).ListChains(pb.ListChainsRequest())
        stub = AssetRegistryStub(registry.channel(token=KEY))
        assert await stub.ListChains(pb.ListChainsRequest()) == pb.ListChainsResponse()


async def test_who_created_an_asset_is_told_with_it(servers: dict[str, object]) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(event: Any) -> None:
        heard.put_nowait(event)

    async with running(AssetRegistry, {**servers, "auth.api_keys": [f"demo:{KEY}"]}) as registry:
        await registry.service.bus.subscribe("cqc.events.v1.asset_created", hear)
        request = pb.CreateAssetRequest(symbol="BTC", name="Bitcoin", asset_type=1)  # type: ignore[arg-type]
        await AssetRegistryStub(registry.channel(token=KEY)).CreateAsset(request)
        assert (await heard.get()).actor_id == "service:demo"


async def test_a_client_that_has_only_reflection_can_call_it(servers: dict[str, object]) -> None:
    def create(target: str) -> tuple[str, str]:
        """Knows an address and a method's name, and no generated code."""
        with grpc.insecure_channel(target) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            method = pool.FindServiceByName("cqc.services.v1.AssetRegistry").methods_by_name["CreateAsset"]
            request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            asset_type = method.input_type.fields_by_name["asset_type"].enum_type
            assert asset_type is not None
            call = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=request_type.SerializeToString,
                response_deserializer=response_type.FromString,
            )
            number = asset_type.values_by_name["ASSET_TYPE_NATIVE"].number
            response: Any = call(request_type(symbol="BTC", name="Bitcoin", asset_type=number), timeout=10)
            return response.asset.symbol, response.asset.asset_id

    async with running(AssetRegistry, {**servers, "server.enable_reflection": True}) as registry:
        symbol, asset_id = await asyncio.to_thread(create, registry.service.grpc_address)
        asset = (await AssetRegistryStub(registry.channel()).GetAsset(pb.GetAssetRequest(asset_id=asset_id))).asset
        assert asset.symbol == symbol == "BTC"
