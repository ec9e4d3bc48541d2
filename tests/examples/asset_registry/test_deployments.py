from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

from chassis.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from chassis.testing import running
from examples.asset_registry.service import AssetRegistry

USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"


async def deploy(stub: Any, asset: Any, chain: Any, address: str | None = USDC, **fields: Any) -> AssetDeployment:
    request = pb.CreateAssetDeploymentRequest(
        **{
            "asset_id": asset.asset_id,
            "chain_id": chain.chain_id,
            "contract_address": address,
            "decimals": 6,
            **fields,
        }
    )
    deployment: AssetDeployment = (await stub.CreateAssetDeployment(request)).deployment
    return deployment


async def test_a_deployment_knows_its_asset_and_its_chain_by_name(stub: Any, given: Any) -> None:
    asset, chain = await given.asset("USDC"), await given.chain(1, "Ethereum")
    deployment = await deploy(stub, asset, chain)
    assert uuid.UUID(deployment.deployment_id).version == 4
    assert deployment == AssetDeployment(
        deployment_id=deployment.deployment_id,
        asset_id=asset.asset_id,
        chain_id="1",
        chain_name="Ethereum",
        address=USDC,
        decimals=6,
        created_at=deployment.created_at,
        updated_at=deployment.created_at,
    )
    request = pb.GetAssetDeploymentRequest(deployment_id=deployment.deployment_id)
    assert (await stub.GetAssetDeployment(request)).deployment == deployment


async def test_a_new_deployment_is_told(stub: Any, given: Any, events: asyncio.Queue[Any]) -> None:
    asset, chain = await given.asset("USDC"), await given.chain()
    deployment = await deploy(stub, asset, chain)
    assert (await events.get()).asset == asset
    event = await events.get()
    assert event.deployment == deployment
    assert (event.source, event.auto_detected) == ("api", False)
    assert event.HasField("auto_detected")


async def test_a_native_deployment_has_no_address_and_names_the_chains_native_asset(stub: Any, given: Any) -> None:
    asset, chain = await given.asset("ETH"), await given.chain()
    deployment = await deploy(stub, asset, chain, "", decimals=18, is_native=True)
    assert not deployment.HasField("address")
    assert (await stub.GetChain(pb.GetChainRequest(chain_id="1"))).chain.native_asset_id == asset.asset_id


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"contract_address": None}, "contract_address: is required, except with is_native"),
        ({"is_native": True}, "contract_address: must be left out for a native asset, which has no contract"),
        ({"decimals": None}, "decimals: is required"),
        ({"decimals": -1}, "decimals: must be from 0 to 255, and is -1"),
        ({"decimals": 256}, "decimals: must be from 0 to 255, and is 256"),
        ({"asset_id": None}, "asset_id: is required"),
        ({"chain_id": ""}, "chain_id: must not be empty"),
    ],
)
async def test_a_deployment_that_cannot_be_meant_is_refused(
    stub: Any, given: Any, fields: dict[str, Any], problem: str
) -> None:
    asset, chain = await given.asset(), await given.chain()
    with pytest.raises(InvalidInput, match=f"^invalid input for {problem}$"):
        await deploy(stub, asset, chain, **fields)


async def test_a_deployment_needs_an_asset_and_a_chain_that_exist(stub: Any, given: Any) -> None:
    asset, chain = await given.asset(), await given.chain()
    with pytest.raises(NotFound, match=r"^asset not found: a-1$"):
        await deploy(stub, asset, chain, asset_id="a-1")
    with pytest.raises(NotFound, match=r"^chain not found: 404$"):
        await deploy(stub, asset, chain, chain_id="404")


async def test_an_address_is_registered_once_on_a_chain(stub: Any, given: Any) -> None:
    asset, chain = await given.asset(), await given.chain()
    await deploy(stub, asset, chain)
    with pytest.raises(AlreadyExists, match=f"^deployment already exists: {USDC.lower()} on chain 1$"):
        await deploy(stub, asset, chain, USDC.lower())


async def test_a_deployment_that_does_not_exist_is_not_found(stub: Any) -> None:
    with pytest.raises(NotFound, match=r"^deployment not found: d-1$"):
        await stub.GetAssetDeployment(pb.GetAssetDeploymentRequest(deployment_id="d-1"))


async def test_deployments_are_listed_by_asset_and_by_chain(stub: Any, given: Any) -> None:
    asset, other = await given.asset("USDC"), await given.asset("DAI")
    one, ten = await given.chain(1), await given.chain(10)
    here, there = await deploy(stub, asset, one), await deploy(stub, asset, ten)
    foreign = await deploy(stub, other, one, "0x1")

    async def listed(**request: Any) -> list[AssetDeployment]:
        return list((await stub.ListAssetDeployments(pb.ListAssetDeploymentsRequest(**request))).deployments)

    assert await listed(asset_id=asset.asset_id) == [here, there]
    assert await listed(asset_id="", chain_id="1") == [here, foreign]
    assert await listed(asset_id=asset.asset_id, chain_id="10") == [there]
    assert await listed(asset_id="a-1") == []


async def test_all_deployments_at_once_are_not_listed(stub: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for asset_id: is required, unless chain_id is given$"):
        await stub.ListAssetDeployments(pb.ListAssetDeploymentsRequest())


async def test_a_list_without_pages_is_whole_or_refused(given: Any, servers: dict[str, object]) -> None:
    async with running(AssetRegistry, {**servers, "settings.max_listed": 2}) as registry:
        stub = AssetRegistryStub(registry.channel())
        own = type(given)(stub)
        asset, chain = await own.asset(), await own.chain()
        request = pb.ListAssetDeploymentsRequest(chain_id="1")
        for address in ("0x1", "0x2"):
            await deploy(stub, asset, chain, address)
        assert len((await stub.ListAssetDeployments(request)).deployments) == 2
        await deploy(stub, asset, chain, "0x3")
        with pytest.raises(FailedPrecondition, match=r"^more than 2 match; narrow the list by asset_id and chain_id$"):
            await stub.ListAssetDeployments(request)
