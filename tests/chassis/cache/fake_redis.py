"""Something that speaks as little of Redis' protocol as a test needs, and answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from hiredis import Reader

Command = list[bytes]


class FakeRedis:
    """Listens on 127.0.0.1, remembers the commands that it got, and answers each with what `answer(command)` gives."""

    host = "127.0.0.1"

    def __init__(self, answer: Callable[[Command], bytes]) -> None:
        self.answer = answer
        self.commands: list[Command] = []
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        commands: Any = Reader()
        try:
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    self.commands.append(command)
                    writer.write(self.answer(command))
        except ConnectionError:
            pass
