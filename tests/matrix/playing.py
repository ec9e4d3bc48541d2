"""Plays endings on a server, and gathers what was recorded of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from chassis.call import Kind
from tests.matrix.caller import Answer, Caller
from tests.matrix.endings import KINDS, PATHS, Ending
from tests.matrix.records import Observed, Records
from tests.matrix.stacks import STYLES, TOKEN, Served, Stack, authenticator


@dataclass(frozen=True)
class Played:
    """One cell: what the caller saw, and what was recorded."""

    answer: Answer
    records: Records
    stacks_logged: int


class Server:
    """One server of the matrix, and the client that calls it."""

    def __init__(self, stack: Stack, style: str, *, auth: bool, callers: ThreadPoolExecutor) -> None:
        self.stack = stack
        self.observed = Observed()
        self._callers = callers
        known = authenticator() if auth else None
        self._served = Served(stack.make(self.observed, known), STYLES[style](), composed=stack.composed)
        self._client: Caller
        self._played: dict[Ending, dict[Kind, Played]] = {}

    async def start(self) -> None:
        """Listen."""
        self.observed.logs.install()
        await self._served.start()
        self._client = Caller(self._served.address, TOKEN)

    async def stop(self) -> None:
        """End."""
        self._client.close()
        await self._served.stop()
        self.observed.logs.close()

    async def play(self, kind: Kind, ending: Ending) -> Played:
        """Make the call, together with those of the other kinds: what is recorded of one must not mix with another."""
        if ending not in self._played:
            # All unknown methods share one series, so that calls of them are told apart only one after the other.
            groups: Sequence[Sequence[Kind]] = [KINDS] if ending.known else [[each] for each in KINDS]
            self._played[ending] = {}
            for group in groups:
                self._played[ending] |= await self._play_together(group, ending)
            self.observed.forget()
        return self._played[ending][kind]

    async def _play_together(self, kinds: Sequence[Kind], ending: Ending) -> dict[Kind, Played]:
        loop = asyncio.get_running_loop()
        for timeout in ending.timeouts:
            before = self._counted()
            answers = await asyncio.gather(
                *(loop.run_in_executor(self._callers, self._client.call, kind, ending, timeout) for kind in kinds)
            )
            await self._served.idle()
            if all(answer.begun for answer in answers):
                break
        else:
            raise TimeoutError("the machine is too busy: no handler began in time")
        counted, lines = self._counted() - before, self.observed.logged("grpc call completed")
        played: dict[Kind, Played] = {}
        for kind, answer in zip(kinds, answers, strict=True):
            own = lines.get(answer.request_id, [])
            label = PATHS[kind] if ending.known else "unknown"
            records = Records(
                answer.code.name,
                log=[line["code"] for line in own],
                metric=[code for method, code in counted.elements() if method == label],
                span=self.observed.traced(answer.trace_id, "rpc.response.status_code", "SERVER"),
            )
            played[kind] = Played(answer, records, sum("stack" in line for line in own))
        return played

    def _counted(self) -> Counter[tuple[str, ...]]:
        return self.observed.counted("grpc_calls_total", "method", "status_code")


class Servers:
    """The server that is wanted right now: cells of one server stand together, so one at a time is enough."""

    def __init__(self) -> None:
        self._callers = ThreadPoolExecutor(8, "caller")  # for the synchronous clients
        self._key: object = None
        self._server: Server | None = None

    async def get(self, stack: Stack, style: str, *, auth: bool) -> Server:
        """The server with this around the echo service in this style."""
        key = (stack, style, auth)
        if self._server is None or self._key != key:
            await self._stop()
            server = Server(stack, style, auth=auth, callers=self._callers)
            await server.start()
            self._key, self._server = key, server
        return self._server

    async def close(self) -> None:
        """End all."""
        await self._stop()
        self._callers.shutdown()

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
