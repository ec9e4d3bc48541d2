"""The platform's five gRPC services, with their requests and responses.

>>> from cqc.services.v1 import asset_registry_pb2_grpc as rpc
>>> from cqc.services.v1.asset_registry_pb2 import GetAssetRequest, GetAssetResponse
>>> class Assets(rpc.AssetRegistryServicer):
...     async def GetAsset(self, request, context):
...         return GetAssetResponse(asset={"asset_id": request.asset_id})
>>> import asyncio
>>> asyncio.run(Assets().GetAsset(GetAssetRequest(asset_id="7f3c"), None)).asset.asset_id
'7f3c'
"""
