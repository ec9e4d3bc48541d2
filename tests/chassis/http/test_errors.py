from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from aiohttp import web

from chassis.call import Interceptor
from chassis.errors import (
    TABLE,
    ChassisError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Temporary,
    Unauthorized,
)
from interceptors.errors import ErrorsInterceptor
from interceptors.recovery import RecoveryInterceptor


def raising(error: BaseException) -> Any:
    async def handler(request: web.Request) -> web.Response:
        raise error

    return lambda app: app.router.add_route("*", "/x", handler)


def answering(handler: Any) -> Any:
    return lambda app: app.router.add_route("*", "/x", handler)


@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
async def test_each_class_of_error_has_its_status_code_and_message(
    serve: Any, recording: Any, cls: type[ChassisError]
) -> None:
    sidecar = await serve(raising(cls("что-то не так: é")))
    status, body, headers = await sidecar.get("/x", headers={"X-Request-ID": "r-1"})
    assert status == cls.meaning.http_status
    assert body == {"error": "что-то не так: é", "code": cls.meaning.code.name, "request_id": "r-1"}
    assert headers["X-Request-ID"] == "r-1"
    assert headers["Content-Type"] == "application/json"
    size = int(headers["Content-Length"])
    assert recording.last.figures == (cls.meaning.code.name, status, 0, size)


async def test_a_body_is_one_line(serve: Any) -> None:
    sidecar = await serve(raising(NotFound("no\nsuch thing")))
    async with sidecar.client.get("/x", headers={"X-Request-ID": "r-1"}) as response:
        raw = await response.read()
    assert raw == b'{"error":"no\\nsuch thing","code":"NOT_FOUND","request_id":"r-1"}\n'


async def test_an_error_without_a_message_says_its_code(serve: Any) -> None:
    status, body, _ = await (await serve(raising(PermissionDenied()))).get("/x")
    assert (status, body["error"]) == (403, "permission denied")


async def test_when_to_come_back_is_told_in_whole_seconds(serve: Any) -> None:
    _, _, headers = await (await serve(raising(ResourceExhausted("slow down", retry_after=0.2)))).get("/x")
    assert headers["Retry-After"] == "1"


async def test_what_travels_beside_an_error_becomes_headers_where_it_can(serve: Any) -> None:
    trailers = [("x-shard", "7"), ("x-bytes-bin", b"\x00"), ("x-split", "a\r\nSet-Cookie: b"), ("bad name", "x")]
    status, _, headers = await (await serve(raising(Temporary("later", trailers=trailers)))).get("/x")
    assert (status, headers["x-shard"]) == (503, "7")
    assert not {"x-bytes-bin", "x-split", "bad name", "set-cookie"} & {name.lower() for name in headers}


async def test_who_is_not_known_is_told_what_to_send(serve: Any) -> None:
    status, _, headers = await (await serve(raising(Unauthorized("who are you?")))).get("/x")
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_an_interceptor_can_reject(serve: Any, recording: Any, guarding: Any) -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text="in")

    sidecar = await serve(answering(handler), interceptors=[recording, guarding])
    status, body, headers = await sidecar.get("/x")
    assert (status, body["code"], headers["WWW-Authenticate"]) == (401, "UNAUTHENTICATED", "Bearer")
    assert asked == []
    assert recording.last.figures == ("UNAUTHENTICATED", 401, 0, int(headers["Content-Length"]))
    status, body, _ = await sidecar.get("/x", headers={"Authorization": "Bearer s3cret"})
    assert (status, body) == (200, b"in")


