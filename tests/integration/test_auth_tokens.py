"""Who may call, over RPC and HTTP at once: tokens that expire, names that are not exempt, a backend that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import jwt
import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession, WSMsgType, web
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis import ServiceChassis
from chassis.call import Call, Interceptor, Principal, Proceed
from chassis.errors import Temporary, Unauthorized
from chassis.testing import running
from interceptors import AuthInterceptor
from interceptors.auth import EXPIRED_CREDENTIALS
from tests.interceptors.echo_kit import Scripted

KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
TOKEN = "a-token-that-nothing-may-show"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Codes(Interceptor):
    """An observer of RPCs and requests that are served: the codes with which they ended."""

    def __init__(self) -> None:
        self.codes: dict[str, list[str]] = {}
        self._news = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self.codes.setdefault(call.method.path, []).append(call.code.name)
            self._news.set()

    async def until(self, path: str, count: int = 1) -> list[str]:
        while len(self.codes.get(path, [])) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 20)
        return self.codes[path]


class Feeds(ServiceChassis):
    """Streams over RPC and HTTP that never end by themselves."""

    name = "feeds"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.observer = Codes()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cleaned_up: list[str] = []

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        return [self.observer, *default]

    def register(self, server: Any) -> None:
        rpc.add_EchoServiceServicer_to_server(Scripted(EchoStream=self.feed), server)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/stream", self.stream)
        app.router.add_get("/socket", self.socket)
        app.router.add_get("/plain", self.plain)
        app.router.add_get("/late", self.late)

    async def feed(self, request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
        yield pb.EchoReply()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned_up.append("feed")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned_up.append("stream")
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("one")
        try:
            async for _ in socket:
                pass
        finally:
            self.cleaned_up.append("socket")
        return socket

    async def plain(self, request: web.Request) -> web.StreamResponse:
        self.begun.set()
        await self.go.wait()
        return web.Response(text="done")

    async def late(self, request: web.Request) -> web.StreamResponse:
        self.begun.set()
        await self.go.wait()
        return await self.stream(request)


class About:
    """An authenticator whose token is about to expire until the test says that it has, and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._looks = 0
        self._looked = asyncio.Event()

    def __call__(self) -> float:
        self._looks += 1
        self._looked.set()
        return self.now

    async def expire(self, calls: int) -> None:
        """Expire, and wait until so many calls have found out."""
        self.now, self._looks = 1.0, 0
        while self._looks < calls:
            self._looked.clear()
            await asyncio.wait_for(self._looked.wait(), 20)

    def authenticate(self, token: str) -> Principal:
        return Principal("7d5e", "user", "jwt", expires_at=0.01, token=token)


class Timed(Feeds):
    """The same, with a clock in the hand of the test."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.time = About()

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        return [self.observer, *default, AuthInterceptor(self.time, clock=self.time)]


async def test_a_real_token_ends_real_streams_when_it_expires() -> None:
    async with running(Feeds, {"auth.jwt_public_key": PEM, "auth.jwt_leeway": "3s"}) as feeds, ClientSession() as http:
        # Expired already, and good for as long as the leeway lasts: streams end with it, and not before they began.
        token = jwt.encode({"sub": "user:7d5e", "exp": time.time() - 0.5}, KEY, "EdDSA")
        stub = rpc.EchoServiceStub(feeds.channel(token=token))
        call = stub.EchoStream(pb.EchoRequest())
        await call.read()
        async with http.get(feeds.http_url("/stream"), headers=bearer(token)) as response:
            assert await response.content.readexactly(3) == b"one"

            with pytest.raises(Unauthorized, match=EXPIRED_CREDENTIALS):
                await call.read()
            with pytest.raises(ClientPayloadError):
                await response.read()

        assert await feeds.service.observer.until("/cqi.testing.v1.EchoService/EchoStream") == ["UNAUTHENTICATED"]
        assert await feeds.service.observer.until("/stream") == ["UNAUTHENTICATED"]
        assert sorted(feeds.service.cleaned_up) == ["feed", "stream"]
        with pytest.raises(Unauthorized, match="invalid or expired credentials"):
            await stub.EchoStream(pb.EchoRequest()).read()


async def test_a_websocket_is_closed_when_its_token_expires() -> None:
    async with (
        running(Timed) as feeds,
        ClientSession() as http,
        http.ws_connect(feeds.http_url("/socket"), headers=bearer(TOKEN)) as socket,
    ):
        assert await socket.receive_str() == "one"
        feeds.service.time.now = 1.0

        assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        assert await feeds.service.observer.until("/socket") == ["UNAUTHENTICATED"]
        assert feeds.service.cleaned_up == ["socket"]


async def _fetched(request: Any) -> tuple[int, str]:
    response: ClientResponse
    async with request as response:
        return response.status, await response.text()


async def test_an_answer_in_one_piece_outlives_its_token_and_a_stream_that_begins_later_does_not() -> None:
    async with running(Timed) as feeds, ClientSession() as http:
        plain = asyncio.ensure_future(_fetched(http.get(feeds.http_url("/plain"), headers=bearer(TOKEN))))
        await asyncio.wait_for(feeds.service.begun.wait(), 10)
        feeds.service.begun.clear()
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            late = group.create_task(_broken(http.get(feeds.http_url("/late"), headers=bearer(TOKEN))))
            await asyncio.wait_for(feeds.service.begun.wait(), 10)
            await feeds.service.time.expire(calls=2)
            feeds.service.go.set()

        assert await plain == (200, "done")
        assert late.result()
        assert await feeds.service.observer.until("/late") == ["UNAUTHENTICATED"]


async def _broken(request: Any) -> bool:
    async with request as response:
        with pytest.raises(ClientPayloadError):
            await response.read()
        return True


async def test_only_the_exact_routes_of_health_and_metrics_are_open() -> None:
    async with running(Timed, {"auth.api_keys": ["ops:0123456789abcdef"]}) as feeds:
        statuses = {}
        for path in [
            "/health",
            "/health/live",
            "/health/",
            "/HEALTH/LIVE",
            "/health//live",
            "//health/live",
            "/health/live/",
            "/health/live/../../plain",
            "/metrics/../plain",
            "/metrics/",
            "/%2e%2e/plain",
            "/plain",
            "/plain?/health/live",
            "/health/live%2f..%2f..%2fplain",
            "/health/live;/plain",
            "/nothing",
        ]:
            statuses[path] = await _status(feeds.service.http_address, path)

    assert {path for path, status in statuses.items() if status != 401} == {"/health", "/health/live"}


async def _status(address: str, path: str) -> int:
    """The status for a path as it is written here: clients would tidy it up."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


