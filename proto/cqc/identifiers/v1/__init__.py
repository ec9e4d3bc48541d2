"""Identifiers: the ids that assets, instruments and markets have in outside systems.

>>> from cqc.identifiers.v1.identifier_pb2 import Identifier
>>> Identifier(entity_type="asset", asset_id="7f3c", source="coingecko", external_id="bitcoin").external_id
'bitcoin'
"""
