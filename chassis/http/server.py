from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from chassis.address import host_port
from chassis.call import Interceptor
from chassis.component import Component, StartError
from chassis.health import Health
from chassis.http.edge import Edge
from chassis.http.own_routes import Exposition, OwnRoutes
from chassis.http.runner import Runner


class HttpServer(Component):
    """The HTTP sidecar: health, metrics and the service's own routes, behind one stack of interceptors.

    `routes` is given aiohttp's Application, to register whatever aiohttp can serve. Port 0 takes a free one; `port`
    says which, once started. `max_header_bytes` is the limit for the request line, and for all headers together;
    `request_timeout` how many seconds a request may take (None: any time), and `grace` how many running requests get
    when the server stops.

    `start` raises `StartError` where it cannot listen, and ValueError where a route takes one of the chassis' paths;
    `stop` raises TimeoutError where requests had to be cut off.
    """

    name = "http"

    def __init__(
        self,
        *,
        health: Health,
        host: str = "127.0.0.1",
        port: int = 0,
        interceptors: Sequence[Interceptor] = (),
        routes: Callable[[web.Application], Any] | None = None,
        metrics: Exposition | None = None,
        metrics_path: str = "/metrics",
        max_body_bytes: int = 1024 * 1024,
        max_header_bytes: int = 16 * 1024,
        request_timeout: float | None = None,
        grace: float = 20.0,
    ) -> None:
        if max_body_bytes < 1:  # aiohttp would take 0 as "without limit"
            raise ValueError(f"max_body_bytes must be at least 1, not {max_body_bytes}")
        self.host = host
        self.port = port
        self.grace = grace
        self._routes = routes
        self._own = OwnRoutes(health, metrics, metrics_path)
        self._max_body_bytes = max_body_bytes
        self._edge = Edge(
            interceptors, timeout=request_timeout, max_header_bytes=max_header_bytes, probes=self._own.paths
        )
        self._options = {"max_line_size": max_header_bytes, "max_field_size": max_header_bytes}
        self._runner: Runner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return host_port(self.host, self.port)

    @property
    def running(self) -> int:
        """How many requests are being worked on right now."""
        return self._edge.running

    async def start(self) -> None:
        app = await self._application()
        runner = Runner(app, self._edge, **self._options)
        # Bound first: hooks of the service must not have done their work for a server that cannot be.
        listener = await self._bind(runner)
        try:
            await runner.setup()
            await listener.start_serving()
        except BaseException:
            listener.close()
            await runner.cleanup()
            raise
        self.port = listener.sockets[0].getsockname()[1]
        self._runner, self._listener = runner, listener

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if runner is not None:
            runner.grace = self.time_to_end(self.grace)
            await runner.cleanup()
            if runner.cut:
                raise TimeoutError(f"{runner.cut} requests had to be cut off")

    async def _application(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes)
        if self._routes is not None:
            registering = self._routes(app)
            if inspect.isawaitable(registering):
                await registering
        self._own.add_to(app)
        app.on_response_prepare.append(self._edge.on_prepare)
        return app

    async def _bind(self, runner: Runner) -> asyncio.Server:
        def connect() -> asyncio.BaseProtocol:
            assert runner.server is not None
            return runner.server()

        loop = asyncio.get_running_loop()
        try:
            # Without SO_REUSEPORT, which is asyncio's default: two services on one port would share its connections.
            return await loop.create_server(connect, self.host, self.port, start_serving=False)
        except OSError as error:
            raise StartError.cannot_listen("http", self.host, self.port, error) from error
