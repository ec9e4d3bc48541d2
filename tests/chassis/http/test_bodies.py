"""What requests bring along, and how that goes wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import BodyPartReader, MultipartReader, StreamReader, web

from chassis.errors import InvalidInput

_FORM = "multipart/form-data; boundary=x"
_PART = b"--x\r\nContent-Disposition: form-data; name=a\r\n"


def answering(handler: Any) -> Any:
    return lambda app: app.router.add_route("*", "/x", handler)


async def reading_json(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


async def test_a_body_that_is_no_json_is_the_callers_mistake(serve: Any, recording: Any) -> None:
    sidecar = await serve(answering(reading_json))
    status, body, _ = await sidecar.ask("POST", "/x", data=b'{"a": nope, "s3cret": 1}')
    assert (status, body["code"]) == (400, "INVALID_ARGUMENT")
    assert body["error"] == "the request's body is not JSON: Expecting value, line 1, column 7"
    assert isinstance(recording.last.call.error, InvalidInput)
    assert recording.last.request_size == 24


@pytest.mark.parametrize(
    ("data", "headers", "text"),
    [
        (b"", {}, "the request's body is not JSON: Expecting value, line 1, column 1"),
        (b"\xff\xfe", {}, "the request's body is not text in utf-8"),
        (b"{}", {"Content-Type": "application/json; charset=klingon"}, "the request's body could not be read"),
        (b"[" * 200_000, {}, "the request's body could not be read"),
        (b"1" * 5000, {}, "the request's body could not be read"),
    ],
    ids=["empty", "no text", "unknown charset", "too deep", "too many digits"],
)
async def test_whatever_is_wrong_with_a_body_is_the_callers_mistake(
    serve: Any, data: bytes, headers: dict[str, str], text: str
) -> None:
    status, body, _ = await (await serve(answering(reading_json))).ask("POST", "/x", data=data, headers=headers)
    assert (status, body["error"]) == (400, text)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (_FORM, b"--x\r\nfoo\r\n\r\nbar--x--"),
        (_FORM, b"--x\r\n\xff: b\r\n\r\nbar\r\n--x--\r\n"),
        (_FORM, _PART + b"Content-Transfer-Encoding: base64\r\n\r\nabcde\r\n--x--\r\n"),
        (_FORM, _PART + b"Content-Transfer-Encoding: weird\r\n\r\nbar\r\n--x--\r\n"),
        (_FORM, _PART + b"Content-Type: text/plain; charset=nope\r\n\r\nbar\r\n--x--\r\n"),
        (_FORM, b"no boundary at all"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=" + "x" * 71, b"--x--"),
    ],
)
@pytest.mark.parametrize("way", ["post", "multipart"])
async def test_a_form_that_is_none_is_the_callers_mistake(
    serve: Any, recording: Any, way: str, content_type: str, body: bytes
) -> None:
    async def form(request: web.Request) -> web.Response:
        if way == "post":
            await request.post()
        else:
            async for part in await request.multipart():
                assert isinstance(part, BodyPartReader)
                await part.text()
        return web.Response()

    sidecar = await serve(answering(form))
    status, answer, _ = await sidecar.ask("POST", "/x", data=body, headers={"Content-Type": content_type})
    assert (status, answer["code"]) == (400, "INVALID_ARGUMENT")
    assert recording.last.figures[:2] == ("INVALID_ARGUMENT", 400)


async def test_a_part_that_is_not_as_compressed_as_it_says_is_the_callers_mistake(serve: Any) -> None:
    async def parts(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            await part.read(decode=True)
        return web.Response()

    body = b"--x\r\nContent-Encoding: gzip\r\n\r\nbar\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/mixed; boundary=x"}
    assert (await (await serve(answering(parts))).ask("POST", "/x", data=body, headers=headers))[0] == 400


async def test_parts_of_something_else_that_a_handler_reads_are_its_own_matter(serve: Any) -> None:
    async def form(request: web.Request) -> web.Response:
        content = StreamReader(request.protocol, 65536, loop=asyncio.get_running_loop())
        content.feed_data(b"--x\r\nfoo\r\n\r\nbar--x--")
        content.feed_eof()
        await MultipartReader({"Content-Type": _FORM}, content).next()
        return web.Response()

    assert (await (await serve(answering(form))).ask("POST", "/x", data=b"x"))[0] == 500


async def test_the_size_of_a_request_is_what_arrived_of_it(serve: Any, recording: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", (await serve()).server.port)
    writer.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000\r\n\r\nabc")
    assert (await reader.readuntil()).startswith(b"HTTP/1.1 404 ")
    assert recording.last.request_size == 3
    writer.close()


async def test_the_size_of_a_compressed_request_is_that_of_its_content(serve: Any, recording: Any) -> None:
    async def reading(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    headers = {"Content-Encoding": "gzip"}
    await (await serve(answering(reading))).ask("POST", "/x", data=gzip.compress(bytes(1000)), headers=headers)
    assert recording.last.request_size == 1000


async def test_other_json_that_a_handler_reads_is_its_own_matter(serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.json()
        json.loads("{upstream")
        return web.Response()

    assert (await (await serve(answering(handler))).ask("POST", "/x", data=b"{}"))[0] == 500


async def test_a_body_that_is_too_large_is_refused(serve: Any, recording: Any) -> None:
    sidecar = await serve(answering(reading_json), max_body_bytes=1000)
    status, body, _ = await sidecar.ask("POST", "/x", data=b'"' + b"a" * 998 + b'"')
    assert (status, len(body)) == (200, 998)
    status, body, _ = await sidecar.ask("POST", "/x", data=b'"' + b"a" * 999 + b'"')
    assert (status, body["code"]) == (413, "RESOURCE_EXHAUSTED")
    assert body["error"].startswith("the request's body is too large: Maximum request body size 1000 exceeded")
    assert recording.last.figures[:2] == ("RESOURCE_EXHAUSTED", 413)


async def test_a_body_in_chunks_is_measured_as_well(serve: Any, recording: Any) -> None:
    async def chunks() -> Any:
        for _ in range(10):
            yield b"1" * 10

    sidecar = await serve(answering(reading_json), max_body_bytes=100)
    assert (await sidecar.ask("POST", "/x", data=chunks()))[0] == 200
    assert recording.last.request_size == 100
    sidecar = await serve(answering(reading_json), max_body_bytes=99)
    assert (await sidecar.ask("POST", "/x", data=chunks()))[0] == 413
