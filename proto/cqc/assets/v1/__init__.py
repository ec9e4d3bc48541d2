"""Assets, their chains and deployments, how they relate, and what is wrong with them.

>>> from cqc.assets.v1.relationship_pb2 import RELATIONSHIP_TYPE_WRAPS, AssetRelationship
>>> link = AssetRelationship(from_asset_id="weth", to_asset_id="eth", relationship_type=RELATIONSHIP_TYPE_WRAPS)
>>> link.to_asset_id
'eth'
"""
