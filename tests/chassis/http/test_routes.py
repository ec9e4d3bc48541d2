from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chassis.auth import public
from chassis.call import Interceptor, Kind, Method, current_call


async def whoami(request: web.Request) -> web.Response:
    call = current_call()
    assert call is not None
    assert call.transport is request
    return web.json_response([call.method.name, call.method.path, call.request_id])


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


class Assets(web.View):
    async def get(self) -> web.Response:
        return await whoami(self.request)

    @public
    async def post(self) -> web.Response:
        return await whoami(self.request)


def observed(recording: Any) -> list[tuple[str, str, bool]]:
    return [(seen.call.method.name, seen.call.method.path, seen.call.method.known) for seen in recording.seen]


async def test_a_call_knows_the_template_of_its_route(serve: Any, recording: Any) -> None:
    sidecar = await serve(lambda app: app.router.add_get("/assets/{id}", whoami))
    assert (await sidecar.get("/assets/a-1", headers={"X-Request-ID": "r-1"}))[1] == ["GET", "/assets/{id}", "r-1"]
    await sidecar.get("/assets/a-2")
    first, second = (seen.call.method for seen in recording.seen)
    assert first is second
    assert (first.system, first.side, first.service, first.kind) == ("http", "server", "", Kind.UNARY_UNARY)
    assert recording.last.call.path == "/assets/a-2"


