"""Events: what a service publishes when something has happened.

>>> from cqc.events.v1.asset_events_pb2 import AssetCreated
>>> event = AssetCreated(event_id="7f3c", source="coingecko")
>>> event.asset.symbol = "ETH"
>>> event.timestamp.GetCurrentTime()
>>> AssetCreated.FromString(event.SerializeToString()).asset.symbol
'ETH'
"""
