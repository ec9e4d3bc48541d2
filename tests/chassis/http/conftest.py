from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from chassis.call import Call, Interceptor, Proceed
from chassis.errors import Unauthorized
from chassis.health import Health
from chassis.http import HttpServer


@dataclass(frozen=True)
class Seen:
    """What an observer reads when a call is over; what is only right later would not be right for it."""

    call: Any
    code: str
    status: int
    request_size: int
    response_size: int

    @property
    def figures(self) -> tuple[str, int, int, int]:
        return self.code, self.status, self.request_size, self.response_size


class Recording(Interceptor):
    """An observer."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._news = asyncio.Event()

    async def around(self, call: Any, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self.seen.append(Seen(call, call.code.name, call.http_status, call.request_size, call.response_size))
            self._news.set()

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    async def until(self, count: int) -> None:
        while len(self.seen) < count:
            self._news.clear()
            await self._news.wait()


class Guarding(Interceptor):
    """Auth as small as can be: nobody without the password."""

    def applies(self, method: Any) -> bool:
        return not method.public

    async def around(self, call: Call, proceed: Proceed) -> Any:
        if call.values("authorization") != ["Bearer s3cret"]:
            raise Unauthorized("missing credentials")
        return await proceed(call)


class Sidecar:
    """A running server and a client of it."""

    def __init__(self, server: HttpServer, client: ClientSession) -> None:
        self.server = server
        self.client = client

    async def get(self, path: str, **options: Any) -> tuple[int, Any, Any]:
        return await self.ask("GET", path, **options)

    async def ask(self, verb: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        async with self.client.request(verb, path, allow_redirects=False, **options) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json and body else body, response.headers

    async def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(request)
            answer = bytearray()
            while chunk := await reader.read(65536):
                answer += chunk
            return bytes(answer)
        except ConnectionResetError:
            return bytes(answer)
        finally:
            writer.close()


Serve = Callable[..., Awaitable[Sidecar]]


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def guarding() -> Guarding:
    return Guarding()


@pytest.fixture
async def serve(recording: Recording) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(routes: Any = None, **options: Any) -> Sidecar:
            options.setdefault("health", Health())
            options.setdefault("interceptors", [recording])
            options.setdefault("grace", 5.0)
            server = HttpServer(routes=routes, **options)
            await server.start()
            stack.push_async_callback(server.stop)
            client = await stack.enter_async_context(ClientSession(f"http://{server.address}"))
            return Sidecar(server, client)

        yield start
