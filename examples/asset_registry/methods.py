from __future__ import annotations

from typing import TypeVar

from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryServicer

from chassis.bus import Bus
from chassis.errors import FailedPrecondition
from examples.asset_registry.settings import RegistrySettings
from examples.asset_registry.store import AssetStore

R = TypeVar("R")


class RegistryMethods(AssetRegistryServicer):
    """What the methods of the registry work with. None of them needs the context: they return, or raise.

    A record is stored first and told about then. Between the two lies a gap: where the bus is away, the caller gets an
    error for a record that is there, and its event is never published.
    """

    def __init__(self, store: AssetStore, bus: Bus, settings: RegistrySettings) -> None:
        self.store = store
        self.bus = bus
        self.settings = settings

    def complete(self, found: list[R], narrowed_by: str) -> list[R]:
        """The answer to a list without pages: all of it, or a refusal, but never a part that looks like all."""
        most = self.settings.max_listed
        if len(found) > most:
            raise FailedPrecondition(f"more than {most} match; narrow the list by {narrowed_by}")
        return found
