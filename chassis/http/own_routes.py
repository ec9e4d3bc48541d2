from __future__ import annotations

from typing import Protocol

from aiohttp import web

from chassis.auth.public import public
from chassis.health import Health, to_json


class Exposition(Protocol):
    """Metrics that can be scraped; `accept` is the scraper's header of that name."""

    @property
    def enabled(self) -> bool: ...

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """The content type and the body."""
        ...


class OwnRoutes:
    """The routes that every service has: they need no credentials, and tell nothing but health and figures."""

    LIVE = "/health/live"
    READY = "/health/ready"
    HEALTH = "/health"

    def __init__(self, health: Health, metrics: Exposition | None = None, metrics_path: str = "/metrics") -> None:
        self._health = health
        self._metrics = metrics if metrics is not None and metrics.enabled else None
        self._metrics_path = metrics_path

    def add_to(self, app: web.Application) -> None:
        """Register them. Raises ValueError where the service has taken the path of one."""
        routes = {self.LIVE: self.live, self.READY: self.ready, self.HEALTH: self.both}
        if self._metrics is not None:
            routes[self._metrics_path] = self.scrape
        taken = {resource.canonical for resource in app.router.resources()}
        for path, handler in routes.items():
            if path in taken:
                raise ValueError(f"the route {path} is the chassis' own: choose another path for yours")
            app.router.add_get(path, handler)

    @public
    async def live(self, request: web.Request) -> web.Response:
        """Whether the process answers; depends on nothing else, or one outage would restart every service."""
        return _json(to_json({"status": "alive"}), True)

    @public
    async def ready(self, request: web.Request) -> web.Response:
        """Whether the service should be sent work."""
        report = await self._health.check()
        return _json(report.readiness_json(), report.ready)

    @public
    async def both(self, request: web.Request) -> web.Response:
        """Both in one body."""
        report = await self._health.check()
        return _json(report.combined_json(), report.ready)

    @public
    async def scrape(self, request: web.Request) -> web.Response:
        """The metrics, in the format that the scraper prefers."""
        assert self._metrics is not None
        content_type, body = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _json(body: bytes, good: bool) -> web.Response:
    return web.Response(
        status=200 if good else 503,
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