async def test_all_ways_to_register_a_route_work(serve: Any, recording: Any, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("a page")

    def routes(app: web.Application) -> None:
        app.router.add_view("/view", Assets)
        app.router.add_route("*", "/any", whoami)
        app.add_routes([web.put("/put/{id:\\d+}", whoami)])
        app.router.add_static("/static", tmp_path)
        inner = web.Application()
        inner.router.add_get("/deep/{x}", whoami)
        outer = web.Application()
        outer.add_subapp("/in", inner)
        app.add_subapp("/sub", outer)
        local = web.Application()
        local.router.add_get("/there", whoami)
        app.add_domain("other.example", local)

    sidecar = await serve(routes)
    for verb, path, headers in (
        ("GET", "/view", {}),
        ("POST", "/view", {}),
        ("PATCH", "/any", {}),
        ("PUT", "/put/12", {}),
        ("GET", "/static/page.txt", {}),
        ("GET", "/sub/in/deep/1", {}),
        ("GET", "/there", {"Host": "other.example"}),
    ):
        status, _, headers = await sidecar.ask(verb, path, headers=headers)
        assert status == 200, path
        assert headers["X-Request-ID"]
    assert observed(recording) == [
        ("GET", "/view", True),
        ("POST", "/view", True),
        ("PATCH", "/any", True),
        ("PUT", r"/put/{id}", True),
        ("GET", "/static", True),
        ("GET", "/sub/in/deep/{x}", True),
        ("GET", "/there", True),
    ]
    assert (await sidecar.get("/put/twelve"))[0] == 404
    assert (await sidecar.get("/sub/in/other"))[0] == 404
    assert (await sidecar.get("/there"))[0] == 404
    assert [seen.call.method.known for seen in recording.seen[-3:]] == [False, False, False]


async def test_a_verb_that_a_view_lacks_is_its_own_answer(serve: Any, recording: Any) -> None:
    sidecar = await serve(lambda app: app.router.add_view("/view", Assets))
    status, _, headers = await sidecar.ask("DELETE", "/view")
    assert (status, headers["Allow"]) == (405, "GET,POST")
    assert recording.last.code == "UNIMPLEMENTED"


async def test_verbs_that_callers_made_up_share_one_method(serve: Any, recording: Any) -> None:
    sidecar = await serve(lambda app: app.router.add_route("*", "/any", whoami))
    assert (await sidecar.ask("PROPFIND", "/any"))[0] == 200
    assert (await sidecar.ask("SUBSCRIBE", "/any"))[0] == 200
    first, second = (seen.call for seen in recording.seen)
    assert first.method is second.method
    assert (first.method.name, first.verb) == ("other", "PROPFIND")


async def test_a_route_for_get_answers_head(serve: Any, recording: Any) -> None:
    sidecar = await serve(lambda app: app.router.add_get("/hello", hello))
    status, body, headers = await sidecar.ask("HEAD", "/hello")
    assert (status, body, headers["Content-Length"]) == (200, b"", "5")
    assert observed(recording) == [("HEAD", "/hello", True)]


async def test_what_is_marked_public_needs_no_credentials(serve: Any, guarding: Any) -> None:
    @public
    async def open_to_all(request: web.Request) -> web.Response:
        return web.Response()

    @public
    class Open(web.View):
        async def get(self) -> web.Response:
            return web.Response()

    def routes(app: web.Application) -> None:
        app.router.add_get("/open", open_to_all)
        app.router.add_get("/closed", hello)
        app.router.add_route("*", "/any", open_to_all)
        app.router.add_view("/view", Assets)
        app.router.add_view("/open-view", Open)

    sidecar = await serve(routes, interceptors=[guarding])
    for verb, path, status in (
        ("GET", "/open", 200),
        ("HEAD", "/open", 200),
        ("GET", "/closed", 401),
        ("PUT", "/any", 200),
        ("PROPFIND", "/any", 200),
        ("GET", "/view", 401),
        ("POST", "/view", 200),
        ("PROPFIND", "/view", 401),
        ("GET", "/open-view", 200),
        ("GET", "/open/", 401),
    ):
        assert (await sidecar.ask(verb, path))[0] == status, (verb, path)


async def test_middlewares_of_the_service_work_inside_of_the_interceptors(serve: Any, recording: Any) -> None:
    order: list[str] = []

    class First(Interceptor):
        async def around(self, call: Any, proceed: Any) -> Any:
            order.append("interceptor")
            return await proceed(call)

    @web.middleware
    async def pretty(request: web.Request, handler: Any) -> web.StreamResponse:
        order.append("middleware")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return web.Response(status=404, text="my own page")
        response.headers["X-Middleware"] = "yes"
        return response

    def routes(app: web.Application) -> None:
        app.middlewares.append(pretty)
        app.router.add_get("/hello", hello)

    sidecar = await serve(routes, interceptors=[recording, First()])
    status, body, headers = await sidecar.get("/hello")
    assert (status, body, headers["X-Middleware"]) == (200, b"hello", "yes")
    assert order == ["interceptor", "middleware"]
    status, body, _ = await sidecar.get("/nothing")
    assert (status, body) == (404, b"my own page")
    assert recording.last.code == "NOT_FOUND"


async def test_a_middleware_may_refuse_unknown_paths_in_its_own_words(serve: Any) -> None:
    @web.middleware
    async def refusing(request: web.Request, handler: Any) -> web.StreamResponse:
        raise web.HTTPNotFound(text="gone fishing")

    sidecar = await serve(lambda app: app.middlewares.append(refusing))
    assert (await sidecar.get("/nothing"))[:2] == (404, b"gone fishing")


async def test_chains_are_composed_once_for_each_route(serve: Any) -> None:
    asked: list[Method] = []

    class Choosing(Interceptor):
        def applies(self, method: Method) -> bool:
            asked.append(method)
            return method.path == "/hello"

        async def around(self, call: Any, proceed: Any) -> Any:
            response = await proceed(call)
            response.headers["X-Applied"] = "yes"
            return response

    def routes(app: web.Application) -> None:
        app.router.add_get("/hello", hello)
        app.router.add_get("/other", hello)

    sidecar = await serve(routes, interceptors=[Choosing()])
    composed = len(asked)
    assert (await sidecar.get("/hello"))[2]["X-Applied"] == "yes"
    assert "X-Applied" not in (await sidecar.get("/other"))[2]
    await sidecar.get("/nothing")
    assert len(asked) == composed


async def test_requests_of_one_connection_do_not_see_each_other(serve: Any, recording: Any) -> None:
    sidecar = await serve(lambda app: app.router.add_get("/who", whoami))
    ids = [f"r-{number}" for number in range(5)]
    answered = [(await sidecar.get("/who", headers={"X-Request-ID": each}))[1][2] for each in ids]
    assert answered == ids
    assert len({seen.call.peer for seen in recording.seen}) == 1
    assert current_call() is None


@pytest.mark.parametrize("given", ["", "a" * 129, "tab\there", "é"])
async def test_a_request_id_that_is_of_no_use_is_replaced(serve: Any, given: str) -> None:
    _, _, headers = await (await serve()).get("/health/live", headers={"X-Request-ID": given})
    assert len(headers["X-Request-ID"]) == 32
    assert headers["X-Request-ID"].isalnum()


async def test_a_handler_may_name_the_request_itself(serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(headers={"X-Request-ID": "mine"})

    assert (await (await serve(lambda app: app.router.add_get("/x", handler))).get("/x"))[2]["X-Request-ID"] == "mine"
