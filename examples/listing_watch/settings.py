from __future__ import annotations

from dataclasses import dataclass

from chassis.config import Secret, at_least, knob


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """The service's own options: the section `settings` of its file, and `LISTING_WATCH_SETTINGS_…` variables.

    >>> WatchSettings().registry_target
    '127.0.0.1:9000'
    """

    registry_target: str = knob("127.0.0.1:9000", doc="Address of the asset registry.")
    registry_key: Secret = knob(Secret(""), doc="API key for the asset registry; empty where it asks for none.")
    keep: int = knob(1000, doc="Assets that are remembered; those seen longest ago are forgotten.", check=at_least(1))
