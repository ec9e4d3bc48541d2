"""How long requests and their answers may take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, create_connection, socket
from typing import Any

import pytest
from aiohttp import web

from chassis.call import current_call, time_left
from chassis.http import HttpCall
from interceptors.deadline import DeadlineInterceptor

# The system takes some megabytes for a connection on this machine before a writer has to wait.
_MORE_THAN_SOCKETS_HOLD = 32 << 20
# A writer does not wait for what is left of it, once the smallest sockets are full.
_A_TAIL = 60_000


def at(path: str, handler: Any) -> Any:
    return lambda app: app.router.add_get(path, handler)


@asynccontextmanager
async def unread(sidecar: Any, path: bytes) -> AsyncIterator[None]:
    """A client that asks and never reads."""
    with create_connection(("127.0.0.1", sidecar.server.port)) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        while not connections(sidecar):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)
        yield


async def closed(sidecar: Any) -> None:
    """Wait until the server has no connection any more."""
    while connections(sidecar):  # noqa: ASYNC110  the server tells nobody
        await asyncio.sleep(0.01)


def connections(sidecar: Any) -> Any:
    return sidecar.server._runner.server.connections


async def test_a_deadline_is_given_where_the_server_has_one(serve: Any) -> None:
    seen: list[float | None] = []

    async def handler(request: web.Request) -> web.Response:
        call = current_call()
        assert isinstance(call, HttpCall)
        seen.append(call.time_remaining())
        return web.Response()

    await (await serve(at("/x", handler))).get("/x")
    sidecar = await serve(at("/x", handler), request_timeout=30.0)
    await sidecar.get("/x")
    assert seen[0] is None
    assert seen[1] is not None
    assert 0 < seen[1] <= 30


async def test_a_request_that_takes_too_long_is_ended(serve: Any, recording: Any) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    sidecar = await serve(at("/x", slow), interceptors=[recording, DeadlineInterceptor()], request_timeout=0.01)
    status, body, _ = await sidecar.get("/x")
    assert (status, body["code"]) == (504, "DEADLINE_EXCEEDED")
    assert recording.last.figures[:2] == ("DEADLINE_EXCEEDED", 504)


async def test_who_asks_for_a_websocket_gets_no_more_time(serve: Any, recording: Any) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    sidecar = await serve(at("/x", slow), interceptors=[recording, DeadlineInterceptor()], request_timeout=0.01)
    for headers in ({"Upgrade": "websocket"}, {"Upgrade": "x", "Connection": "upgrade"}):
        assert (await sidecar.get("/x", headers=headers))[0] == 504


async def test_a_websocket_has_any_time_once_it_is_one(serve: Any, recording: Any) -> None:
    left: list[float | None] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        left.append(time_left())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        left.append(time_left())
        assert left[0] is not None
        await asyncio.sleep(left[0] + 0.05)
        await socket.send_str("still here")
        return socket

    stack = [recording, DeadlineInterceptor()]
    sidecar = await serve(at("/echo", echo), interceptors=stack, request_timeout=0.5)
    async with sidecar.client.ws_connect("/echo") as socket:
        assert await socket.receive_str() == "still here"
    await recording.until(1)
    assert recording.last.figures[:2] == ("OK", 101)
    assert left[1] is None


async def test_a_response_that_nobody_reads_is_not_held_for_longer_than_a_request_may_take(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chassis.http.edge._LAST_WORDS", 0.01)
    caplog.set_level(logging.INFO)

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(_MORE_THAN_SOCKETS_HOLD))

    sidecar = await serve(at("/large", large), interceptors=[DeadlineInterceptor()], request_timeout=0.5)
    async with unread(sidecar, b"/large"):
        await closed(sidecar)
    assert sidecar.server.running == 0
    assert [record.message for record in caplog.records] == ["a response was not read in time"]


async def test_a_stream_that_nobody_reads_is_broken_off_for_good(serve: Any, recording: Any) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    stack = [recording, DeadlineInterceptor()]
    sidecar = await serve(at("/endless", endless), interceptors=stack, request_timeout=0.2)
    async with unread(sidecar, b"/endless"):
        await closed(sidecar)
    assert recording.last.figures[:2] == ("DEADLINE_EXCEEDED", 200)


async def test_the_answer_to_who_was_too_slow_is_sent_all_the_same(serve: Any) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    def routes(app: web.Application) -> None:
        async def hook(request: web.Request, response: web.StreamResponse) -> None:
            await asyncio.sleep(0.01)

        app.on_response_prepare.append(hook)
        app.router.add_get("/slow", slow)

    sidecar = await serve(routes, interceptors=[DeadlineInterceptor()], request_timeout=0.01)
    status, body, _ = await sidecar.get("/slow")
    assert (status, body["code"]) == (504, "DEADLINE_EXCEEDED")


async def tail(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, 1)
    return web.Response(body=bytes(_A_TAIL))


@asynccontextmanager
async def tail_unread(sidecar: Any, head: bytes = b"") -> AsyncIterator[socket]:
    """A client that has not read all of its response, which is over for the server."""
    with socket() as connection:
        connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)
        connection.connect(("127.0.0.1", sidecar.server.port))
        connection.sendall(b"GET /tail HTTP/1.1\r\nHost: x\r\n%s\r\n" % head)
        yield connection


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"])
async def test_a_connection_whose_last_bytes_nobody_reads_is_not_kept(
    serve: Any, recording: Any, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr("chassis.http.runner._KEEPALIVE_TIMEOUT", 0.2)
    monkeypatch.setattr("chassis.http.runner._LAST_BYTES", 0.1)
    sidecar = await serve(at("/tail", tail))
    async with tail_unread(sidecar, head):
        await recording.until(1)
        (connection,) = connections(sidecar)
        assert connection.transport.get_write_buffer_size()
        await asyncio.wait_for(closed(sidecar), 10)


async def test_who_reads_the_last_bytes_late_gets_them_all_and_is_not_waited_for_any_more(
    serve: Any, recording: Any
) -> None:
    sidecar = await serve(at("/tail", tail))
    async with tail_unread(sidecar, b"Connection: close\r\n") as client:
        await recording.until(1)
        (connection,) = connections(sidecar)
        while connection._end is None:  # noqa: ASYNC110  it is not closed before aiohttp has heard of the end
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(sock=client)
        assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"\r\n\r\n" + bytes(_A_TAIL))
        writer.close()
        await closed(sidecar)
    assert connection._end.cancelled()
