from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from subprocess import run
from typing import Any

import pytest
from aiohttp import ClientSession, web

from chassis.component import StartError
from chassis.health import Health
from chassis.http import HttpServer


async def test_port_0_takes_a_free_one_and_says_which() -> None:
    server = HttpServer(health=Health())
    await server.start()
    try:
        assert server.port > 0
        assert server.address == f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def test_a_port_that_is_in_use_is_told_to_people() -> None:
    first = HttpServer(health=Health())
    await first.start()
    second = HttpServer(health=Health(), port=first.port)
    try:
        with pytest.raises(StartError) as caught:
            await second.start()
        assert str(caught.value) == f"http port {first.port} is in use on 127.0.0.1: set server.http_port"
    finally:
        await first.stop()


async def test_a_port_in_use_is_found_before_hooks_of_the_service_run() -> None:
    started: list[str] = []

    def routes(app: web.Application) -> None:
        async def on_startup(app: web.Application) -> None:
            started.append("started")

        app.on_startup.append(on_startup)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartError):
            await HttpServer(health=Health(), port=taken.getsockname()[1], routes=routes).start()
    assert started == []


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
async def test_an_address_of_somebody_else_is_told_to_people(host: str) -> None:
    with pytest.raises(StartError, match=rf"http cannot listen on {host}.*: set server.host"):
        await HttpServer(health=Health(), host=host).start()


async def test_a_port_that_is_not_ours_is_told_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", refuse)
    with pytest.raises(StartError, match=r"http port 80 on 127\.0\.0\.1 is not ours to take: set server\.http_port"):
        await HttpServer(health=Health(), port=80).start()


async def test_whatever_else_keeps_it_from_listening_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **options: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", refuse)
    with pytest.raises(StartError, match=r"http cannot listen on \[::1\]:8080: Too many open files"):
        await HttpServer(health=Health(), host="::1", port=8080).start()


async def test_a_hook_that_fails_gives_the_port_back() -> None:
    cleaned: list[str] = []

    def routes(app: web.Application) -> None:
        async def context(app: web.Application) -> AsyncIterator[None]:
            yield
            cleaned.append("cleaned")

        async def on_startup(app: web.Application) -> None:
            raise RuntimeError("not today")

        app.cleanup_ctx.append(context)
        app.on_startup.append(on_startup)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RuntimeError, match="not today"):
        await HttpServer(health=Health(), port=port, routes=routes).start()
    assert cleaned == ["cleaned"]
    again = HttpServer(health=Health(), port=port)
    await again.start()
    await again.stop()


async def test_startup_and_cleanup_hooks_run() -> None:
    ran: list[str] = []

    def routes(app: web.Application) -> None:
        async def context(app: web.Application) -> AsyncIterator[None]:
            ran.append("start")
            yield
            ran.append("clean up")

        async def on_shutdown(app: web.Application) -> None:
            ran.append("shut down")

        app.cleanup_ctx.append(context)
        app.on_shutdown.append(on_shutdown)

    server = HttpServer(health=Health(), routes=routes)
    await server.start()
    await server.stop()
    assert ran == ["start", "shut down", "clean up"]


async def test_routes_may_be_registered_by_a_coroutine(serve: Any) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def routes(app: web.Application) -> None:
        app.router.add_get("/hello", hello)

    assert (await (await serve(routes)).get("/hello"))[1] == b"hello"


async def test_two_servers_in_one_process_do_not_see_each_other(serve: Any) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    one = await serve(lambda app: app.router.add_get("/hello", hello))
    other = await serve()
    assert (await one.get("/hello"))[0] == 200
    assert (await other.get("/hello"))[0] == 404


async def test_it_listens_on_ipv6() -> None:
    server = HttpServer(health=Health(), host="::1")
    await server.start()
    try:
        assert server.address == f"[::1]:{server.port}"
        async with (
            ClientSession() as client,
            client.get(f"http://{server.address}/health/live") as response,
        ):
            assert response.status == 200
    finally:
        await server.stop()


def test_a_body_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_body_bytes must be at least 1, not 0"):
        HttpServer(health=Health(), max_body_bytes=0)


async def test_stopping_what_was_never_started_does_nothing() -> None:
    await HttpServer(health=Health()).stop()


async def test_aiohttp_writes_no_lines_of_its_own(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def crash(request: web.Request) -> web.Response:
        raise RuntimeError("boom")

    caplog.set_level(logging.DEBUG)
    sidecar = await serve(lambda app: app.router.add_get("/crash", crash))
    await sidecar.get("/crash")
    await sidecar.get("/health/live")
    await sidecar.raw(b"garbage\r\n\r\n")
    assert [record.name for record in caplog.records if record.name.startswith(("aiohttp", "chassis.http"))] == []


def test_health_alone_does_not_import_aiohttp() -> None:
    code = "import sys, chassis.health; sys.exit('aiohttp' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
