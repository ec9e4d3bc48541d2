from __future__ import annotations

import grpc
from cqc.services.v1 import asset_registry_pb2_grpc as rpc

from chassis import ServiceChassis
from examples.asset_registry.cached_store import CachedStore
from examples.asset_registry.postgres_store import SCHEMA, PostgresStore
from examples.asset_registry.servicer import AssetRegistryServicer
from examples.asset_registry.settings import RegistrySettings


class AssetRegistry(ServiceChassis):
    """The platform's registry of assets, served over gRPC; says on the bus what is new.

    >>> AssetRegistry.name, AssetRegistry.uses
    ('cqar', ('database', 'cache', 'bus'))
    """

    name = "cqar"
    version = "1.0.0"
    env_prefix = "CQAR"
    uses = ("database", "cache", "bus")
    schema = SCHEMA
    Settings = RegistrySettings

    def register(self, server: grpc.aio.Server) -> None:
        store = CachedStore(PostgresStore(self.db), self.cache)
        servicer = AssetRegistryServicer(store, self.bus, self.config.settings)
        rpc.add_AssetRegistryServicer_to_server(servicer, server)
