"""A TCP proxy that does to connections what networks do to them.

Put it between a client and a server on 127.0.0.1, and have it be slow, silent, rude or gone:

    async with Proxy("127.0.0.1", server.port) as proxy:
        client = await connect(proxy.host, proxy.port)
        proxy.delay(0.2)
        proxy.blackhole()          # connections stay open, and nothing arrives: half-open
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

Direction = Literal["up", "down"]
"""`up` is from the client to the server."""

_CHUNK = 65536
# Enough that a delay does not become a limit of throughput, few enough that a slow reader is felt by the sender.
_CHUNKS_UNDER_WAY = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class _Way:
    """One direction of all connections: how long it takes, and whether anything passes at all."""

    delay: float = 0.0
    bytes: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards connections to `target_host:target_port`; `host` and `port` are where clients connect.

    What a blackhole holds back arrives when it heals, as after a network that lost packets: nothing is lost of a
    connection that lives so long. Ends of connections are held back, too.
    """

    host = "127.0.0.1"

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._ways: dict[Direction, _Way] = {"up": _Way(), "down": _Way()}
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self.port = 0
        self.accepted = 0

    @property
    def address(self) -> str:
        """Where clients connect, as `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open now; `accepted` counts those that ever were."""
        return len(self._connections)

    @property
    def bytes_up(self) -> int:
        """How many bytes were passed on to the server."""
        return self._ways["up"].bytes

    @property
    def bytes_down(self) -> int:
        """How many bytes were passed on to clients."""
        return self._ways["down"].bytes

    async def start(self) -> None:
        """Listen, on a free port."""
        for way in self._ways.values():
            way.open.set()
        await self._listen()

    async def stop(self) -> None:
        """Close everything."""
        self.refuse()
        tasks = list(self._connections)
        self.reset()
        if tasks:
            await asyncio.wait(tasks)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def delay(self, seconds: float, *, direction: Direction | None = None) -> None:
        """Deliver everything that comes from now on so much later."""
        for way in self._each(direction):
            way.delay = seconds

    def blackhole(self, direction: Direction | None = None) -> None:
        """Let connections be, also new ones, and deliver nothing, in one direction or both."""
        for way in self._each(direction):
            way.open.clear()

    def reset(self) -> None:
        """End all connections with a reset, on both sides."""
        for task, writers in self._connections.items():
            for writer in writers:
                _reset(writer)
            task.cancel()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def heal(self) -> None:
        """Be an ordinary network again, on the same port; what was held back is delivered."""
        for way in self._ways.values():
            way.delay = 0.0
            way.open.set()
        if self._server is None:
            await self._listen()

    def _each(self, direction: Direction | None) -> Iterator[_Way]:
        return (way for name, way in self._ways.items() if direction in (None, name))

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._connect(reader, writer))
        self._connections[task] = [writer]
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        for writer in self._connections.pop(task):
            writer.transport.abort()
        if not task.cancelled():
            task.exception()  # connections end in all kinds of ways here, which is nobody's mistake

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._connections[task].append(server_writer)
        ways = [
            asyncio.create_task(self._carry(reader, server_writer, self._ways["up"])),
            asyncio.create_task(self._carry(server_reader, writer, self._ways["down"])),
        ]
        try:
            await asyncio.gather(*ways)
        except OSError:
            for each in (writer, server_writer):
                _reset(each)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        delivering = asyncio.create_task(self._deliver(chunks, writer, way))
        try:
            data = b"-"
            while data:
                data = await reader.read(_CHUNK)
                put = asyncio.create_task(chunks.put((asyncio.get_running_loop().time() + way.delay, data)))
                await asyncio.wait({put, delivering}, return_when=asyncio.FIRST_COMPLETED)
                if delivering.done():
                    put.cancel()
                    break
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _deliver(
        self, chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: _Way
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(max(due - loop.time(), 0))
            await way.open.wait()
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            way.bytes += len(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
