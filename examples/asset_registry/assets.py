from __future__ import annotations

from cqc.assets.v1.asset_pb2 import Asset
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqc.services.v1.asset_registry_pb2 import (
    CreateAssetRequest,
    CreateAssetResponse,
    DeleteAssetRequest,
    DeleteAssetResponse,
    GetAssetRequest,
    GetAssetResponse,
    ListAssetsRequest,
    ListAssetsResponse,
    SearchAssetsRequest,
    SearchAssetsResponse,
    UpdateAssetRequest,
    UpdateAssetResponse,
)

from chassis.errors import InvalidInput
from examples.asset_registry import page_token
from examples.asset_registry.methods import RegistryMethods
from examples.asset_registry.records import new_id, now
from examples.asset_registry.store import AssetFilter, Position
from examples.asset_registry.validation import bounded, check, check_filters

_TOLD_BY_CALLERS = ("symbol", "name", "asset_type", "category", "description", "logo_url", "website_url")


class AssetMethods(RegistryMethods):
    """Assets: create, get, update, delete, list, search."""

    async def CreateAsset(self, request: CreateAssetRequest, context: object) -> CreateAssetResponse:
        check(request, required=("symbol", "name", "asset_type"))
        asset = _told(request)
        asset.asset_id = new_id()
        asset.created_at.CopyFrom(now())
        asset.updated_at.CopyFrom(asset.created_at)
        await self.store.add_asset(asset)
        await self.bus.publish(AssetCreated(asset=asset, source="api"))
        return CreateAssetResponse(asset=asset)

    async def GetAsset(self, request: GetAssetRequest, context: object) -> GetAssetResponse:
        check(request, required=("asset_id",))
        return GetAssetResponse(asset=await self.store.asset(request.asset_id))

    async def UpdateAsset(self, request: UpdateAssetRequest, context: object) -> UpdateAssetResponse:
        """Changes what is present in the request: absent fields stay as they are, an empty text empties its field."""
        check(request, required=("asset_id",))
        changes = _told(request)
        if changes == Asset():
            raise InvalidInput(f"nothing to change: set at least one of {', '.join(_TOLD_BY_CALLERS)}")
        changes.updated_at.CopyFrom(now())
        return UpdateAssetResponse(asset=await self.store.update_asset(request.asset_id, changes))

    async def DeleteAsset(self, request: DeleteAssetRequest, context: object) -> DeleteAssetResponse:
        check(request, required=("asset_id",))
        await self.store.delete_asset(request.asset_id)
        return DeleteAssetResponse(success=True)

    async def ListAssets(self, request: ListAssetsRequest, context: object) -> ListAssetsResponse:
        check_filters(request)
        size = bounded("page_size", request.page_size, **self._page_sizes)
        matching = AssetFilter(request.asset_type or None, request.category or None)
        after = page_token.decode(request.page_token, *matching) if request.page_token else None
        # One more than asked for says whether there is a next page.
        assets = await self.store.assets(matching, after=after, limit=size + 1)
        total = await self.store.count_assets(matching)
        response = ListAssetsResponse(assets=assets[:size], total_count=total)
        if len(assets) > size:
            response.next_page_token = page_token.encode(Position.of(assets[size - 1]), *matching)
        return response

    async def SearchAssets(self, request: SearchAssetsRequest, context: object) -> SearchAssetsResponse:
        check(request, required=("query",))
        limit = bounded("limit", request.limit, **self._page_sizes)
        query = request.query.strip()
        if not query:
            raise InvalidInput.field("query", "must not be empty")
        return SearchAssetsResponse(assets=await self.store.search_assets(query, limit=limit))

    @property
    def _page_sizes(self) -> dict[str, int]:
        return {"default": self.settings.default_page_size, "most": self.settings.max_page_size}


def _told(request: CreateAssetRequest | UpdateAssetRequest) -> Asset:
    """What the caller says of an asset: the fields that are present, and only those."""
    return Asset(**{field.name: value for field, value in request.ListFields() if field.name in _TOLD_BY_CALLERS})
