"""The load's own client says what HTTP/2 and HPACK ask for, and is understood by a gRPC server."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.bench.http2 import Connection, Failed, _number
from tests.bench.servicer import STREAM, UNARY, add_to, reply_bytes, request


# RFC 7541, appendix C.1.
@pytest.mark.parametrize(
    ("value", "prefix", "encoded"), [(10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a")]
)
def test_numbers_are_written_as_in_the_examples_of_the_rfc(value: int, prefix: int, encoded: bytes) -> None:
    assert _number(value, prefix) == encoded


@pytest.fixture
async def seen() -> list[dict[str, str]]:
    return []


@pytest.fixture
async def port(seen: list[dict[str, str]]) -> AsyncIterator[int]:
    class Seeing(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(dict(details.invocation_metadata))
            return await continuation(details)

    server = grpc.aio.server(interceptors=[Seeing()])
    add_to(server)
    bound = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield bound
    await server.stop(None)


def _calls(connection: Connection, count: int) -> int:
    """Make so many calls, and return how many have ended when nothing is under way any more."""
    ended = 0
    assert connection.send([0.0] * count) == count
    while connection.open:
        assert select.select([connection.socket], (), (), 10)[0], "no answer came"
        ended += len(connection.receive())
    return ended


async def test_calls_are_answered_and_their_headers_are_the_same_each_time(port: int, seen: list[Any]) -> None:
    connection = Connection(port, UNARY, "t" * 500, request())
    try:
        assert await asyncio.to_thread(_calls, connection, 3) == 3
        assert await asyncio.to_thread(_calls, connection, 2) == 2
    finally:
        connection.close()
    assert connection.body_bytes == 5 * reply_bytes(request())
    assert [each["authorization"] for each in seen] == ["Bearer " + "t" * 500] * 5


async def test_a_stream_is_counted_by_its_bodies(port: int) -> None:
    body = request(40)
    connection = Connection(port, STREAM, "t", body)
    try:
        assert await asyncio.to_thread(_calls, connection, 1) == 1
    finally:
        connection.close()
    assert connection.body_bytes == reply_bytes(body, 40)


async def test_a_call_that_fails_has_no_body(port: int) -> None:
    connection = Connection(port, "/no.Such/Method", "t", request())
    try:
        assert await asyncio.to_thread(_calls, connection, 1) == 1
    finally:
        connection.close()
    assert connection.body_bytes == 0


async def test_a_server_that_is_gone_is_told() -> None:
    async def hang_up(reader: object, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        connection = Connection(server.sockets[0].getsockname()[1], UNARY, "t", request())
        try:
            with pytest.raises((Failed, ConnectionError)):
                await asyncio.to_thread(_calls, connection, 1)
        finally:
            connection.close()


def test_headers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Connection(1, UNARY, "t" * 5000, request())


def test_a_request_has_107_bytes_whatever_it_asks_for() -> None:
    assert len(request()) == len(request(500)) == 107
