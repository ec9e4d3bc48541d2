from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

Command = tuple[bytes | int, ...]

TOO_LATE: Final = "it did not answer in time"

# Redis does nothing else while it answers a command: a long one is made of several.
_KEYS_OF_A_COMMAND: Final = 500


class Failure:
    """Why there is no answer. A result and not an exception: who waited may be gone, and then nobody would take it."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Batch:
    """What was asked for within one turn of the event loop, to be sent in one write; all gets become one MGET.

    Everyone who asked is told after `timeout` seconds at the latest. What nobody waits for any more when it is sent is
    left out.
    """

    __slots__ = ("_commands", "_futures", "_keys", "_loop", "_sent", "_timer", "attempts", "given_up", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._keys: list[bytes] = []
        self._futures: list[asyncio.Future[Any]] = []
        self._commands: list[tuple[Command, asyncio.Future[Any]]] = []
        self._sent: list[list[asyncio.Future[Any]]] = []
        self._timer = loop.call_later(timeout, self._give_up)
        self.attempts = 0
        self.waiting = True
        # Called when it is too late, after everyone was told.
        self.given_up: Callable[[], object] | None = None

    def get(self, key: bytes) -> asyncio.Future[Any]:
        """Ask for a value; the result is the bytes, None, or a Failure."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._keys.append(key)
        self._futures.append(future)
        return future

    def execute(self, *command: bytes | int) -> asyncio.Future[Any]:
        """Ask for a command; the result is Redis' answer, or a Failure."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._commands.append((command, future))
        return future

    def commands(self) -> list[Command]:
        """What has to be sent; `answer` takes the answers in this order."""
        keys, futures = self._keys, self._futures
        if any(map(asyncio.Future.done, futures)):
            asked = [(key, future) for key, future in zip(keys, futures, strict=True) if not future.done()]
            keys, futures = [key for key, _ in asked], [future for _, future in asked]
        commands: list[Command] = []
        self._sent = []
        for start in range(0, len(keys), _KEYS_OF_A_COMMAND):
            end = start + _KEYS_OF_A_COMMAND
            commands.append((b"MGET", *keys[start:end]))
            self._sent.append(futures[start:end])
        for command, future in self._commands:
            if not future.done():
                commands.append(command)
                self._sent.append([future])
        return commands

    def answer(self, answers: Sequence[Any]) -> None:
        """Tell everyone what Redis answered; a Failure in place of an answer goes to all who asked for it."""
        self._settle()
        for futures, answer in zip(self._sent, answers, strict=True):
            # What is answered with an array is an MGET, in which there is one value for each.
            values = answer if type(answer) is list else [answer] * len(futures)
            for future, value in zip(futures, values, strict=True):
                if not future.done():
                    future.set_result(value)

    def fail(self, reason: str) -> None:
        """Tell everyone who still waits that there is no answer."""
        self._settle()
        failure = Failure(reason)
        for future in (*self._futures, *(future for _, future in self._commands)):
            if not future.done():
                future.set_result(failure)

    def _give_up(self) -> None:
        self.fail(TOO_LATE)
        if self.given_up is not None:
            self.given_up()

    def _settle(self) -> None:
        self.waiting = False
        self._timer.cancel()
