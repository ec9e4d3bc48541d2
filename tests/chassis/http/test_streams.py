from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, WSMsgType, web

from chassis.call import Interceptor
from chassis.errors import ChassisError, PermissionDenied, Temporary, Unauthorized


def at(path: str, handler: Any) -> Any:
    return lambda app: app.router.add_get(path, handler)


async def test_a_stream_is_observed_at_its_end(serve: Any, recording: Any) -> None:
    go = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "6"})
        await response.prepare(request)
        await response.write(b"one")
        await go.wait()
        await response.write(b"two")
        return response

    sidecar = await serve(at("/stream", stream))
    async with sidecar.client.get("/stream", headers={"X-Request-ID": "r-1"}) as response:
        assert response.headers["X-Request-ID"] == "r-1"
        assert await response.content.readexactly(3) == b"one"
        assert recording.seen == []
        assert sidecar.server.running == 1
        go.set()
        assert await response.read() == b"two"
    await recording.until(1)
    assert recording.last.figures == ("OK", 200, 0, 6)
    assert sidecar.server.running == 0


async def test_a_stream_that_nobody_began_is_sent(serve: Any, recording: Any) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        return web.StreamResponse(status=202)

    assert (await (await serve(at("/stream", stream))).get("/stream"))[0] == 202
    await recording.until(1)
    assert recording.last.figures[:2] == ("OK", 202)


async def test_a_failure_in_the_middle_of_a_stream_breaks_the_connection(serve: Any, recording: Any) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        raise Temporary("lost it")

    sidecar = await serve(at("/stream", stream))
    async with sidecar.client.get("/stream") as response:
        assert response.status == 200
        with pytest.raises(ClientPayloadError):
            await response.read()
    await recording.until(1)
    # The status that was sent is sent; that it did not end well is in the code.
    assert recording.last.figures[:2] == ("UNAVAILABLE", 200)
    assert (await sidecar.get("/health/live"))[0] == 200


async def test_a_body_that_is_generated_is_part_of_the_call(serve: Any, recording: Any) -> None:
    async def generated() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("lost it")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=generated())

    sidecar = await serve(at("/generated", handler))
    async with sidecar.client.get("/generated") as response:
        with pytest.raises(ClientPayloadError):
            await response.read()
    await recording.until(1)
    assert recording.last.code == "INTERNAL"


async def test_an_error_can_be_a_stream(serve: Any, recording: Any) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        await response.write(b"not now")
        return response

    status, body, _ = await (await serve(at("/stream", stream))).get("/stream")
    assert (status, body) == (503, b"not now")
    await recording.until(1)
    assert recording.last.figures[:2] == ("UNAVAILABLE", 503)


async def test_what_was_begun_can_not_be_replaced(serve: Any, recording: Any) -> None:
    class Replacing(Interceptor):
        async def around(self, call: Any, proceed: Any) -> Any:
            await proceed(call)
            return web.Response(text="something else", status=404)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        return response

    sidecar = await serve(at("/stream", stream), interceptors=[Replacing()])
    assert (await sidecar.get("/stream"))[:2] == (200, b"begun")
    assert (await sidecar.get("/stream"))[:2] == (200, b"begun")


