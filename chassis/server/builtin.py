"""The services that every server has: health for balancers, reflection for tools."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.server.registrar import Registrar

if TYPE_CHECKING:
    from chassis.health import Health

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Servicer(grpc_health.aio.HealthServicer):
    """grpcio's servicer, whose watchers are let go when the server stops: it would wait for them until they are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> None:
        watching = asyncio.ensure_future(super().Watch(request, context))
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            closing.cancel()
            watching.cancel()


class HealthService:
    """grpc.health.v1, telling what the readiness endpoint tells: for the server as a whole, and for each service."""

    def __init__(self, health: Health | None) -> None:
        self._health = health
        self._servicer = _Servicer()
        self._services: tuple[str, ...] = ("",)
        self._unsubscribe: Any = None

    def add_to(self, registrar: Registrar, services: Sequence[str]) -> None:
        """Register it for these services."""
        self._services = ("", *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, cast(Any, registrar))

    async def start(self) -> None:
        """Begin to follow the service's health."""
        await self.tell()
        if self._health is not None:
            self._unsubscribe = self._health.subscribe(self._tell)

    async def tell(self) -> None:
        """Say what is the case now."""
        await self._tell(self._health is None or self._health.ready)

    async def stop(self) -> None:
        """Tell watchers to go elsewhere, for good."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._servicer.enter_graceful_shutdown()
        self._servicer.closing.set()

    async def _tell(self, ready: bool) -> None:
        for service in self._services:
            await self._servicer.set(service, _SERVING if ready else _NOT_SERVING)


def add_reflection(registrar: Registrar, services: Sequence[str]) -> None:
    """Serve reflection as v1 and as v1alpha: tools ask for either, and the messages are the same on the wire."""
    # Imported here: a service that does not offer it does not pay for it.
    from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

    names = (*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    v1alpha = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
    # Taken by its name: `enable_server_reflection` picks the sync servicer for anything but a grpc.aio.Server.
    servicer = reflection.aio.ReflectionServicer((*names, v1alpha))
    cast(Any, reflection_pb2_grpc).add_ServerReflectionServicer_to_server(servicer, registrar)
    handlers = {
        path.rpartition("/")[2]: handler
        for path, handler in registrar.handlers.items()
        if path.startswith(f"/{v1alpha}/")
    }
    registrar.add_registered_method_handlers("grpc.reflection.v1.ServerReflection", handlers)
