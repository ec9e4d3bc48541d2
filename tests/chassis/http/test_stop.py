from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ClientSession, WSMsgType, web

from chassis.health import Health
from chassis.http import HttpServer


class Slow:
    """A handler that answers when it is let go."""

    def __init__(self, *, swallows: bool = False) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cleaned = asyncio.Event()
        self.swallows = swallows

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/slow", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        self.begun.set()
        try:
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    if not self.swallows:
                        raise
        finally:
            self.cleaned.set()
        return web.Response(text="done")


async def test_running_requests_are_waited_for(serve: Any) -> None:
    slow = Slow()
    sidecar = await serve(slow.routes)
    asking = asyncio.create_task(sidecar.get("/slow"))
    await slow.begun.wait()
    stopping = asyncio.create_task(sidecar.server.stop())
    await asyncio.sleep(0)
    with pytest.raises(ClientConnectorError):
        async with ClientSession() as other:
            await other.get(f"http://{sidecar.server.address}/health/live")
    assert not stopping.done()
    slow.go.set()
    assert (await asking)[:2] == (200, b"done")
    await stopping


async def test_what_does_not_end_in_time_is_cut_and_told(
    serve: Any, recording: Any, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    sidecar = await serve(slow.routes, grace=0.05)
    asking = asyncio.create_task(sidecar.get("/slow", headers={"X-Request-ID": "r-1"}))
    await slow.begun.wait()
    with pytest.raises(TimeoutError, match="1 requests had to be cut off"):
        await sidecar.server.stop()
    status, body, headers = await asking
    assert (status, body["code"], headers["Retry-After"]) == (503, "UNAVAILABLE", "1")
    assert body["error"] == "the server is stopping; try again"
    assert slow.cleaned.is_set()
    assert recording.last.figures[:2] == ("UNAVAILABLE", 503)
    assert sidecar.server.running == 0
    (record,) = [record for record in caplog.records if record.name == "chassis.http"]
    assert (record.message, record.path, record.request_id) == (
        "request cut off by the stop of the server",
        "/slow",
        "r-1",
    )


async def test_a_handler_that_does_not_let_itself_be_cut_does_not_hold_up_the_stop(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.http.edge._CUT_TIMEOUT", 0.05)
    monkeypatch.setattr("chassis.http.runner._CLOSING_TIMEOUT", 0.05)
    slow = Slow(swallows=True)
    sidecar = await serve(slow.routes, grace=0.05)
    asking = asyncio.create_task(sidecar.get("/slow"))
    await slow.begun.wait()
    with pytest.raises(TimeoutError):
        await sidecar.server.stop()
    assert not slow.cleaned.is_set()
    slow.go.set()
    await asyncio.wait({asking})
    assert asking.exception() is not None


async def test_idle_connections_do_not_hold_up_the_stop(serve: Any) -> None:
    sidecar = await serve()
    await sidecar.get("/health/live")  # leaves a connection open
    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.server.port)
    writer.write(b"GET / HT")
    await writer.drain()
    await sidecar.server.stop()
    assert await reader.read() == b""
    writer.close()


async def test_websockets_are_told_to_go_elsewhere(serve: Any, recording: Any) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    sidecar = await serve(lambda app: app.router.add_get("/echo", echo))
    async with sidecar.client.ws_connect("/echo") as socket:
        await socket.send_str("hello")
        await socket.receive()
        stopping = asyncio.create_task(sidecar.server.stop())
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        await stopping
    assert recording.last.figures[:2] == ("OK", 101)


async def test_a_shutdown_hook_that_fails_or_hangs_does_not_keep_it_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(app: web.Application) -> None:
        raise RuntimeError("broken hook")

    async def hanging(app: web.Application) -> None:
        await asyncio.Event().wait()

    for hook in (broken, hanging):
        caplog.clear()
        server = HttpServer(health=Health(), routes=lambda app, hook=hook: app.on_shutdown.append(hook), grace=0.05)
        await server.start()
        await server.stop()
        assert [record.message for record in caplog.records] == ["a hook of on_shutdown failed"]
        with pytest.raises(ClientConnectorError):
            async with ClientSession() as client:
                await client.get(f"http://{server.address}/health/live")


async def test_nothing_is_left_behind(serve: Any) -> None:
    server = HttpServer(health=Health())
    await server.start()
    async with ClientSession() as client:
        async with client.get(f"http://{server.address}/health/live") as response:
            assert response.status == 200
        await server.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