async def test_a_compressed_response_is_measured_as_sent(serve: Any, recording: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        response = web.Response(body=b"a" * 100_000)
        response.enable_compression()
        return response

    _, body, _ = await (await serve(at("/x", handler))).get("/x")
    assert len(body) == 100_000
    await recording.until(1)
    assert 0 < recording.last.response_size < 1000


async def test_a_file_that_is_gone_is_not_found(serve: Any, recording: Any, tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("here")

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(tmp_path / request.match_info["name"])

    sidecar = await serve(at("/files/{name}", handler))
    status, body, headers = await sidecar.get("/files/here.txt")
    assert (status, body) == (200, b"here")
    await recording.until(1)
    assert recording.last.figures == ("OK", 200, 0, 4)
    status, _, _ = await sidecar.get("/files/here.txt", headers={"If-None-Match": headers["ETag"]})
    assert status == 304
    await recording.until(2)
    assert recording.last.figures == ("OK", 304, 0, 0)
    assert (await sidecar.get("/files/gone.txt"))[0] == 404
    await recording.until(3)
    assert recording.last.figures[:2] == ("NOT_FOUND", 404)


async def test_a_websocket_is_one_call(serve: Any, recording: Any) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    sidecar = await serve(at("/echo", echo))
    async with sidecar.client.ws_connect("/echo") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        assert recording.seen == []
    await recording.until(1)
    assert recording.last.figures[:2] == ("OK", 101)
    assert recording.last.call.method.path == "/echo"


async def test_a_websocket_whose_client_vanished_ends_by_itself(serve: Any, recording: Any) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    sidecar = await serve(at("/echo", echo))
    socket = await sidecar.client.ws_connect("/echo")
    await socket.send_str("hello")
    await socket.receive()
    socket._response.connection.transport.abort()
    await recording.until(1)
    assert recording.last.figures[:2] == ("OK", 101)
    await socket.close()


async def test_a_websocket_whose_handler_crashes_is_closed_with_a_reason(serve: Any, recording: Any) -> None:
    async def crash(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise RuntimeError("boom")

    async with (await serve(at("/crash", crash))).client.ws_connect("/crash") as socket:
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    await recording.until(1)
    assert recording.last.code == "INTERNAL"


@pytest.mark.parametrize("error", [Unauthorized("the token has expired"), PermissionDenied("not yours any more")])
async def test_a_websocket_whose_caller_may_not_go_on_is_closed_as_a_matter_of_policy(
    serve: Any, recording: Any, error: ChassisError
) -> None:
    async def refuse(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise error

    async with (await serve(at("/refuse", refuse))).client.ws_connect("/refuse") as socket:
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
    await recording.until(1)
    assert recording.last.code == error.code.name


async def test_a_client_that_goes_away_cancels_its_request(serve: Any, recording: Any) -> None:
    begun = asyncio.Event()
    cleaned = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        return web.Response()

    sidecar = await serve(at("/slow", slow))
    asking = asyncio.create_task(sidecar.get("/slow"))
    await begun.wait()
    asking.cancel()
    await cleaned.wait()
    await recording.until(1)
    assert recording.last.figures[:2] == ("CANCELLED", 499)


async def test_a_client_that_goes_away_while_it_sends_is_no_crash(serve: Any, recording: Any) -> None:
    begun = asyncio.Event()

    async def reading(request: web.Request) -> web.Response:
        begun.set()
        return web.Response(body=await request.read())

    sidecar = await serve(lambda app: app.router.add_post("/read", reading))
    _, writer = await asyncio.open_connection("127.0.0.1", sidecar.server.port)
    writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    await begun.wait()
    writer.transport.abort()
    await recording.until(1)
    assert recording.last.code == "CANCELLED"


async def test_a_client_that_goes_away_while_it_is_written_to_is_no_crash(serve: Any, recording: Any) -> None:
    begun = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        begun.set()
        while True:
            try:
                await asyncio.shield(response.write(b"a" * 65536))
            except asyncio.CancelledError:
                continue  # a handler that goes on regardless, until the write itself fails

    sidecar = await serve(at("/endless", endless))
    response = await sidecar.client.get("/endless")
    await begun.wait()
    response.close()
    await recording.until(1)
    assert recording.last.code == "CANCELLED"


async def test_a_handler_may_end_in_peace_after_its_client_went_away(serve: Any, recording: Any) -> None:
    begun = asyncio.Event()

    async def stubborn(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return web.Response(text="for nobody")
        return web.Response()

    sidecar = await serve(at("/stubborn", stubborn))
    asking = asyncio.create_task(sidecar.get("/stubborn"))
    await begun.wait()
    asking.cancel()
    await recording.until(1)
    assert recording.last.code == "OK"


async def test_a_connection_of_the_handler_that_fails_is_a_crash(serve: Any, recording: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise ConnectionResetError("10.0.0.7 said no")

    status, body, _ = await (await serve(at("/x", handler))).get("/x")
    assert (status, body["code"]) == (500, "INTERNAL")
    assert recording.last.code == "INTERNAL"
