"""An asset of the contracts, for tests of what only passes messages on."""

from __future__ import annotations

from cqc.assets.v1.asset_pb2 import Asset

BITCOIN = Asset(asset_id="a-1", symbol="BTC", name="Bitcoin")
