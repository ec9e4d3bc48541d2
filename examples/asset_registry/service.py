from __future__ import annotations

import grpc
from cqc.services.v1 import asset_registry_pb2_grpc as rpc

from chassis import ServiceChassis
from examples.asset_registry.memory_store import MemoryStore
from examples.asset_registry.servicer import AssetRegistryServicer
from examples.asset_registry.settings import RegistrySettings


class AssetRegistry(ServiceChassis):
    """The platform's registry of assets, served over gRPC; says on the bus what is new.

    >>> AssetRegistry.name, AssetRegistry.uses
    ('cqar', ('bus',))
    """

    name = "cqar"
    version = "1.0.0"
    env_prefix = "CQAR"
    uses = ("bus",)
    Settings = RegistrySettings

    def register(self, server: grpc.aio.Server) -> None:
        servicer = AssetRegistryServicer(MemoryStore(), self.bus, self.config.settings)
        rpc.add_AssetRegistryServicer_to_server(servicer, server)
