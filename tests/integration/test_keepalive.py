"""Signs of life: clients ask for them, and no shipped client asks more often than a shipped server allows.

A minute is a second here, so that ten idle minutes can be waited for. gRPC's client asks once a second at most,
whatever it was told, which is just what a minute becomes. How long an answer may take is left as it is shipped: it
decides about connections that are dead, and not about who asks too often.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Self

import pytest
from cqi.testing.v1 import echo_pb2 as pb
from cqi.testing.v1 import echo_pb2_grpc as rpc

from chassis.client import channel
from chassis.client.channel import KEEPALIVE_TIME
from chassis.config import ServerConfig
from chassis.errors import Temporary
from chassis.server import GrpcServer, Limits
from tests.interceptors.echo_kit import Scripted

MINUTES = 60
IDLE_FOR = 10  # of these minutes
SHIPPED_SERVER = ServerConfig()
SHIPPED_CLIENT = [("grpc.keepalive_time_ms", int(KEEPALIVE_TIME / MINUTES * 1000))]
# Left to itself, gRPC asks only while a call is under way, and twice at most if nothing else is sent.
WITHOUT_END = ("grpc.http2.max_pings_without_data", 0)
WITHOUT_CALLS = [("grpc.keepalive_permit_without_calls", 1), ("grpc.service_config", "{}")]

_PREFACE, _HEAD = 24, 9  # bytes: RFC 9113, sections 3.4 and 4.1
_PING, _GOAWAY, _ACK = 6, 7, 1


class Tap:
    """A connection's way to the server that counts what is asked and what is ended on it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self.asked = {"client": 0, "server": 0}
        self.connections = 0
        self.ends: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def until_asked(self, by: str, times: int) -> None:
        """Wait until one side has asked so often."""
        while self.asked[by] < times:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 30)

    async def until_ended(self) -> bytes:
        """Wait until a connection was ended, and give the reason."""
        while not self.ends:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 30)
        return self.ends[0]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        for way in (
            self._pass_on("client", _PREFACE, reader, to_server),
            self._pass_on("server", 0, from_server, writer),
        ):
            self._ways.add(asyncio.create_task(way))

    async def _pass_on(
        self, sender: str, before: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            writer.write(await reader.readexactly(before))
            while True:
                head = await reader.readexactly(_HEAD)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                writer.write(head + payload)
                if head[3] == _PING and not head[4] & _ACK:
                    self.asked[sender] += 1
                if head[3] == _GOAWAY and sender == "server":
                    self.ends.append(payload[8:])
                self._news.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # one side hung up, and so the other is told
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class World:
    """Servers, with a tap before each, and channels."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def serve(self, min_interval: float) -> Tap:
        async def peer(request: Any, context: Any) -> pb.EchoReply:
            return pb.EchoReply(text=context.peer())

        async def wait(request: Any, context: Any) -> AsyncIterator[pb.EchoReply]:
            yield pb.EchoReply(text=context.peer())
            await asyncio.Event().wait()

        limits = Limits(
            keepalive_time=SHIPPED_SERVER.keepalive_time / MINUTES,
            keepalive_timeout=SHIPPED_SERVER.keepalive_timeout,
            keepalive_min_interval=min_interval,
        )
        servicer = Scripted(Echo=peer, EchoStream=wait)
        server = GrpcServer(
            lambda registrar: rpc.add_EchoServiceServicer_to_server(servicer, registrar), [], limits=limits, grace=0.1
        )
        await server.start()
        self._stack.push_async_callback(server.stop)
        return await self._stack.enter_async_context(Tap(server.port))

    async def client(self, tap: Tap, *options: tuple[str, Any]) -> rpc.EchoServiceAsyncStub:
        opened = channel(tap.address, options=[*SHIPPED_CLIENT, *options], timeout=None)
        return rpc.EchoServiceStub(await self._stack.enter_async_context(opened))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


# Whether there is a stream, what options the client has, and who asks.
QUIET: dict[str, tuple[bool, list[tuple[str, Any]], str]] = {
    # As they are shipped: it is the server that asks on, for it has heard nothing.
    "idle": (False, [], "server"),
    "a quiet stream": (True, [], "server"),
    # The most that a client with the shipped interval can do.
    "a quiet stream, asking on": (True, [WITHOUT_END], "client"),
    "idle, asking on": (False, [WITHOUT_END, *WITHOUT_CALLS], "client"),
}
KEPT = {"same connection": True, "connections": 1, "ends": [], "streams that ended": 0}


async def test_ten_quiet_minutes_do_not_part_a_shipped_client_from_a_shipped_server(world: World) -> None:
    # All at the same time: each does nothing but wait.
    kept = await asyncio.gather(*(_kept(world, *quiet) for quiet in QUIET.values()))
    assert dict(zip(QUIET, kept, strict=True)) == dict.fromkeys(QUIET, KEPT)


async def _kept(world: World, with_a_stream: bool, options: list[tuple[str, Any]], who_asks: str) -> dict[str, object]:
    tap = await world.serve(SHIPPED_SERVER.keepalive_min_time / MINUTES)
    stub = await world.client(tap, *options)
    streams = [stub.EchoStream(pb.EchoRequest()) for _ in range(with_a_stream)]
    for stream in streams:
        await stream.read()
    before = (await stub.Echo(pb.EchoRequest())).text
    await tap.until_asked(who_asks, tap.asked[who_asks] + IDLE_FOR)
    after = (await stub.Echo(pb.EchoRequest())).text
    ended = sum(stream.done() for stream in streams)
    for stream in streams:
        stream.cancel()
    return {
        "same connection": after == before,
        "connections": tap.connections,
        "ends": tap.ends,
        "streams that ended": ended,
    }


async def test_a_client_that_asks_more_often_than_allowed_is_disconnected(world: World) -> None:
    tap = await world.serve(min_interval=KEEPALIVE_TIME / MINUTES * 5)
    stub = await world.client(tap, WITHOUT_END)
    stream = stub.EchoStream(pb.EchoRequest())
    first: Any = await stream.read()

    assert await tap.until_ended() == b"too_many_pings"
    with pytest.raises(Temporary, match="Too many pings"):
        await stream.read()
    assert (await stub.Echo(pb.EchoRequest(), wait_for_ready=True)).text != first.text
    assert tap.connections == 2


def test_a_shipped_client_asks_less_often_than_a_shipped_server_allows() -> None:
    # Twice as seldom, for networks that hold questions back and deliver two at a time.
    assert 2 * SHIPPED_SERVER.keepalive_min_time <= KEEPALIVE_TIME
