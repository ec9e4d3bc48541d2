from __future__ import annotations

from cqc.assets.v1.chain_pb2 import Chain
from cqc.services.v1.asset_registry_pb2 import (
    CreateChainRequest,
    CreateChainResponse,
    GetChainRequest,
    GetChainResponse,
    ListChainsRequest,
    ListChainsResponse,
)

from chassis.errors import InvalidInput
from examples.asset_registry.methods import RegistryMethods
from examples.asset_registry.records import new_id
from examples.asset_registry.validation import check, check_filters


class ChainMethods(RegistryMethods):
    """Chains: create, get, list."""

    async def CreateChain(self, request: CreateChainRequest, context: object) -> CreateChainResponse:
        """The chain's id is its network's number as text, or a new UUID for networks without a number.

        The native asset may be registered later: its symbol is kept, and its native deployment fills in the id.
        """
        check(request, required=("name",))
        numbered = request.HasField("chain_id")
        if numbered and request.chain_id < 1:
            raise InvalidInput.field("chain_id", f"must be the network's number, from 1, and is {request.chain_id}")
        chain = Chain(
            chain_id=str(request.chain_id) if numbered else new_id(),
            chain_name=request.name,
            chain_type=request.chain_type if request.HasField("chain_type") else None,
            network_id=request.chain_id if numbered else None,
            explorer_url=request.block_explorer_url if request.HasField("block_explorer_url") else None,
        )
        if request.native_asset_symbol:
            chain.metadata["native_asset_symbol"] = request.native_asset_symbol
            native_asset_id = await self.store.native_asset_id(request.native_asset_symbol)
            if native_asset_id is not None:
                chain.native_asset_id = native_asset_id
        await self.store.add_chain(chain)
        return CreateChainResponse(chain=chain)

    async def GetChain(self, request: GetChainRequest, context: object) -> GetChainResponse:
        check(request, required=("chain_id",))
        return GetChainResponse(chain=await self.store.chain(request.chain_id))

    async def ListChains(self, request: ListChainsRequest, context: object) -> ListChainsResponse:
        check_filters(request)
        found = await self.store.chains(request.chain_type or None, limit=self.settings.max_listed + 1)
        return ListChainsResponse(chains=self.complete(found, "chain_type"))
