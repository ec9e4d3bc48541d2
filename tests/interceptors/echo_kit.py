"""An echo service with interceptors around it, for tests that need one call or two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis.call import Call, Interceptor, Proceed
from chassis.server import GrpcServer
from chassis.testing.echo import EchoServicer
from interceptors import RpcInterceptor, client_interceptors

Behaviour = Callable[[Any, Any], Any]


class Recording(RpcInterceptor):
    """An observer: the calls that it saw, with the codes that they had when it saw their end."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.calls: list[Any] = []
        self.begun = asyncio.Event()
        self._ended = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:
        self.calls.append(call)
        self.begun.set()
        try:
            return await proceed(call)
        finally:
            self.codes.append(call.code.name)
            self._ended.set()

    async def until(self, count: int) -> list[str]:
        """The codes, once there are so many."""
        while len(self.codes) < count:
            self._ended.clear()
            await asyncio.wait_for(self._ended.wait(), 10)
        return self.codes


class Scripted(rpc.EchoServiceServicer):
    """A servicer whose methods are what the test gives it."""

    def __init__(self, **behaviours: Behaviour) -> None:
        for name, behaviour in behaviours.items():
            setattr(self, name, behaviour)


class Waiting:
    """A servicer's method that waits until it is cancelled, and then ends as it is told to."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.begun = asyncio.Event()
        self._then = then

    async def behave(self, request: Any, context: Any) -> Any:
        """What is to be registered."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return self._then()


def crash() -> None:
    """End as code does that has a mistake in it."""
    raise ValueError("in the clean-up")


class Echo:
    """A running echo service, and a client of it."""

    def __init__(self, address: str, channel: grpc.aio.Channel, server: Any) -> None:
        self.address = address
        self.channel = channel
        self.server = server
        self.stub = rpc.EchoServiceStub(channel)

    async def fails(self, call: Awaitable[Any]) -> grpc.aio.AioRpcError:
        """The error that a call ends with."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call went well")


class Serving:
    """Starts echo services, and stops them at the end of the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def composed(
        self,
        *interceptors: Interceptor,
        servicer: Any = None,
        around_client: tuple[Interceptor, ...] = (),
        **options: Any,
    ) -> Echo:
        """Behind the chassis' own server."""
        options.setdefault("grace", 0.2)
        server = GrpcServer(_registering(servicer), interceptors, **options)
        await server.start()
        self._stack.push_async_callback(server.stop)
        return await self.client(server.address, server, around_client)

    async def plain(self, *interceptors: Any, servicer: Any = None) -> Echo:
        """Behind a plain server of grpc."""
        server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
        _registering(servicer)(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return await self.client(f"127.0.0.1:{port}", server)

    async def client(self, address: str, server: Any = None, around: tuple[Interceptor, ...] = ()) -> Echo:
        """A client of what listens there."""
        channel = grpc.aio.insecure_channel(address, interceptors=client_interceptors(around) if around else None)
        await self._stack.enter_async_context(channel)
        return Echo(address, channel, server)


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """What starts echo services for this test."""
    async with AsyncExitStack() as stack:
        yield Serving(stack)


@pytest.fixture
async def recording() -> Recording:
    """An observer of calls, that has seen none."""
    return Recording()


def _registering(servicer: Any) -> Callable[[Any], None]:
    return lambda server: rpc.add_EchoServiceServicer_to_server(servicer or EchoServicer(), server)


def failing(code: str, text: str = "") -> pb.EchoRequest:
    """A request that ends with the domain error of this code."""
    return pb.EchoRequest(text=text, outcome=pb.OUTCOME_DOMAIN_ERROR, code=code)


WAIT = pb.EchoRequest(outcome=pb.OUTCOME_WAIT)
