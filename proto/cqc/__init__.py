"""The protobuf contract of the platform, CQC v0.4.0: its messages, events and gRPC services.

Fields are optional: one that was never set is told apart from one that is empty or zero.

>>> from cqc.assets.v1.asset_pb2 import ASSET_TYPE_NATIVE, Asset
>>> sent = Asset(symbol="BTC", asset_type=ASSET_TYPE_NATIVE, description="")
>>> received = Asset.FromString(sent.SerializeToString())
>>> received.symbol, received.HasField("description"), received.HasField("category")
('BTC', True, False)
"""