async def test_a_header_that_came_twice_is_seen_twice_by_auth(serve: Any, guarding: Any) -> None:
    sidecar = await serve(interceptors=[guarding])
    headers = [("Authorization", "Bearer s3cret"), ("Authorization", "Bearer other")]
    assert (await sidecar.get("/nothing", headers=headers))[0] == 401


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("s3cret"),
        BaseExceptionGroup("s3cret", [ValueError("s3cret"), asyncio.CancelledError("s3cret")]),
        TimeoutError("s3cret"),
        ValueError("s3cret"),
        ConnectionError("s3cret"),
        json.JSONDecodeError("s3cret", "s3cret", 0),
        UnicodeDecodeError("utf-8", b"s3cret", 0, 1, "s3cret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_crash_tells_nothing_but_an_id(serve: Any, recording: Any, error: BaseException) -> None:
    sidecar = await serve(raising(error))
    status, body, _ = await sidecar.get("/x", headers={"X-Request-ID": "r-1"})
    assert (status, body) == (
        500,
        {"error": "internal error; ask for it by request id r-1", "code": "INTERNAL", "request_id": "r-1"},
    )
    assert recording.last.code == "INTERNAL"
    assert recording.last.call.error is error
    assert (await sidecar.get("/health/live"))[0] == 200


@pytest.mark.parametrize("returned", [None, "text", 42])
async def test_a_handler_that_returns_no_response_is_a_crash(serve: Any, recording: Any, returned: Any) -> None:
    async def handler(request: web.Request) -> Any:
        return returned

    sidecar = await serve(answering(handler))
    assert (await sidecar.get("/x"))[0] == 500
    assert recording.last.code == "INTERNAL"
    assert f"the handler of GET /x returned {type(returned).__name__}, not a response" in str(recording.last.call.error)


async def test_a_cancellation_from_inside_of_a_handler_is_answered(serve: Any, recording: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task
        return web.Response()

    sidecar = await serve(answering(handler))
    status, body, _ = await sidecar.get("/x")
    assert (status, body["code"], body["error"]) == (499, "CANCELLED", "the request was cancelled")
    assert recording.last.figures[:2] == ("CANCELLED", 499)


# The handler's own answers.


async def test_an_http_exception_is_the_handlers_own_answer(serve: Any, recording: Any) -> None:
    error = web.HTTPConflict(text="taken", headers={"X-Mine": "yes"})
    status, body, headers = await (await serve(raising(error))).get("/x")
    assert (status, body, headers["X-Mine"]) == (409, b"taken", "yes")
    assert headers["X-Request-ID"]
    assert recording.last.figures == ("ALREADY_EXISTS", 409, 0, 5)
    assert recording.last.call.error.answer is error


async def test_a_response_that_says_no_is_the_handlers_own_answer(serve: Any, recording: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"mine": True}, status=404)

    status, body, _ = await (await serve(answering(handler))).get("/x")
    assert (status, body) == (404, {"mine": True})
    assert recording.last.figures == ("NOT_FOUND", 404, 0, len('{"mine": true}'))
    assert isinstance(recording.last.call.error, NotFound)


async def test_a_default_exception_of_a_handler_stays_as_it_is(serve: Any) -> None:
    status, body, _ = await (await serve(raising(web.HTTPNotFound()))).get("/x")
    assert (status, body) == (404, b"404: Not Found")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_failures_that_a_handler_answers_by_itself_are_failures(serve: Any, recording: Any, status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status)

    assert (await (await serve(answering(handler))).get("/x"))[0] == status
    assert recording.last.code == {503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}.get(status, "INTERNAL")


async def test_a_redirect_is_no_error(serve: Any, recording: Any) -> None:
    status, _, headers = await (await serve(raising(web.HTTPFound("/elsewhere")))).get("/x")
    assert (status, headers["Location"]) == (302, "/elsewhere")
    assert recording.last.figures[:2] == ("OK", 302)


async def test_an_interceptor_may_raise_http_exceptions_too(serve: Any, recording: Any) -> None:
    class Teapot(Interceptor):
        async def around(self, call: Any, proceed: Any) -> Any:
            raise web.HTTPTooManyRequests(text="later")

    sidecar = await serve(interceptors=[recording, Teapot()])
    status, body, _ = await sidecar.get("/health/live")
    assert (status, body) == (429, b"later")
    assert recording.last.figures == ("RESOURCE_EXHAUSTED", 429, 0, 5)


async def test_an_interceptor_can_answer_instead(serve: Any, recording: Any) -> None:
    class Cached(Interceptor):
        async def around(self, call: Any, proceed: Any) -> Any:
            call.response = web.Response(text="cached", status=203)
            return call.response

    sidecar = await serve(interceptors=[recording, Cached()])
    status, body, headers = await sidecar.get("/nothing")
    assert (status, body) == (203, b"cached")
    assert headers["X-Request-ID"]
    assert recording.last.figures == ("OK", 203, 0, 6)


async def test_an_interceptor_can_replace_what_a_handler_answered(serve: Any, recording: Any) -> None:
    class Late(Interceptor):
        async def around(self, call: Any, proceed: Any) -> Any:
            response = await proceed(call)
            response.headers["X-Seen"] = "yes"
            if call.transport.query:
                raise ResourceExhausted("too much came out")
            return response

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="fine")

    sidecar = await serve(answering(handler), interceptors=[recording, Late()])
    assert (await sidecar.get("/x"))[2]["X-Seen"] == "yes"
    status, body, _ = await sidecar.get("/x?more=1")
    assert (status, body["code"]) == (429, "RESOURCE_EXHAUSTED")
    assert recording.last.figures[:2] == ("RESOURCE_EXHAUSTED", 429)


