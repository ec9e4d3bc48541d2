"""The proxy that tests of faults rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.proxy import Proxy

# Long enough for anything that should happen; what should not happen is never waited for so long.
PATIENCE = 5.0


class Echo:
    """Sends back what it gets, and keeps it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.news = asyncio.Event()
        self.ends: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += data
                self.news.set()
                writer.write(data)
                await writer.drain()
            self.ends.append("eof")
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            self.news.set()
            writer.close()

    async def until(self, received: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.received != received:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, proxy: Proxy) -> Client:
        return cls(*await asyncio.open_connection(proxy.host, proxy.port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def close(self) -> None:
        self.writer.close()


async def test_it_passes_on_what_it_gets_and_counts_it(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await client.send(b"hello")
    assert await client.receive(5) == b"hello"
    assert (proxy.accepted, proxy.connections, proxy.bytes_up, proxy.bytes_down) == (1, 1, 5, 5)
    await client.close()


async def test_a_lot_of_data_arrives_whole_and_in_order(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    data = bytes(range(256)) * 20_000
    sending = asyncio.create_task(client.send(data))
    assert await client.receive(len(data)) == data
    await sending
    await client.close()


async def test_the_end_of_one_direction_is_passed_on(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    await client.send(b"bye")
    client.writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.read() == b"bye"
    assert echo.ends == ["eof"]
    await client.close()


async def test_a_delay_is_added_in_its_direction_only(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    loop = asyncio.get_running_loop()
    proxy.delay(0.2, direction="down")
    begun = loop.time()
    await client.send(b"slow")
    await echo.until(b"slow")
    assert proxy.bytes_down == 0
    assert await client.receive(4) == b"slow"
    assert loop.time() - begun >= 0.2
    await client.close()


async def test_a_blackhole_keeps_the_connection_and_what_is_sent_until_it_heals(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    proxy.blackhole()
    await client.send(b"lost?")
    late = await Client.to(proxy)
    await late.send(b"")
    assert (proxy.bytes_up, bytes(echo.received)) == (0, b"")
    await proxy.heal()
    assert await client.receive(5) == b"lost?"
    await client.close()
    await late.close()


async def test_a_blackhole_downwards_lets_requests_through_and_no_answer(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    proxy.blackhole("down")
    await client.send(b"ask")
    await echo.until(b"ask")
    assert proxy.bytes_down == 0
    await proxy.heal()
    assert await client.receive(3) == b"ask"
    await client.close()


async def test_the_server_does_not_hear_that_a_client_left_through_a_blackhole(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    await client.send(b"a")
    assert await client.receive(1) == b"a"
    proxy.blackhole()
    await client.close()
    await client.writer.wait_closed()
    assert (echo.ends, proxy.connections) == ([], 1)
    await proxy.heal()
    async with asyncio.timeout(PATIENCE):
        while not echo.ends:
            echo.news.clear()
            await echo.news.wait()


async def test_a_reset_is_felt_on_both_sides(proxy: Proxy, echo: Echo) -> None:
    client = await Client.to(proxy)
    await client.send(b"a")
    assert await client.receive(1) == b"a"
    echo.news.clear()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client.receive(1)
    async with asyncio.timeout(PATIENCE):
        await echo.news.wait()
    assert echo.ends == ["reset"]
    again = await Client.to(proxy)
    await again.send(b"b")
    assert await again.receive(1) == b"b"
    await client.close()
    await again.close()


async def test_new_connections_are_refused_while_old_ones_go_on_until_it_heals(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await client.send(b"a")
    assert await client.receive(1) == b"a"
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(proxy)
    await client.send(b"b")
    assert await client.receive(1) == b"b"
    await proxy.heal()
    assert proxy.port == port
    again = await Client.to(proxy)
    await again.send(b"c")
    assert await again.receive(1) == b"c"
    await client.close()
    await again.close()


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    unused = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = unused.sockets[0].getsockname()[1]
    unused.close()
    await unused.wait_closed()
    async with Proxy("127.0.0.1", port) as proxy:
        client = await Client.to(proxy)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.receive(1)
        await client.close()