class Broken:
    """An authenticator whose backend is away."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def authenticate(self, token: str) -> Any:
        answer = self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Guarded(Feeds):
    """The same streams behind an authenticator that fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.backend = Broken()

    def interceptors(self, default: list[Interceptor]) -> Sequence[Interceptor]:
        return [self.observer, *default, AuthInterceptor(self.backend, metrics=self.metrics)]


@pytest.mark.parametrize(
    "answer",
    [ConnectionRefusedError(f"10.0.0.7, with {TOKEN}"), TimeoutError(), KeyError(TOKEN), None, {"sub": "root"}, True],
    ids=lambda answer: type(answer).__name__,
)
async def test_a_backend_that_fails_lets_nobody_through_anywhere(answer: Any) -> None:
    async with running(Guarded) as feeds, ClientSession() as http:
        feeds.service.backend.answers.append(answer)
        with pytest.raises(Temporary, match="credentials can not be checked right now"):
            await rpc.EchoServiceStub(feeds.channel(token=TOKEN)).EchoStream(pb.EchoRequest()).read()
        found = [
            await _fetched(http.get(feeds.http_url(path), headers=bearer(TOKEN))) for path in ("/plain", "/nothing")
        ]
        # Without a token nobody is asked, and with exempt names nobody either.
        missing = await _status(feeds.service.http_address, "/plain")
        live = await _fetched(http.get(feeds.http_url("/health/live")))
        _, metrics = await _fetched(http.get(feeds.http_url("/metrics")))

    assert [status for status, _ in found] == [503, 503]
    assert TOKEN not in str(found)
    assert (missing, live[0], feeds.service.begun.is_set()) == (401, 200, False)
    counted = {line.partition("{")[2] for line in metrics.splitlines() if line.startswith("feeds_auth_failures_total{")}
    assert counted == {
        'service="feeds",status_code="UNAVAILABLE",system="grpc"} 1.0',
        'service="feeds",status_code="UNAVAILABLE",system="http"} 2.0',
        'service="feeds",status_code="UNAUTHENTICATED",system="http"} 1.0',
    }


class Bug:
    """An authenticator with a bug in it."""

    def authenticate(self, token: str) -> Principal:
        raise AssertionError("a bug")


async def test_a_failing_authenticator_of_the_shipped_list_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.service.assembly.authenticator_of", lambda config: Bug())
    async with running(Feeds) as feeds, ClientSession() as http:
        await _fetched(http.get(feeds.http_url("/plain"), headers=bearer(TOKEN)))
        _, metrics = await _fetched(http.get(feeds.http_url("/metrics")))

    assert 'feeds_auth_failures_total{service="feeds",status_code="UNAVAILABLE",system="http"} 1.0' in metrics
