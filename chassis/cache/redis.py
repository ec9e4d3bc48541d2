from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from chassis.background import Background
from chassis.cache.backend import BackendFailure
from chassis.cache.batch import TOO_LATE, Batch, Failure
from chassis.cache.connection import UNREACHABLE, Connection, connect
from chassis.config import Secret
from chassis.retry import Policy


class RedisBackend:
    """A cache in Redis: what is asked for within one turn of the event loop leaves in one write, all gets as one MGET.

    | | |
    |---|---|
    | `timeout` | seconds that anything takes its caller at most, with waiting for a connection, connecting, retries |
    | `dial_timeout` | seconds that connecting may take; it goes on for those who come next where `timeout` is over |
    | `max_retries` | how often a command is sent again whose connection was lost, within `timeout` |
    | `pool_size`, `min_idle` | the most connections, and how many are opened at the start and kept open |
    """

    system = "redis"

    IDLE_SECONDS: ClassVar[float] = 60.0
    """A connection beyond `min_idle` that was not used for so long is closed."""

    def __init__(
        self,
        host: str,
        port: int = 6379,
        *,
        password: Secret | None = None,
        db: int = 0,
        timeout: float = 0.1,
        dial_timeout: float = 1.0,
        max_retries: int = 0,
        pool_size: int = 10,
        min_idle: int = 2,
        keep_period: float = 5.0,
    ) -> None:
        for name, seconds in (("timeout", timeout), ("dial_timeout", dial_timeout), ("keep_period", keep_period)):
            if not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds}")
        if not 0 <= min_idle <= pool_size or pool_size < 1:
            raise ValueError(f"pool_size must be at least 1 and min_idle from 0 to it, not {pool_size} and {min_idle}")
        self._host, self._port, self._db = host, port, db
        self._password = password or Secret("")
        self.timeout = timeout
        self._dial_timeout = dial_timeout
        self._retry = Policy(attempts=max_retries + 1, initial=min(0.008, timeout), maximum=timeout)
        self._pool_size = pool_size
        self._min_idle = min_idle
        self._keep_period = keep_period
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[Batch] = deque()
        self._dialing = Background()
        self._keeping = Background()
        self._turn: Batch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def span_attributes(self) -> Mapping[str, str | int]:
        """Address and database, in the words of OpenTelemetry's conventions for Redis."""
        return {"server.address": self._host, "server.port": self._port, "db.namespace": str(self._db)}

    @property
    def connections(self) -> int:
        """How many connections are open right now."""
        return len(self._connections)

    async def start(self) -> None:
        """Begin to connect; it is not waited for, and may fail."""
        self._loop = asyncio.get_running_loop()
        self._keeping.spawn(self._keep())

    async def stop(self) -> None:
        """Close all connections; whoever still waits is told that there is no answer."""
        self._loop = None
        await self._keeping.end()
        await self._dialing.end()
        for batch in (*self._waiting, *([self._turn] if self._turn is not None else [])):
            batch.fail("it is being stopped")
        self._waiting.clear()
        self._turn = None
        closed = [connection.closed for connection in self._connections]
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*closed)

    async def check(self) -> None:
        """Raise BackendFailure if there is no answer to a PING, in the time that connecting may take."""
        batch = Batch(self._running(), max(self.timeout, self._dial_timeout))
        answer = batch.execute(b"PING")
        self._send(batch)
        await self._result(answer, None)

    async def get(self, key: bytes, timeout: float | None) -> bytes | None:
        """The value of a key, None where there is none, or one that is no string."""
        value: bytes | None = await self._result((self._turn or self._begin()).get(key), timeout)
        return value

    async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
        """Keep a value for `ttl` seconds, to the millisecond."""
        expiry: tuple[bytes | int, ...] = (b"PX", max(round(ttl * 1000), 1)) if ttl else ()
        await self._result((self._turn or self._begin()).execute(b"SET", key, value, *expiry), timeout)

    async def delete(self, keys: Sequence[bytes], timeout: float | None) -> int:
        """Forget keys; returns how many of them there were."""
        return int(await self._result((self._turn or self._begin()).execute(b"DEL", *keys), timeout))

    async def exists(self, key: bytes, timeout: float | None) -> bool:
        """Whether there is a value."""
        return bool(await self._result((self._turn or self._begin()).execute(b"EXISTS", key), timeout))

    async def _result(self, answer: asyncio.Future[Any], timeout: float | None) -> Any:
        if timeout is None or timeout >= self.timeout:
            result = await answer
        else:
            try:
                async with asyncio.timeout(timeout):
                    result = await answer
            except TimeoutError:
                raise BackendFailure(TOO_LATE) from None
        if type(result) is Failure:
            raise BackendFailure(result.reason)
        return result

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise BackendFailure("it is not running")
        return self._loop

    # The batch of this turn, and the connections that take it.

    def _begin(self) -> Batch:
        loop = self._running()
        batch = self._turn = Batch(loop, self.timeout)
        loop.call_soon(self._flush)
        return batch

    def _flush(self) -> None:
        batch, self._turn = self._turn, None
        if batch is not None:  # None where it was stopped meanwhile
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        batch.attempts += 1
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                if not connection.send(batch, self._free):
                    self._idle.append(connection)
                return
        while self._waiting and not self._waiting[0].waiting:
            self._waiting.popleft()
        self._waiting.append(batch)
        self._dial(len(self._waiting))

    def _free(self, connection: Connection) -> None:
        while self._waiting:
            batch = self._waiting.popleft()
            if batch.waiting and connection.send(batch, self._free):
                return
        if self._loop is not None:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def _dial(self, wanted: int) -> None:
        while self._loop is not None and len(self._dialing) < min(wanted, self._pool_size - len(self._connections)):
            dialing = connect(self._host, self._port, self._password, self._db, self._dial_timeout)
            self._dialing.spawn(dialing).add_done_callback(self._dialed)

    def _dialed(self, dialing: asyncio.Task[Connection]) -> None:
        if dialing.cancelled():
            return
        try:
            connection = dialing.result()
        except BackendFailure as failure:
            if not self._connections:
                # No connection will come free for those who wait, and the next attempt would hardly end otherwise.
                waiting, self._waiting = self._waiting, deque()
                for batch in waiting:
                    self._fail(batch, str(failure))
            return
        self._connections.add(connection)
        connection.ended = self._ended
        if connection.is_open:
            self._free(connection)
        else:
            self._ended(connection, None)

    def _ended(self, connection: Connection, batch: Batch | None) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        self._connections.discard(connection)
        if batch is not None and batch.waiting:
            self._fail(batch, UNREACHABLE)
        elif batch is not None:
            # It did not answer in time. If the network has swallowed it, the others are no better: new ones tell.
            for other in list(self._idle):
                other.abort()
        self._dial(len(self._waiting))

    def _fail(self, batch: Batch, reason: str) -> None:
        retry = self._retry
        if self._loop is None or not batch.waiting or retry.attempts is None or batch.attempts >= retry.attempts:
            batch.fail(reason)
        else:
            self._loop.call_later(retry.delay(batch.attempts), self._again, batch)

    def _again(self, batch: Batch) -> None:
        if self._loop is None:
            batch.fail("it is being stopped")
        elif batch.waiting:
            self._send(batch)

    async def _keep(self) -> None:
        while True:
            loop = self._running()
            self._dial(self._min_idle - len(self._connections))
            spare = len(self._connections) - self._min_idle
            old = [each for each in self._idle if loop.time() - each.idle_since >= self.IDLE_SECONDS]
            for connection in old[: max(spare, 0)]:
                connection.abort()
            await asyncio.sleep(self._keep_period)
