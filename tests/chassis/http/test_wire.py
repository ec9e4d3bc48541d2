"""What comes in that no well-behaved client sends."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.call import current_call
from chassis.health import Health
from chassis.http import HttpServer


def request(head: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([head, *headers, b"Connection: close", b"", b""])


def parts(answer: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    is_json = headers.get("content-type", "").startswith("application/json")
    return int(status.split()[1]), headers, json.loads(body) if is_json else body


async def headers_seen(request: web.Request) -> web.Response:
    call = current_call()
    assert call is not None
    return web.json_response({"metadata": dict(call.metadata), "values": call.values("x-odd"), "peer": call.peer})


def routes(app: web.Application) -> None:
    app.router.add_get("/headers", headers_seen)


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/x.y\r\nHost: x\r\n\r\n",
        request(b"GET /headers HTTP/1.1", b"Host: x", b"bad header name: 1"),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"X-Odd: a\x00b"),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"Host: y"),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"Content-Length: nope"),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        request(b"GET http://[broken/ HTTP/1.1", b"Host: x"),
    ],
)
async def test_what_is_no_http_is_refused_and_seen(
    serve: Any, recording: Any, guarding: Any, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    sidecar = await serve(routes, interceptors=[recording, guarding])
    status, headers, body = parts(await sidecar.raw(raw))
    assert status == 400
    assert (body["error"], body["code"]) == ("the request is malformed HTTP", "INVALID_ARGUMENT")
    assert headers["x-request-id"] == body["request_id"]
    assert recording.last.figures[:2] == ("INVALID_ARGUMENT", 400)
    assert recording.last.call.method.known is False
    assert caplog.records == []
    assert (await sidecar.get("/health/live"))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        b"Host: a b",
        b"Host: http://x/",
        b"Host: x@y",
        b"Host: [::1",
        b"Host: x:port",
        b"Host: x/../y",
        b"Host: \xff",
    ],
)
async def test_junk_for_a_host_is_refused(serve: Any, recording: Any, host: bytes) -> None:
    sidecar = await serve(routes)
    status, _, body = parts(await sidecar.raw(request(b"GET /headers HTTP/1.1", host)))
    assert (status, body["error"]) == (400, "the request has no valid Host header")
    assert recording.last.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("host", [b"", b"x", b"x.example:8080", b"[::1]:80", b"127.0.0.1", b"xn--bcher-kva.example"])
async def test_hosts_of_all_kinds_are_accepted(serve: Any, host: bytes) -> None:
    answer = await (await serve(routes)).raw(request(b"GET /headers HTTP/1.1", b"Host: " + host))
    assert parts(answer)[0] == 200


async def test_a_request_without_a_host_is_refused(serve: Any) -> None:
    assert parts(await (await serve(routes)).raw(request(b"GET /headers HTTP/1.1")))[0] == 400


async def test_http_1_0_needs_no_host(serve: Any) -> None:
    assert parts(await (await serve(routes)).raw(b"GET /headers HTTP/1.0\r\n\r\n"))[0] == 200


async def test_bytes_that_are_no_utf_8_arrive_as_text(serve: Any) -> None:
    answer = await (await serve(routes)).raw(
        request(b"GET /headers HTTP/1.1", b"Host: x", b"X-Odd: \xff", b"X-Odd: gr\xc3\xbcn", b"X-REQUEST-ID: \xff")
    )
    status, headers, body = parts(answer)
    assert status == 200
    assert body["metadata"]["x-odd"] == "ÿ"
    assert body["values"] == ["ÿ", "grün"]
    assert body["metadata"]["host"] == "x"
    assert body["peer"].startswith("127.0.0.1:")
    assert len(headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "raw",
    [
        request(b"GET /" + b"a" * 3000 + b" HTTP/1.1", b"Host: x"),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"X-Odd: " + b"a" * 3000),
        request(b"GET /headers HTTP/1.1", b"Host: x", b"X" * 3000 + b": a"),
    ],
    ids=["path", "value", "name"],
)
async def test_a_header_that_is_too_long_is_refused(serve: Any, recording: Any, raw: bytes) -> None:
    sidecar = await serve(routes, max_header_bytes=2000)
    status, _, body = parts(await sidecar.raw(raw))
    assert (status, body["code"]) == (431, "RESOURCE_EXHAUSTED")
    assert body["error"] == "the request line or a header is longer than 2000 bytes"
    assert recording.last.figures[:2] == ("RESOURCE_EXHAUSTED", 431)


async def test_a_header_within_the_limit_is_taken(serve: Any) -> None:
    sidecar = await serve(routes, max_header_bytes=5000)
    status, _, body = parts(await sidecar.raw(request(b"GET /headers HTTP/1.1", b"Host: x", b"X-Odd: " + b"a" * 4900)))
    assert (status, len(body["values"][0])) == (200, 4900)


async def test_too_many_headers_are_refused(serve: Any, recording: Any) -> None:
    headers = [b"X-%d: 1" % number for number in range(1000)]
    status, _, body = parts(await (await serve(routes)).raw(request(b"GET /headers HTTP/1.1", b"Host: x", *headers)))
    assert (status, body["error"]) == (431, "the request has more than 128 headers")
    assert recording.last.figures[:2] == ("RESOURCE_EXHAUSTED", 431)


async def test_headers_that_are_too_long_together_are_refused(serve: Any, recording: Any) -> None:
    sidecar = await serve(routes, max_header_bytes=2000)
    fixed = len(b"Host" + b"x" + b"Connection" + b"close")
    for more, expected in ((0, 200), (1, 431)):
        headers = [b"X-%02d: " % number + b"a" * 95 for number in range(10)]  # 99 bytes each
        rest = b"Y: " + b"a" * (2000 - fixed - 990 - 1 + more)
        status, _, body = parts(await sidecar.raw(request(b"GET /headers HTTP/1.1", b"Host: x", *headers, rest)))
        assert status == expected
    assert (body["code"], body["error"]) == ("RESOURCE_EXHAUSTED", "the headers are longer than 2000 bytes together")
    assert recording.last.figures[:2] == ("RESOURCE_EXHAUSTED", 431)


async def test_an_expectation_that_can_not_be_met_is_refused(serve: Any, recording: Any) -> None:
    raw = request(b"GET /headers HTTP/1.1", b"Host: x", b"Expect: miracles")
    status, _, body = parts(await (await serve(routes)).raw(raw))
    assert (status, body["code"], body["error"]) == (417, "INVALID_ARGUMENT", "Unknown Expect: miracles")
    assert recording.last.figures[:2] == ("INVALID_ARGUMENT", 417)


async def test_who_is_not_known_is_not_asked_for_the_body(serve: Any, guarding: Any) -> None:
    sidecar = await serve(routes, interceptors=[guarding])
    raw = request(b"GET /headers HTTP/1.1", b"Host: x", b"Expect: 100-continue", b"Content-Length: 0")
    assert (await sidecar.raw(raw)).startswith(b"HTTP/1.1 401 ")


async def test_a_body_in_broken_chunks_is_refused(serve: Any, recording: Any) -> None:
    async def reading(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    sidecar = await serve(lambda app: app.router.add_post("/read", reading))
    raw = request(b"POST /read HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked") + b"zz\r\nnope\r\n"
    assert parts(await sidecar.raw(raw))[0] == 400
    assert recording.seen[0].code == "INVALID_ARGUMENT"


async def test_a_compressed_body_that_is_none_is_refused(serve: Any) -> None:
    async def reading(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    sidecar = await serve(lambda app: app.router.add_post("/read", reading))
    headers = {"Content-Encoding": "gzip"}
    status, body, _ = await sidecar.ask("POST", "/read", data=b"this is not gzip", headers=headers)
    assert (status, body["error"]) == (400, "the request's body is malformed")


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("path", [b"/read", b"/health/live", b"/nothing"])
async def test_a_stranger_fills_no_log_with_bodies_that_are_not_what_they_claim(
    serve: Any, guarding: Any, caplog: pytest.LogCaptureFixture, path: bytes, encoding: bytes
) -> None:
    async def reading(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    sidecar = await serve(lambda app: app.router.add_post("/read", reading), interceptors=[guarding])
    lines = [b"Host: x", b"Authorization: Bearer s3cret" if path == b"/read" else b"X: y"]
    for verb in (b"GET", b"POST"):
        raw = request(verb + b" " + path + b" HTTP/1.1", *lines, b"Content-Encoding: " + encoding, b"Content-Length: 4")
        assert b" 500 " not in await sidecar.raw(raw + b"abcd")
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_paths_are_told_as_they_were_sent(serve: Any, recording: Any) -> None:
    await (await serve()).raw(request(b"GET /%ff%0a%2e%2e/x?token=s3cret HTTP/1.1", b"Host: x"))
    assert recording.last.call.path.isascii()
    assert recording.last.call.path.isprintable()
    assert "s3cret" not in recording.last.call.path


_WORDS = st.sampled_from(
    b"GET|POST|CONNECT|OPTIONS| |/|*|http://|[|]|@|:|//|%|..|HTTP/1.1|HTTP/1.0|\r\n|\n|Host: x|Host:|Content-Length: 5|"
    b"Transfer-Encoding: chunked|Upgrade: websocket|Expect: 100-continue|\x00|\xff|a".split(b"|")
)


@settings(max_examples=150, deadline=None)
@given(words=st.lists(_WORDS | st.binary(max_size=10), max_size=20))
def test_nothing_that_is_sent_stops_it(words: list[bytes]) -> None:
    async def main() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        server = HttpServer(health=Health(), routes=routes, grace=5.0)
        await server.start()
        try:
            for raw in (b"".join(words), b"GET " + b"".join(words) + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(raw)
                writer.write_eof()
                answer = await reader.read()
                writer.close()
                assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), answer
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b'{"status":"alive"}\n')
            writer.close()
        finally:
            await server.stop()
        assert complaints == []

    asyncio.run(main())
