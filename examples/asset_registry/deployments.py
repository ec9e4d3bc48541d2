from __future__ import annotations

from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.events.v1.asset_events_pb2 import AssetDeploymentCreated
from cqc.services.v1.asset_registry_pb2 import (
    CreateAssetDeploymentRequest,
    CreateAssetDeploymentResponse,
    GetAssetDeploymentRequest,
    GetAssetDeploymentResponse,
    ListAssetDeploymentsRequest,
    ListAssetDeploymentsResponse,
)

from chassis.errors import InvalidInput
from examples.asset_registry.methods import RegistryMethods
from examples.asset_registry.records import new_id, now
from examples.asset_registry.validation import check, check_filters

MAX_DECIMALS = 255  # ERC-20 keeps them in one byte, and other standards have fewer


class DeploymentMethods(RegistryMethods):
    """Deployments of assets on chains: create, get, list."""

    async def CreateAssetDeployment(
        self, request: CreateAssetDeploymentRequest, context: object
    ) -> CreateAssetDeploymentResponse:
        """A native asset has no contract and so no address; every other deployment has one."""
        check(request, required=("asset_id", "chain_id", "decimals"))
        if request.is_native and request.contract_address:
            raise InvalidInput.field("contract_address", "must be left out for a native asset, which has no contract")
        if not request.is_native and not request.contract_address:
            raise InvalidInput.field("contract_address", "is required, except with is_native")
        if not 0 <= request.decimals <= MAX_DECIMALS:
            raise InvalidInput.field("decimals", f"must be from 0 to {MAX_DECIMALS}, and is {request.decimals}")
        chain = await self.store.chain(request.chain_id)
        created = now()
        deployment = AssetDeployment(
            deployment_id=new_id(),
            asset_id=request.asset_id,
            chain_id=request.chain_id,
            chain_name=chain.chain_name,
            address=request.contract_address or None,
            decimals=request.decimals,
            created_at=created,
            updated_at=created,
        )
        await self.store.add_deployment(deployment, native=request.is_native)
        await self.bus.publish(AssetDeploymentCreated(deployment=deployment, source="api", auto_detected=False))
        return CreateAssetDeploymentResponse(deployment=deployment)

    async def GetAssetDeployment(
        self, request: GetAssetDeploymentRequest, context: object
    ) -> GetAssetDeploymentResponse:
        check(request, required=("deployment_id",))
        return GetAssetDeploymentResponse(deployment=await self.store.deployment(request.deployment_id))

    async def ListAssetDeployments(
        self, request: ListAssetDeploymentsRequest, context: object
    ) -> ListAssetDeploymentsResponse:
        check_filters(request)
        if not request.asset_id and not request.chain_id:
            raise InvalidInput.field("asset_id", "is required, unless chain_id is given")
        most = self.settings.max_listed
        found = await self.store.deployments(request.asset_id or None, request.chain_id or None, limit=most + 1)
        return ListAssetDeploymentsResponse(deployments=self.complete(found, "asset_id and chain_id"))
