"""A gRPC-first service chassis: write the servicer, and have everything around it.

>>> from chassis import ServiceChassis
>>> class Pricing(ServiceChassis):
...     name = "pricing"
>>> Pricing.env_prefix
'CQI'

Started with `chassis run pricing:Pricing` it serves gRPC with health, and an HTTP sidecar with health and metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chassis.version import __version__

if TYPE_CHECKING:
    from chassis.service import ServiceChassis

__all__ = ["ServiceChassis", "__version__"]


# Looked up when first used (PEP 562): the interceptors import parts of this package, and ServiceChassis imports them.
def __getattr__(name: str) -> Any:
    if name == "ServiceChassis":
        from chassis.service import ServiceChassis

        return ServiceChassis
    raise AttributeError(f"module 'chassis' has no attribute {name!r}")