# What is not there.


async def test_an_unknown_path_goes_through_the_whole_stack(serve: Any, recording: Any) -> None:
    sidecar = await serve()
    status, body, _ = await sidecar.get("/no/such", headers={"X-Request-ID": "r-1"})
    assert (status, body) == (
        404,
        {"error": "nothing is served at this path", "code": "NOT_FOUND", "request_id": "r-1"},
    )
    await sidecar.get("/other")
    first, second = (seen.call for seen in recording.seen)
    assert first.method is second.method
    assert (first.method.path, first.method.name, first.method.known) == ("unknown", "unknown", False)
    assert (first.path, first.verb) == ("/no/such", "GET")
    assert recording.last.figures[:2] == ("NOT_FOUND", 404)


async def test_a_wrong_verb_is_told_which_ones_there_are(serve: Any, recording: Any) -> None:
    sidecar = await serve()
    status, body, headers = await sidecar.ask("DELETE", "/health")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert (body["error"], body["code"]) == ("this path does not take DELETE; it takes GET, HEAD", "UNIMPLEMENTED")
    assert recording.last.figures[:2] == ("UNIMPLEMENTED", 405)
    assert recording.last.call.method.known is False


async def test_an_unknown_path_tells_nothing_to_who_is_not_known(serve: Any, recording: Any, guarding: Any) -> None:
    sidecar = await serve(interceptors=[recording, guarding])
    assert (await sidecar.get("/no/such"))[0] == 401
    assert recording.last.code == "UNAUTHENTICATED"


# Hooks of the service.


async def test_a_hook_that_breaks_a_response_is_logged_and_breaks_the_connection(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def routes(app: web.Application) -> None:
        async def broken(request: web.Request, response: web.StreamResponse) -> None:
            raise RuntimeError("broken hook")

        app.on_response_prepare.append(broken)

    sidecar = await serve(routes)
    answer = await sidecar.raw(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == b""
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a response could not be sent"
    ]


# With the interceptors that a service has.


async def test_a_crash_is_told_alike_with_errors_and_recovery_around_it(serve: Any, recording: Any) -> None:
    stack = [RecoveryInterceptor(), recording, ErrorsInterceptor({KeyError: lambda error: NotFound("no such key")})]
    sidecar = await serve(raising(RuntimeError("s3cret")), interceptors=stack)
    status, body, _ = await sidecar.get("/x", headers={"X-Request-ID": "r-1"})
    assert (status, body["error"]) == (500, "internal error; ask for it by request id r-1")
    assert recording.last.figures[:2] == ("INTERNAL", 500)
    sidecar = await serve(raising(KeyError("s3cret")), interceptors=stack)
    assert (await sidecar.get("/x"))[:1] == (404,)
    assert recording.last.figures[:2] == ("NOT_FOUND", 404)
