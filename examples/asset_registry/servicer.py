from __future__ import annotations

from examples.asset_registry.assets import AssetMethods
from examples.asset_registry.chains import ChainMethods
from examples.asset_registry.deployments import DeploymentMethods
from examples.asset_registry.venues import VenueMethods


class AssetRegistryServicer(AssetMethods, DeploymentMethods, ChainMethods, VenueMethods):
    """`cqc.services.v1.AssetRegistry`; methods that are not here answer UNIMPLEMENTED, as the generated base says.

    >>> [name for name in dir(AssetRegistryServicer) if name.startswith("Delete")]
    ['DeleteAsset']
    """
