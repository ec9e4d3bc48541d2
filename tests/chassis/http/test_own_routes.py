from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import web

from chassis.component import Component
from chassis.errors import Temporary
from chassis.health import Health
from chassis.metrics.formats import format_for


class Database(Component):
    name = "database"
    error: Exception | None = None

    async def check(self) -> None:
        if self.error is not None:
            raise self.error


class Metrics:
    enabled = True

    def format_for(self, accept: str) -> str:
        return format_for(accept)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        if "openmetrics" in accept:
            return "application/openmetrics-text; version=1.0.0; charset=utf-8", b"# EOF\n"
        return "text/plain; version=1.0.0; charset=utf-8", b"up 1\n"


async def test_liveness_answers_whatever_fails(serve: Any) -> None:
    database = Database()
    database.error = Temporary("down")
    sidecar = await serve(health=Health([database]))
    async with sidecar.client.get("/health/live") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == b'{"status":"alive"}\n'


async def test_a_process_that_is_stuck_is_not_alive_and_says_why(serve: Any) -> None:
    health = Health(stuck=lambda: "the event loop was blocked for longer than 10 s")
    health.mark_ready()
    sidecar = await serve(health=health)
    async with sidecar.client.get("/health/live") as response:
        assert response.status == 503
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == (
            b'{"status":"stuck","message":"the event loop was blocked for longer than 10 s"}\n'
        )
    status, body, _ = await sidecar.get("/health")
    assert (status, body["liveness"], body["readiness"]["status"]) == (503, "stuck", "healthy")
    assert (await sidecar.get("/health/ready"))[0] == 200


async def test_readiness_follows_the_life_of_the_service(serve: Any) -> None:
    database = Database()
    health = Health([database], cache=0)
    sidecar = await serve(health=health)
    status, body, _ = await sidecar.get("/health/ready")
    assert (status, body["checks"]["service"]["message"]) == (503, "the service is starting")
    health.mark_ready()
    status, body, _ = await sidecar.get("/health/ready")
    assert (status, body) == (200, {"status": "healthy", "checks": {"database": {"status": "ok"}}})
    database.error = Temporary("no connection")
    status, body, _ = await sidecar.get("/health/ready")
    assert (status, body) == (
        503,
        {"status": "unhealthy", "checks": {"database": {"status": "error", "message": "no connection"}}},
    )
    database.error = None
    assert (await sidecar.get("/health/ready"))[0] == 200
    health.drain()
    assert (await sidecar.get("/health/ready"))[0] == 503


async def test_the_combined_endpoint_says_both(serve: Any) -> None:
    health = Health()
    sidecar = await serve(health=health)
    assert (await sidecar.get("/health"))[0] == 503
    health.mark_ready()
    status, body, _ = await sidecar.get("/health")
    assert (status, body) == (200, {"liveness": "alive", "readiness": {"status": "healthy", "checks": {}}})


async def test_metrics_come_in_the_format_that_is_asked_for(serve: Any) -> None:
    sidecar = await serve(metrics=Metrics())
    status, body, headers = await sidecar.get("/metrics")
    assert (status, body, headers["Content-Type"]) == (200, b"up 1\n", "text/plain; version=1.0.0; charset=utf-8")
    _, body, headers = await sidecar.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert body == b"# EOF\n"
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")


async def test_metrics_can_have_another_path(serve: Any) -> None:
    sidecar = await serve(metrics=Metrics(), metrics_path="/internal/metrics")
    assert (await sidecar.get("/internal/metrics"))[0] == 200
    assert (await sidecar.get("/metrics"))[0] == 404


@pytest.mark.parametrize("enabled", [False, None])
async def test_without_metrics_there_is_no_such_path(serve: Any, enabled: bool | None) -> None:
    metrics = Metrics() if enabled is not None else None
    if metrics is not None:
        metrics.enabled = False
    assert (await (await serve(metrics=metrics)).get("/metrics"))[0] == 404


async def test_own_routes_need_no_credentials_by_exact_path(serve: Any, guarding: Any) -> None:
    health = Health()
    health.mark_ready()
    sidecar = await serve(health=health, metrics=Metrics(), interceptors=[guarding])
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert (await sidecar.get(path))[0] == 200, path
    for path in ("/health/", "/Health", "/health/live/", "/metrics/x"):
        assert (await sidecar.get(path))[0] == 401, path
    for path in ("/health/../x", "//health", "/health/live;x", "/./health"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await sidecar.raw(request.encode())).startswith(b"HTTP/1.1 401 "), path
    assert (await sidecar.ask("POST", "/health"))[0] == 401


