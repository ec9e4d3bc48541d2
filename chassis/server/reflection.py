"""Reflection: what tools ask a server that they have no .proto files of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from grpc_health.v1 import health_pb2

from chassis.server.registrar import Registrar


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
