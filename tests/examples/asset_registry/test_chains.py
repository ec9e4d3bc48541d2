from __future__ import annotations

import uuid
from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.services.v1 import asset_registry_pb2 as pb

from chassis.errors import AlreadyExists, InvalidInput, NotFound


async def test_the_id_of_a_chain_is_its_number_as_text(stub: Any, given: Any) -> None:
    chain = await given.chain(
        42161, "Arbitrum One", chain_type="evm", native_asset_symbol="ETH", block_explorer_url="https://arbiscan.io"
    )
    expected = Chain(
        chain_id="42161",
        chain_name="Arbitrum One",
        chain_type="evm",
        network_id=42161,
        explorer_url="https://arbiscan.io",
    )
    expected.metadata["native_asset_symbol"] = "ETH"
    assert chain == expected
    assert (await stub.GetChain(pb.GetChainRequest(chain_id="42161"))).chain == expected


async def test_a_chain_without_a_number_gets_a_uuid(stub: Any, given: Any) -> None:
    chain = await given.chain(None, "Bitcoin")
    assert uuid.UUID(chain.chain_id).version == 4
    assert chain == Chain(chain_id=chain.chain_id, chain_name="Bitcoin")
    assert (await stub.GetChain(pb.GetChainRequest(chain_id=chain.chain_id))).chain == chain


async def test_the_native_asset_is_linked_if_it_is_known(given: Any) -> None:
    ether = await given.asset("ETH", "Ether")
    await given.asset("ETH", "Some token", asset_type=AssetType.ASSET_TYPE_ERC20)
    assert (await given.chain(1, native_asset_symbol="eth")).native_asset_id == ether.asset_id
    assert not (await given.chain(56, native_asset_symbol="BNB")).HasField("native_asset_id")


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
async def test_numbers_of_networks_begin_with_one(given: Any, number: int) -> None:
    with pytest.raises(InvalidInput, match=f"^invalid input for chain_id: must be the network's number, .* {number}$"):
        await given.chain(number)


async def test_a_chain_needs_a_name(stub: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for name: is required$"):
        await stub.CreateChain(pb.CreateChainRequest(chain_id=1))


async def test_a_chain_is_registered_once(given: Any) -> None:
    await given.chain(1, "Ethereum")
    with pytest.raises(AlreadyExists, match=r"^chain already exists: 1 \(Mainnet\)$"):
        await given.chain(1, "Mainnet")
    with pytest.raises(AlreadyExists, match=r"\(ethereum\)$"):
        await given.chain(None, "ethereum")


async def test_a_chain_that_does_not_exist_is_not_found(stub: Any) -> None:
    with pytest.raises(NotFound, match=r"^chain not found: 404$"):
        await stub.GetChain(pb.GetChainRequest(chain_id="404"))


async def test_chains_are_listed_all_or_by_type(stub: Any, given: Any) -> None:
    base, solana = (
        await given.chain(8453, "Base", chain_type="evm"),
        await given.chain(None, "Solana", chain_type="svm"),
    )
    assert list((await stub.ListChains(pb.ListChainsRequest())).chains) == [base, solana]
    assert list((await stub.ListChains(pb.ListChainsRequest(chain_type="svm"))).chains) == [solana]
    assert list((await stub.ListChains(pb.ListChainsRequest(chain_type="move"))).chains) == []