async def test_observers_are_told_that_they_are_probes(serve: Any, recording: Any) -> None:
    async def mine(request: web.Request) -> web.Response:
        return web.Response()

    sidecar = await serve(
        lambda app: app.router.add_get("/metrics", mine),
        metrics=Metrics(),
        metrics_path="/figures",
        interceptors=[recording],
    )
    for path in ("/health", "/health/live", "/health/ready", "/figures", "/metrics", "/nothing"):
        await sidecar.get(path)
    assert [seen.call.method.probe for seen in recording.seen] == [True, True, True, True, False, False]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_a_service_can_not_take_them(serve: Any, path: str) -> None:
    async def mine(request: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(ValueError, match=f"the route {path} is the chassis' own: choose another path for yours"):
        await serve(lambda app: app.router.add_get(path, mine), metrics=Metrics())


async def test_a_catch_all_of_the_service_leaves_them_alone(serve: Any) -> None:
    async def everything(request: web.Request) -> web.Response:
        return web.Response(text="mine")

    sidecar = await serve(lambda app: app.router.add_get("/{tail:.*}", everything))
    assert (await sidecar.get("/health/live"))[1] == {"status": "alive"}
    assert (await sidecar.get("/anything"))[1] == b"mine"


async def test_head_is_answered_without_a_body(serve: Any, recording: Any) -> None:
    sidecar = await serve()
    status, body, headers = await sidecar.ask("HEAD", "/health/live")
    assert (status, body, headers["Content-Length"]) == (200, b"", "19")
    assert recording.last.call.method.name == "HEAD"
    assert recording.last.figures == ("OK", 200, 0, 0)


class SlowMetrics(Metrics):
    """Takes as long as it is told to, and knows who asked, and where."""

    def __init__(self) -> None:
        self.asked: list[threading.Thread] = []
        self.begun = threading.Event()
        self.go = threading.Event()

    def exposition(self, accept: str) -> tuple[str, bytes]:
        self.asked.append(threading.current_thread())
        self.begun.set()
        assert self.go.wait(5)
        return super().exposition(accept)


async def running(sidecar: Any, count: int) -> None:
    async with asyncio.timeout(10):
        while sidecar.server.running != count:  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)


async def test_scrapes_leave_the_event_loop_alone_and_share_their_work(serve: Any) -> None:
    metrics = SlowMetrics()
    sidecar = await serve(metrics=metrics)
    scrapes = [asyncio.create_task(sidecar.get("/metrics")) for _ in range(20)]
    await asyncio.to_thread(metrics.begun.wait, 5)
    assert (await sidecar.get("/health/live"))[0] == 200  # meanwhile
    await running(sidecar, 20)
    metrics.go.set()
    assert {(await each)[:2] for each in scrapes} == {(200, b"up 1\n")}
    assert len(metrics.asked) == 1
    assert metrics.asked[0] is not threading.current_thread()
    assert (await sidecar.get("/metrics"))[0] == 200
    assert len(metrics.asked) == 2  # nobody gets what was the case before they asked


async def test_headers_that_scrapers_make_up_cost_no_work_and_no_memory_each(serve: Any) -> None:
    metrics = SlowMetrics()
    sidecar = await serve(metrics=metrics)
    made_up = [f"text/x-{number}, */*;q=0.{number}" for number in range(30)]
    made_up += [f"application/openmetrics-text; version=1.{number}.0; q=0.{number}" for number in range(30)]
    scrapes = [asyncio.create_task(sidecar.get("/metrics", headers={"Accept": each})) for each in made_up]
    await running(sidecar, len(made_up))
    metrics.go.set()
    assert {(await each)[:2] for each in scrapes} == {(200, b"up 1\n"), (200, b"# EOF\n")}
    assert len(metrics.asked) == 2


async def test_a_scraper_that_leaves_does_not_end_the_scrapes_of_others(serve: Any) -> None:
    metrics = SlowMetrics()
    sidecar = await serve(metrics=metrics)
    leaving, staying = (asyncio.create_task(sidecar.get("/metrics")) for _ in range(2))
    await running(sidecar, 2)
    leaving.cancel()
    await running(sidecar, 1)
    metrics.go.set()
    assert (await staying)[0] == 200
