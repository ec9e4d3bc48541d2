"""A gRPC server that goes on accepting calls, whatever its callers send.

grpc.aio takes all calls in one task, and decodes their paths there, in front of every interceptor. A path that is not
UTF-8 ends that task: the port closes for good, and the process lives on without it (seen with grpcio 1.85.1; nothing in
its options makes it refuse such a path). The end of that task is what tells, at once, and costs nothing before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Set
from functools import partial
from typing import Any

import grpc

_log = logging.getLogger("chassis.server")

# Seconds until a port that cannot be opened again is given up; the service takes as many more to end.
_PATIENCE = 4.0
# Seconds that are left to those who had begun to send a call when the port closed, and to whoever closed it.
_LINGER = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
_UNTIL_CLOSED = 1.0
# How often, and how many times in a row, nothing may be seen of any call until those that are left are taken for lost.
_LOOK, _LOOKS = 0.1, 5


class Accepting:
    """Opens a server, and another one in its place when it stops accepting calls by itself.

    `make` gives a server that is bound to its port and not started; it raises where the port cannot be had. `running`
    are the calls that are worked on: those of a server that was replaced run to their end. `lost` is called when the
    port has closed, `changed` when it has closed or is open again, and `given_up`, with the reason, when it could not
    be opened again within `patience` seconds.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Server],
        *,
        running: Callable[[], Set[object]],
        lost: Callable[[], object],
        changed: Callable[[], object],
        given_up: Callable[[str], object],
        patience: float = _PATIENCE,
        linger: float = _LINGER,
    ) -> None:
        self._make = make
        self._running = running
        self._lost = lost
        self._changed = changed
        self._given_up = given_up
        self._patience = patience
        self._linger = linger
        self._current: grpc.aio.Server | None = None
        self._servers: set[grpc.aio.Server] = set()  # replaced ones as well, until nobody is connected to them
        self._healing: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether new calls are accepted right now."""
        return self._current is not None

    async def start(self) -> None:
        """Begin to accept calls; raises what `make` raises."""
        server = self._make()
        self._servers.add(server)
        starting = _Starting(server)
        try:
            await starting
        except BaseException:
            self._servers.discard(server)
            await _stop(server, 0)
            raise
        self._current = server
        if not starting.tasks:
            _log.warning("this version of grpc does not tell when it stops accepting calls: the port would stay closed")
        for task in starting.tasks:
            task.add_done_callback(partial(self._ended, server))

    async def stop(self, grace: float) -> None:
        """Refuse new calls, and wait up to `grace` seconds for those that run before they are cancelled."""
        self._stopping.set()
        self._current = None
        if self._healing is not None:
            await asyncio.wait({self._healing})
        ending = asyncio.get_running_loop().create_task(self._end_what_is_lost())
        try:
            await asyncio.gather(*(_stop(server, grace) for server in self._servers), *self._retiring)
        finally:
            ending.cancel()
        self._servers.clear()

    async def _end_what_is_lost(self) -> None:
        # A call that arrives while grpc shuts down is now and then neither given out nor refused (seen with 1.85.1):
        # its caller would wait for an answer, and the stop for the end of that call, as long as there is grace. So it
        # does for a connection whose other side does not answer, which looks the same from here. Calls of another
        # server of this process count as well: then both take the time that they have.
        quiet = 0
        while quiet < _LOOKS:
            await asyncio.sleep(_LOOK)
            quiet = 0 if self._running() or _answering() else quiet + 1
        _log.info("gRPC does not end by itself: silent connections, and calls that it has lost, are cut off")
        await asyncio.gather(*(server.stop(None) for server in self._servers))

    def _ended(self, server: grpc.aio.Server, accepting: asyncio.Task[Any]) -> None:
        # Only the end of the event loop itself cancels it.
        if self._stopping.is_set() or server is not self._current or accepting.cancelled():
            return
        self._current = None
        error = accepting.exception()
        reason = "no reason" if error is None else f"{type(error).__name__}: {error}"
        _log.error("the gRPC port closed by itself and is being opened again: %s", reason)
        self._lost()
        self._changed()
        self._healing = asyncio.get_running_loop().create_task(self._heal(server, _closing()))

    async def _heal(self, old: grpc.aio.Server, closing: set[asyncio.Task[Any]]) -> None:
        loop = asyncio.get_running_loop()
        began, pause = loop.time(), _FIRST_PAUSE
        if closing:
            # Before anything else: told to stop by somebody else first, grpc would cut off the calls that run.
            await asyncio.wait(closing, timeout=_UNTIL_CLOSED)
            for task in closing:
                _ignore(task)
        self._retire(old)
        while not self._stopping.is_set():
            try:
                await self.start()
            except Exception as error:
                if loop.time() - began + pause > self._patience:
                    _log.error("the gRPC port could not be opened again: %s", error)
                    self._given_up("the gRPC port could not be opened again")
                    return
            else:
                closed_ms = round(1000 * (loop.time() - began), 3)
                _log.warning("the gRPC port is open again", extra={"duration_ms": closed_ms})
                self._changed()
                return
            await self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _retire(self, old: grpc.aio.Server) -> None:
        task = asyncio.get_running_loop().create_task(self._retired(old, set(self._running())))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self, old: grpc.aio.Server, calls: set[object]) -> None:
        while not calls.isdisjoint(self._running()):
            if await self._pause(_LONGEST_PAUSE):
                return  # stopped with all others
        await _stop(old, self._linger)
        self._servers.discard(old)

    async def _pause(self, seconds: float) -> bool:
        """Wait, but not beyond the beginning of the stop; returns whether that has begun."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


class _Starting:
    """Starts a server when it is awaited; `tasks` are then those in which it accepts calls."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._start: Coroutine[Any, Any, None] = server.start()
        self.tasks: set[asyncio.Task[Any]] = set()

    def __await__(self) -> Generator[Any, None, None]:
        # grpc does not give the task away, but makes it before it waits for the first time; nobody else runs meanwhile.
        before = asyncio.all_tasks()
        steps = self._start.__await__()
        waiting = next(steps)
        self.tasks = asyncio.all_tasks() - before
        yield waiting
        yield from steps


def _closing() -> set[asyncio.Task[Any]]:
    """The tasks in which grpc closes servers that crashed; they end with the error of the crash, told once already."""
    return _tasks_of_grpc("AioServer.shutdown")


def _answering() -> set[asyncio.Task[Any]]:
    """The tasks in which grpc waits until callers have their answers, which is after their handlers have ended."""
    return _tasks_of_grpc("_schedule_rpc_coro")


def _tasks_of_grpc(name: str) -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") == name}


def _ignore(task: asyncio.Task[Any]) -> None:
    if task.done() and not task.cancelled():
        task.exception()  # looked at, or asyncio complains that nobody did


async def _stop(server: grpc.aio.Server, grace: float) -> None:
    try:
        await server.stop(grace)
    except Exception:
        # The crash itself, which comes out of the first attempt to stop what has just crashed, half way. It is told.
        await server.stop(grace)
