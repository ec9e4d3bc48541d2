"""The few places where aiohttp is told to do things our way: what it may not answer itself, and when to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from chassis.errors import ChassisError, InvalidInput
from chassis.http.edge import Edge
from chassis.http.refusals import HeaderTooLarge

_log = logging.getLogger("chassis.http")

# Seconds after which an idle connection is closed.
_KEEPALIVE_TIMEOUT = 75.0
# Seconds for what is left on connections once all requests have ended.
_CLOSING_TIMEOUT = 0.5
# Seconds for what a client has not read yet of its last response when its connection is closed in any case.
_LAST_BYTES = 1.0
_FAULTS_OF_BODIES = (web.RequestPayloadError, HttpProcessingError)
# What aiohttp says of it; it has no class of its own.
_TOO_MANY = "Too many headers received"


class _Protocol(web.RequestHandler):
    """One connection: garbage goes through the interceptors as well, a client that left is told to the edge, and one
    that does not read is not waited for."""

    __slots__ = ("_edge", "_end")

    def __init__(self, edge: Edge, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._edge = edge
        self._end: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Serve requests until there are no more on this connection; aiohttp calls this for each."""
        await super().start()
        # One that is not kept is being closed now. Who reads slowly has the time that it would have been kept for.
        self._end_after(self.keepalive_timeout, self.transport)

    def force_close(self) -> None:
        """Close the connection, for good."""
        transport = self.transport
        super().force_close()
        self._end_after(_LAST_BYTES, transport)

    def _end_after(self, seconds: float, transport: asyncio.Transport | None) -> None:
        # To close a transport is to wait, for as long as the client likes, until it has read what was sent.
        if transport is not None and transport.get_write_buffer_size():
            if self._end is not None:
                self._end.cancel()
            self._end = self._loop.call_later(seconds, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._end is not None:
            self._end.cancel()
        self._edge.disconnected(self)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # The rest of a body is read when its request is answered, and told: what is wrong with it is no error of ours,
        # and nothing that anybody who can reach the port may fill the log with.
        log = self.log_debug if isinstance(kw.get("exc_info"), _FAULTS_OF_BODIES) else super().log_exception
        log(*args, **kw)

    def _make_error_handler(self, err_info: Any) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def refuse(request: web.BaseRequest) -> web.StreamResponse:
            return await self._edge.refuse(cast(web.Request, request), self._told(err_info.exc))

        return refuse

    def _told(self, error: BaseException) -> ChassisError:
        # aiohttp's texts quote what was sent, which belongs into no answer; the log gets the kind of it.
        if isinstance(error, LineTooLong):
            return HeaderTooLarge(f"the request line or a header is longer than {self.max_field_size} bytes")
        if error.args == (_TOO_MANY,):
            return HeaderTooLarge(f"the request has more than {self.max_headers} headers")
        return InvalidInput("the request is malformed HTTP", detail=type(error).__name__)


class _Server(web.Server):
    def __init__(self, edge: Edge, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(edge, **kwargs)  # type: ignore[arg-type]  # a Request is what the factory makes
        self._edge = edge
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self._edge, self, loop=asyncio.get_running_loop(), **self._options)


class Runner(web.AppRunner):
    """Starts and stops an application whose requests come in through `edge`."""

    def __init__(self, app: web.Application, edge: Edge, **options: Any) -> None:
        super().__init__(app, shutdown_timeout=_CLOSING_TIMEOUT)
        self._edge = edge
        # The interceptors write the line for a request; aiohttp's own would be a second one.
        self._options = {"access_log": None, "logger": _log, "keepalive_timeout": _KEEPALIVE_TIMEOUT, **options}
        self.grace = 0.0
        self.cut = 0  # requests, by the shutdown

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        self._edge.compose(self.app.router, made.request_handler)
        return _Server(self._edge, self._options, request_factory=made.request_factory)

    async def shutdown(self) -> None:
        """The service's own hooks first: they end what would go on for ever."""
        until = asyncio.get_running_loop().time() + self.grace
        try:
            async with asyncio.timeout(self.grace):
                await super().shutdown()
        except Exception:
            _log.exception("a hook of on_shutdown failed")
        self.cut = await self._edge.drain(max(0.0, until - asyncio.get_running_loop().time()))
