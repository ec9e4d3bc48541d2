"""grpc.health.v1: what balancers ask a server over gRPC, and are told when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.errors import NotFound
from chassis.server.registrar import Registrar
from interceptors.edge import ClientGone

if TYPE_CHECKING:
    from chassis.health import Health

_Status = health_pb2.HealthCheckResponse
_List: Any = health_pb2.HealthListResponse  # type: ignore[attr-defined]  # newer than its stubs

# Seconds in which a watcher has to read that it is to go elsewhere; what it has not read by then is left unsaid.
_TO_TAKE_LEAVE = 0.5


class HealthService:
    """grpc.health.v1, telling what the readiness endpoint tells: for the server as a whole, and for each service.

    Anybody may watch it. grpcio's own servicer writes to a watcher while it holds a lock, and so waits with all others
    for one that does not read; here nobody waits for anybody, and to say something new is no more than to note it.
    """

    def __init__(self, health: Health | None) -> None:
        self._health = health
        self._services: frozenset[str] = frozenset({""})
        self._status: Any = _Status.NOT_SERVING
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._unsubscribe: Any = None

    def add_to(self, registrar: Registrar, services: Sequence[str]) -> None:
        """Register it for these services."""
        self._services = frozenset({"", *services})
        health_pb2_grpc.add_HealthServicer_to_server(_Servicer(self), cast(Any, registrar))

    def start(self) -> None:
        """Begin to follow the service's health."""
        self._tell(self._health is None or self._health.ready)
        if self._health is not None:
            self._unsubscribe = self._health.subscribe(self._tell)

    def stop(self) -> None:
        """Tell watchers to go elsewhere, for good, and let them go: the server would wait for them."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._tell(False)
        self._closed.set()

    def _tell(self, ready: bool) -> None:
        if not self._closed.is_set():
            self._status = _Status.SERVING if ready else _Status.NOT_SERVING
            self._changed.set()
            self._changed = asyncio.Event()

    def status_of(self, service: str) -> Any:
        """What is to be said of a service; raises NotFound for one that there is not."""
        if service not in self._services:
            raise NotFound.of("service", service)
        return self._status

    def statuses(self) -> dict[str, Any]:
        """What is to be said of each service."""
        return dict.fromkeys(sorted(self._services), self._status)

    async def watch(self, service: str, context: Any) -> None:
        """Write what is the case, and again when it has changed; what changed twice meanwhile is written once."""
        telling = asyncio.ensure_future(self._watch(service, context))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({telling, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():  # it knows as well, and is over, but where the watcher does not read
                await asyncio.wait({telling}, timeout=_TO_TAKE_LEAVE)
            if not telling.done():
                raise ClientGone  # gRPC could not send an end either, behind what is stuck
            telling.result()
        finally:
            closed.cancel()
            telling.cancel()

    async def _watch(self, service: str, context: Any) -> None:
        told = None
        while True:
            changed = self._changed
            status = self._status if service in self._services else _Status.SERVICE_UNKNOWN
            if status != told:
                told = status
                await context.write(_Status(status=status))
            if self._closed.is_set() and status in (self._status, _Status.SERVICE_UNKNOWN):
                return
            if changed is self._changed:
                await changed.wait()


class _Servicer(health_pb2_grpc.HealthServicer):
    def __init__(self, health: HealthService) -> None:
        self._health = health

    async def Check(self, request: Any, context: Any) -> Any:
        return _Status(status=self._health.status_of(request.service))

    async def List(self, request: Any, context: Any) -> Any:
        said = {name: _Status(status=status) for name, status in self._health.statuses().items()}
        return _List(statuses=said)

    async def Watch(self, request: Any, context: Any) -> None:
        await self._health.watch(request.service, context)
