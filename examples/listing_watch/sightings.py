from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class Sighting:
    """All that was seen of one asset. Events come in any order and some twice: what is told twice is kept once."""

    asset_id: str
    symbol: str
    name: str
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    listings: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_seen: str = ""

    def as_json(self) -> dict[str, Any]:
        """The sighting as it is served."""
        served = asdict(self)
        for name in ("deployments", "listings"):
            served[name] = list(served[name].values())
        return served


class Sightings:
    """The assets seen last, up to `keep` of them; who is seen again is among the last again.

    >>> sightings = Sightings(keep=2)
    >>> for symbol in ("BTC", "ETH", "BTC", "SOL"):
    ...     _ = sightings.see(symbol.lower(), symbol=symbol, name=symbol)
    >>> [sighting.symbol for sighting in sightings.latest(10)]
    ['SOL', 'BTC']
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._by_asset: OrderedDict[str, Sighting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_asset)

    def see(self, asset_id: str, *, symbol: str, name: str) -> Sighting:
        """Give what was seen of an asset, to add to it; the one seen longest ago gives way to a new one."""
        sighting = self._by_asset.setdefault(asset_id, Sighting(asset_id, symbol, name))
        sighting.symbol, sighting.name = symbol, name
        sighting.last_seen = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._by_asset.move_to_end(asset_id)
        while len(self._by_asset) > self._keep:
            self._by_asset.popitem(last=False)
        return sighting

    def get(self, asset_id: str) -> Sighting | None:
        """What was seen of this asset, None for nothing."""
        return self._by_asset.get(asset_id)

    def latest(self, limit: int) -> list[Sighting]:
        """Those seen last, the latest first."""
        return list(reversed(self._by_asset.values()))[:limit]
