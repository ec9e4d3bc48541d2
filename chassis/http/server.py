from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from chassis.call import Interceptor
from chassis.component import Component, StartError
from chassis.health import Health
from chassis.http.edge import Edge
from chassis.http.own_routes import Exposition, OwnRoutes
from chassis.http.runner import Runner


class HttpServer(Component):
    """The HTTP sidecar: health, metrics and the service's own routes, behind one stack of interceptors.

    `routes` is given aiohttp's Application, to register whatever aiohttp can serve. Port 0 takes a free one; `port`
    says which, once started. `max_header_bytes` is the limit for the request line and for each header,
    `keepalive_timeout` the time in seconds after which an idle connection is closed, `request_timeout` how many seconds
    a request may take (None: any time), and `grace` how many running requests get when the server stops.

    `start` raises `StartError` where it cannot listen, and ValueError where a route takes one of the chassis' paths.
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
        keepalive_timeout: float = 75.0,
        request_timeout: float | None = None,
        grace: float = 20.0,
    ) -> None:
        if max_body_bytes < 1:  # aiohttp would take 0 as "without limit"
            raise ValueError(f"max_body_bytes must be at least 1, not {max_body_bytes}")
        self.host = host
        self.port = port
        self.grace = grace
        # When running requests are cut, on the clock of the event loop; in place of `grace` once it is known.
        self.deadline: float | None = None
        self._routes = routes
        self._own = OwnRoutes(health, metrics, metrics_path)
        self._max_body_bytes = max_body_bytes
        self._edge = Edge(interceptors, timeout=request_timeout)
        self._options = {
            "max_line_size": max_header_bytes,
            "max_field_size": max_header_bytes,
            "keepalive_timeout": keepalive_timeout,
        }
        self._runner: Runner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def running(self) -> int:
        """How many requests are being worked on right now."""
        return self._edge.running

    @property
    def was_cut(self) -> bool:
        """Whether requests had to be cut off when it stopped."""
        return self._edge.was_cut

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
            left = None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()
            runner.grace = self.grace if left is None else max(left, 0.05)
            await runner.cleanup()

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
