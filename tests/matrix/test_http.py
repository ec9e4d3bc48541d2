"""The same over HTTP: whatever a request ends with, the four records say the status that was on the wire."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientConnectionError, ClientSession, web

from chassis.call import Call, Interceptor, Proceed
from chassis.errors import TABLE, ChassisError, Undecodable
from chassis.health import Health
from chassis.http import HttpServer
from interceptors import LoggingInterceptor, MetricsInterceptor, TracingInterceptor
from tests.matrix.endings import TEXT
from tests.matrix.records import OBSERVERS, Observed, Records, disagreements
from tests.matrix.stacks import TOKEN, authenticator, full

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODY_LEFT = 499  # what is recorded for a caller that hung up and so saw nothing


@dataclass(frozen=True)
class HttpEnding:
    """One way for a request to end, and the status that must come back."""

    name: str
    status: int
    act: str  # what the handler does
    message: str | None = None
    path: str | None = None
    credentials: bool = True
    hang_up: bool = False

    def __str__(self) -> str:
        return self.name


ENDINGS = [
    HttpEnding("ok", 200, "answer"),
    HttpEnding("a status of its own", 404, "return 404"),
    HttpEnding("an exception of aiohttp", 418, "raise 418"),
    *(HttpEnding(cls.__name__, cls.meaning.http_status, cls.__name__, TEXT) for cls in TABLE),
    HttpEnding("undecodable", 400, "Undecodable", TEXT),
    HttpEnding("crash", 500, "crash", "internal error; ask for it by request id "),
    HttpEnding("deadline", 504, "wait"),
    HttpEnding("cancelled by the client", NOBODY_LEFT, "wait", hang_up=True),
    HttpEnding("unknown path", 404, "", path="/nothing"),
]
WITHOUT_CREDENTIALS = [
    HttpEnding("without credentials", 401, "answer", credentials=False),
    HttpEnding("unknown path without credentials", 401, "", path="/nothing", credentials=False),
]
STACKS: dict[str, tuple[Callable[[Observed], Sequence[Interceptor]], tuple[str, ...]]] = {
    "tracing alone": (lambda observed: [TracingInterceptor(observed.tracing)], ("span",)),
    "metrics alone": (lambda observed: [MetricsInterceptor(observed.metrics)], ("metric",)),
    "logging alone": (lambda observed: [LoggingInterceptor(observed.logs)], ("log",)),
    "full stack": (lambda observed: full(observed, None), OBSERVERS),
    "full stack with auth": (lambda observed: full(observed, authenticator()), OBSERVERS),
}


class Ends(Interceptor):
    """Outermost: tells when a request is over, and so recorded."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self.over.set()


class Sidecar:
    """An HTTP server whose one route does what it is asked to, and a client of it."""

    def __init__(self, interceptors: Callable[[Observed], Sequence[Interceptor]]) -> None:
        self.observed = Observed()
        self._ends = Ends()
        self._at_work = asyncio.Event()
        around = [self._ends, *interceptors(self.observed)]
        self._server = HttpServer(health=Health(), interceptors=around, routes=self._routes, request_timeout=0.3)
        self._client: ClientSession

    def _routes(self, app: web.Application) -> None:
        app.router.add_get("/act/{what}", self._act)

    async def _act(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        classes: dict[str, type[ChassisError]] = {cls.__name__: cls for cls in (*TABLE, Undecodable)}
        if what in classes:
            raise classes[what](TEXT)
        if what == "crash":
            raise RuntimeError(TEXT)
        if what == "raise 418":
            raise _Teapot
        if what == "wait":
            self._at_work.set()
            await asyncio.Event().wait()
        return web.Response(text=TEXT, status=404 if what == "return 404" else 200)

    async def start(self) -> None:
        self.observed.logs.install()
        await self._server.start()
        self._client = ClientSession(f"http://{self._server.address}")

    async def stop(self) -> None:
        await self._client.close()
        await self._server.stop()
        self.observed.logs.close()

    async def play(self, ending: HttpEnding) -> tuple[Records, str]:
        """Make the request; gives its records and the text of the answer."""
        request_id, trace_id = f"r-{secrets.token_hex(8)}", secrets.token_hex(16)
        headers = {"X-Request-ID": request_id, "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        if ending.credentials:
            headers["Authorization"] = f"Bearer {TOKEN}"
        self._ends.over.clear()
        self._at_work.clear()
        before = self._counted()
        status, text = await self._ask(ending, headers)
        await asyncio.wait_for(self._ends.over.wait(), 10)
        own = self.observed.logged("request completed").get(request_id, [])
        records = Records(
            str(status),
            log=[str(line["status_code"]) for line in own],
            metric=[code for (code,) in (self._counted() - before).elements()],
            span=self.observed.traced(trace_id, "http.response.status_code", "SERVER"),
        )
        self.observed.forget()
        return records, text

    async def _ask(self, ending: HttpEnding, headers: dict[str, str]) -> tuple[int, str]:
        asking = asyncio.ensure_future(self._get(ending.path or f"/act/{ending.act}", headers))
        if not ending.hang_up:
            return await asking
        await self._at_work.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return NOBODY_LEFT, ""

    async def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        try:
            async with self._client.get(path, headers=headers) as response:
                if response.content_type == "application/json":
                    return response.status, (await response.json())["error"]
                return response.status, await response.text()
        except ClientConnectionError as error:
            raise AssertionError("the connection broke") from error

    def _counted(self) -> Any:
        return self.observed.counted("http_requests_total", "status_code")


class _Teapot(web.HTTPClientError):
    status_code = 418


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=STACKS)
async def sidecar(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Sidecar, str]]:
    interceptors, _ = STACKS[request.param]
    sidecar = Sidecar(interceptors)
    await sidecar.start()
    yield sidecar, request.param
    await sidecar.stop()


@pytest.mark.parametrize("ending", ENDINGS, ids=str)
async def test_all_records_of_a_request_say_what_was_on_the_wire(
    sidecar: tuple[Sidecar, str], ending: HttpEnding
) -> None:
    server, stack = sidecar
    if ending.name == "deadline" and not stack.startswith("full"):
        ending = HttpEnding("nobody keeps the deadline", NOBODY_LEFT, "wait", hang_up=True)

    records, text = await server.play(ending)

    assert records.wire == str(ending.status)
    assert disagreements(records, STACKS[stack][1]) == []
    if ending.message is not None:
        assert text.startswith(ending.message)


@pytest.mark.parametrize("ending", WITHOUT_CREDENTIALS, ids=str)
@pytest.mark.parametrize("sidecar", ["full stack with auth"], indirect=True)
async def test_requests_without_credentials_are_recorded_as_that(
    sidecar: tuple[Sidecar, str], ending: HttpEnding
) -> None:
    records, _ = await sidecar[0].play(ending)

    assert records.wire == str(ending.status)
    assert disagreements(records, OBSERVERS) == []
