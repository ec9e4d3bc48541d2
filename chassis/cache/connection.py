"""One connection to Redis: bytes to and fro, one batch at a time, its protocol read by hiredis."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from hiredis import HiredisError, Reader, pack_command

from chassis.cache.backend import BackendFailure
from chassis.cache.batch import TOO_LATE, Batch, Command, Failure
from chassis.config import Secret

UNREACHABLE: Final = "it cannot be reached"

# By the word that an error begins with (Redis 8, "Redis serialization protocol", simple errors).
_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LOADING": "it is still loading its data",
        "READONLY": "it is a replica, which takes no writes",
        "OOM": "its memory is full",
        "MISCONF": "it takes no writes, as it cannot store them",
        "NOAUTH": "it asks for a password, and none is configured",
        "WRONGPASS": "it does not accept the password",
        "NOPERM": "it does not permit this user the command",
        "MASTERDOWN": "it is a replica that has lost its primary",
        "BUSY": "it is busy with a script",
        "MOVED": "it is part of a cluster, which this cache cannot use",
        "CLUSTERDOWN": "it is part of a cluster, which this cache cannot use",
    }
)
_ERRORS: Final[tuple[tuple[type[OSError], str], ...]] = (
    (socket.gaierror, "the name of its host is not known"),
    (ConnectionRefusedError, "it refuses connections"),
)
_WORD = re.compile(r"[A-Z]+\b")
_INCOMPLETE: Final = object()


class Connection(asyncio.Protocol):
    """A connection that is open, and what it is asked; `ended` is called when it is open no longer.

    It is called with the batch that was under way, if there was one. An answer that did not come in time ends the
    connection, as the next one to come would be the answer to an earlier question. Whoever gives up waiting does not
    touch it.
    """

    def __init__(self) -> None:
        self.ended: Callable[[Connection, Batch | None], object] = _fail
        self._reader = Reader(replyError=_failure, notEnoughData=_INCOMPLETE)  # type: ignore[arg-type]  # nothing is raised
        self._transport: asyncio.Transport | None = None
        self._batch: Batch | None = None
        self._freed: Callable[[Connection], object] = _nothing
        self._expected = 0
        self._answers: list[Any] = []
        self.idle_since = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, batch: Batch, freed: Callable[[Connection], object]) -> bool:
        """Send a batch; `freed` is called when it was answered. False where there is nothing in it to be sent."""
        assert self._transport is not None
        assert self._batch is None, "one batch at a time"
        commands = batch.commands()
        if not commands:
            batch.answer(())
            return False
        self._batch, self._freed = batch, freed
        self._expected, self._answers = len(commands), []
        batch.given_up = self.abort
        self._transport.write(b"".join([pack_command(command) for command in commands]))  # type: ignore[arg-type]
        return True

    def abort(self) -> None:
        """End it at once: closing would wait until a Redis that takes nothing has taken what was written."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _INCOMPLETE:
                self._answers.append(answer)
        except HiredisError:
            self.abort()
            return
        batch = self._batch
        if batch is None or len(self._answers) > self._expected:  # nobody asked for this
            self.abort()
        elif len(self._answers) == self._expected:
            self._batch = batch.given_up = None
            batch.answer(self._answers)
            self._freed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        batch, self._batch = self._batch, None
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self.ended(self, batch)


async def connect(host: str, port: int, password: Secret, db: int, timeout: float) -> Connection:
    """Open a connection, say the password, and select the database.

    Raises BackendFailure, after `timeout` seconds at the latest.
    """
    try:
        async with asyncio.timeout(timeout):
            _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
            try:
                await _greet(connection, password, db, timeout)
            except BaseException:
                connection.abort()
                await asyncio.wait({connection.closed})
                raise
    except TimeoutError:
        raise BackendFailure(TOO_LATE) from None
    except OSError as error:
        reason = next((said for cls, said in _ERRORS if isinstance(error, cls)), UNREACHABLE)
        raise BackendFailure(reason) from error
    return connection


async def _greet(connection: Connection, password: Secret, db: int, timeout: float) -> None:
    commands: list[Command] = []
    if password:
        commands.append((b"AUTH", password.reveal().encode()))
    if db:
        commands.append((b"SELECT", db))
    if not commands:
        return
    greeting = Batch(asyncio.get_running_loop(), timeout)
    answers = [greeting.execute(*command) for command in commands]
    connection.send(greeting, _nothing)
    for answer in await asyncio.gather(*answers):
        if isinstance(answer, Failure):
            raise BackendFailure(answer.reason)


def _failure(text: str) -> Failure:
    # Errors repeat what they are about, arguments included; the word that they begin with says what it is.
    word = _WORD.match(text)
    code = word[0] if word else "an error"
    return Failure(_REASONS.get(code) or f"it answered {code}")


def _fail(_: Connection, batch: Batch | None) -> None:
    if batch is not None:
        batch.fail(UNREACHABLE)


def _nothing(_: object) -> None:
    pass
