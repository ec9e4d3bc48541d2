from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextvars import Context, copy_context
from typing import Protocol

from aiohttp import web

from chassis.auth.public import public
from chassis.config.checks import HEALTH, LIVE, READY
from chassis.health import Health, liveness, to_json


class Exposition(Protocol):
    """Metrics that can be scraped; `accept` is the scraper's header of that name."""

    @property
    def enabled(self) -> bool: ...

    def format_for(self, accept: str) -> str:
        """Which of its few formats that header gets, as a header that asks for it."""
        ...

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """The content type and the body."""
        ...


class OwnRoutes:
    """The routes that every service has: they need no credentials, and tell nothing but health and figures."""

    def __init__(self, health: Health, metrics: Exposition | None = None, metrics_path: str = "/metrics") -> None:
        self._health = health
        self._metrics = metrics if metrics is not None and metrics.enabled else None
        self._handlers = {LIVE: self.live, READY: self.ready, HEALTH: self.both}
        if self._metrics is not None:
            self._handlers[metrics_path] = self.scrape
        self._pages: dict[str, asyncio.Task[tuple[str, bytes]]] = {}
        self._context = Context()

    @property
    def paths(self) -> Collection[str]:
        """Where they are."""
        return self._handlers.keys()

    def add_to(self, app: web.Application) -> None:
        """Register them. Raises ValueError where the service has taken the path of one."""
        # That of the service's start: what a page logs is the service's, and part of no call.
        self._context = copy_context()
        taken = {resource.canonical for resource in app.router.resources()}
        for path, handler in self._handlers.items():
            if path in taken:
                raise ValueError(f"the route {path} is the chassis' own: choose another path for yours")
            app.router.add_get(path, handler)

    @public
    async def live(self, request: web.Request) -> web.Response:
        """Whether the process does its work; depends on nothing else, or one outage would restart every service."""
        stuck = self._health.stuck
        return _json(to_json(liveness(stuck)), stuck is None)

    @public
    async def ready(self, request: web.Request) -> web.Response:
        """Whether the service should be sent work."""
        report = await self._health.check()
        return _json(report.readiness_json(), report.ready)

    @public
    async def both(self, request: web.Request) -> web.Response:
        """Both in one body."""
        report = await self._health.check()
        return _json(report.combined_json(), report.ready and report.stuck is None)

    @public
    async def scrape(self, request: web.Request) -> web.Response:
        """The metrics, in the format that the scraper prefers."""
        content_type, body = await asyncio.shield(self._page(request.headers.get("Accept", "")))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _page(self, accept: str) -> asyncio.Task[tuple[str, bytes]]:
        # In a thread, as it takes its time, and for all who ask meanwhile: many scrapers, or one that asks and asks
        # without reading, must not take the event loop from the calls. One for each format, and not for each header.
        assert self._metrics is not None
        wanted = self._metrics.format_for(accept)
        page = self._pages.get(wanted)
        if page is None:
            work = asyncio.to_thread(self._metrics.exposition, wanted)
            page = self._pages[wanted] = asyncio.get_running_loop().create_task(work, context=self._context.copy())
            page.add_done_callback(lambda done: self._pages.pop(wanted))
        return page


def _json(body: bytes, good: bool) -> web.Response:
    return web.Response(
        status=200 if good else 503,
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
