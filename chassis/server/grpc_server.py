from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from chassis.address import host_port
from chassis.call import Interceptor
from chassis.component import Component, StartError
from chassis.errors import Temporary
from chassis.server.accepting import Accepting
from chassis.server.health import HealthService
from chassis.server.reflection import add_reflection
from chassis.server.registrar import Handlers, Registrar
from interceptors.edge import Serving

if TYPE_CHECKING:
    from chassis.health import Health

_log = logging.getLogger("chassis.server")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can ask of the server; all finite, so that no single one can take it all."""

    max_receive_message_bytes: int = 4 * 1024 * 1024
    max_send_message_bytes: int = 4 * 1024 * 1024
    max_metadata_bytes: int = 16 * 1024
    max_concurrent_streams: int = 256
    keepalive_time: float = 60.0  # seconds without traffic until the server asks whether the client is still there
    keepalive_timeout: float = 20.0
    keepalive_min_interval: float = 10.0  # clients that ping more often than this are disconnected

    def options(self) -> list[tuple[str, Any]]:
        """As grpc channel arguments."""
        return [
            # grpc binds with SO_REUSEPORT otherwise: a second server on the port would silently take half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.max_receive_message_bytes),
            ("grpc.max_send_message_length", self.max_send_message_bytes),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            # Otherwise calls count until grpc.aio has let go of them, which is after their callers have the answer: of
            # the calls that clients held back and then sent, most would be refused (UNAVAILABLE).
            ("grpc.http.overload_protection", 0),
            ("grpc.keepalive_time_ms", int(self.keepalive_time * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", int(self.keepalive_min_interval * 1000)),
        ]


class GrpcServer(Component):
    """The aio gRPC server: user services, health and reflection behind one handler and one stack of interceptors.

    `register` is called with what generated `add_…_to_server` functions need. Port 0 takes a free one; `port` says
    which, once started. `grace` is the time in seconds that running calls get when it stops; `stop` raises TimeoutError
    where some had to be cut off.

    Where its port closes by itself it is opened again. `lost` is called each time; `given_up`, with the reason, where
    that did not succeed within a few seconds.
    """

    name = "grpc"

    def __init__(
        self,
        register: Callable[[Any], None],
        interceptors: Sequence[Interceptor],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        health: Health | None = None,
        reflection: bool = False,
        public: Iterable[str] = (),
        grace: float = 20.0,
        lost: Callable[[], object] = lambda: None,
        given_up: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self.host = host
        self.port = port
        self.grace = grace
        self._limits = limits or Limits()
        limit = self._limits.max_send_message_bytes
        self._serving = Serving(limit if limit >= 0 else math.inf)
        self._health = HealthService(health)
        self._accepting = Accepting(
            self._bound,
            running=lambda: self._serving.calls,
            lost=lost,
            changed=health.recheck if health is not None else lambda: None,
            given_up=given_up,
        )
        registrar = Registrar()
        register(registrar)
        self.services = registrar.services
        self.paths = frozenset(registrar.handlers)
        self._health.add_to(registrar, self.services)
        if reflection:
            add_reflection(registrar, self.services)
        # Composed here, once: what any method's calls go through does not change while the server runs.
        self._handlers = Handlers(
            registrar.handlers,
            interceptors,
            serving=self._serving,
            public=public,
            max_metadata_bytes=self._limits.max_metadata_bytes,
        )

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return host_port(self.host, self.port)

    async def start(self) -> None:
        await self._accepting.start()
        self._health.start()

    async def check(self) -> None:
        if not self._accepting.open:
            raise Temporary("the gRPC port is closed")

    async def stop(self) -> None:
        self._health.stop()
        grace = self.time_to_end(self.grace)
        cut: list[str] = []
        # Set just before grpc cancels: what is cancelled from here on ends with UNAVAILABLE, and is recorded so.
        cutting = asyncio.get_running_loop().call_later(grace, self._cut, cut)
        try:
            await self._accepting.stop(grace)
        finally:
            cutting.cancel()
        await self._serving.idle()
        if cut:
            raise TimeoutError(f"{len(cut)} calls had to be cut off")

    def _bound(self) -> grpc.aio.Server:
        self._try_port()
        server = grpc.aio.server(options=self._limits.options())
        server.add_generic_rpc_handlers((self._handlers,))
        try:
            self.port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise StartError.cannot_listen("grpc", self.host, self.port, OSError(None, str(error))) from error
        return server

    def _try_port(self) -> None:
        # grpc's own error names no cause, and it writes lines of its own to stderr.
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
        except OSError as error:
            raise StartError.cannot_listen("grpc", self.host, self.port, error) from error

    def _cut(self, cut: list[str]) -> None:
        self._serving.cut = True
        for call in self._serving.calls:
            cut.append(call.method.path)
            _log.warning("call cut off by the stop of the server", extra={"method": call.method.path})

    @property
    def running(self) -> int:
        """How many calls are being worked on right now."""
        return len(self._serving.calls)
