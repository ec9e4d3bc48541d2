"""Everything that lives: started in order, stopped in reverse, checked for health, all by the same loop.

>>> import asyncio
>>> class Clock(Component):
...     name = "clock"
...     async def start(self): print("start")
...     async def stop(self): print("stop")
>>> async def main():
...     components = Components()
...     await components.start(Clock())
...     print([component.name for component in components])
...     return await components.stop()
>>> asyncio.run(main())
start
['clock']
stop
[]
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from chassis.address import host_port

_log = logging.getLogger("chassis.component")

_LEAST_TIME = 0.05  # seconds that work under way gets where the deadline has passed


class Component:
    """A part of a service with a life of its own: a pool, a bus, an exporter, a server."""

    name: str = "component"
    # Whether the service can do its work without it. A part that is not required is reported, and leaves it ready.
    required: bool = True
    # When work under way is cut, on the clock of the event loop; told to every part before the first one is stopped.
    deadline: float | None = None

    async def start(self) -> None:
        """Begin; returns when it can be used. Whatever it raises ends the start of the service."""

    async def stop(self) -> None:
        """End, giving everything back; called once, and only after `start` succeeded.

        Raises TimeoutError with what had to be cut off.
        """

    async def check(self) -> None:
        """Raise if it cannot do its work right now; the message is shown by the health endpoint, so no secrets."""

    def time_to_end(self, grace: float) -> float:
        """Give the seconds that work under way still gets in `stop`: until `deadline`, or `grace` where it has none."""
        if self.deadline is None:
            return grace
        return max(self.deadline - asyncio.get_running_loop().time(), _LEAST_TIME)


class StartError(Exception):
    """A part could not start for a reason outside of the code; the text tells people what to do."""

    @classmethod
    def cannot_listen(cls, protocol: str, host: str, port: int, error: OSError) -> Self:
        """Say why `protocol` (`grpc`, `http`) cannot listen there.

        >>> print(StartError.cannot_listen("grpc", "127.0.0.1", 9000, OSError(errno.EADDRINUSE, "in use")))
        grpc port 9000 is in use on 127.0.0.1: set server.grpc_port
        """
        key = f"server.{protocol}_port"
        if error.errno == errno.EADDRINUSE:
            return cls(f"{protocol} port {port} is in use on {host}: set {key}")
        if error.errno in (errno.EACCES, errno.EPERM):
            return cls(f"{protocol} port {port} on {host} is not ours to take: set {key} to one above 1023")
        # asyncio says it without an errno where it tried all addresses of a name (Python 3.13).
        nowhere = isinstance(error, socket.gaierror) or "could not bind on any address" in str(error)
        if nowhere or error.errno == errno.EADDRNOTAVAIL:
            return cls(f"{protocol} cannot listen on {host}, which is no address of this machine: set server.host")
        return cls(f"{protocol} cannot listen on {host_port(host, port)}: {error.strerror or error}")


@dataclass(frozen=True, slots=True)
class StopFailure:
    """A part that did not stop by itself, and why."""

    name: str
    reason: str


class Components:
    """The parts of one service that are running, in the order in which they were started."""

    def __init__(self) -> None:
        self._running: list[Component] = []
        self._starting: str | None = None
        self._stopping: str | None = None

    def __iter__(self) -> Iterator[Component]:
        return iter(self._running)

    @property
    def starting(self) -> str | None:
        """The part that is being started right now, or the last one that could not be."""
        return self._starting

    @property
    def stopping(self) -> str | None:
        """The part that is being stopped right now, for the message when that takes too long."""
        return self._stopping

    async def start(self, *components: Component) -> None:
        """Start parts in order until one fails, whose error is raised; `stop` then stops those that run."""
        for component in components:
            self._starting = component.name
            await component.start()
            self._starting = None
            self._running.append(component)

    async def stop(self, *, deadline: float | None = None) -> list[StopFailure]:
        """Stop all parts in reverse order, going on when one fails; returns those that failed or were cut.

        `deadline` is on the clock of the event loop: a part that is still stopping then is abandoned.
        """
        failures: list[StopFailure] = []
        loop = asyncio.get_running_loop()
        while self._running:
            component = self._running.pop()
            self._stopping = component.name
            # A part that comes late in the order still gets a moment, so that one culprit costs only itself.
            until = None if deadline is None else max(deadline, loop.time() + 0.1)
            stopping = asyncio.ensure_future(component.stop())
            # Waited for and not awaited: a part that swallows its cancellation must not hold the others up.
            await asyncio.wait({stopping}, timeout=None if until is None else until - loop.time())
            if not stopping.done():
                stopping.cancel()
                failures.append(StopFailure(component.name, "did not stop in time"))
            elif stopping.cancelled():
                failures.append(StopFailure(component.name, "was cancelled while it stopped"))
            elif (error := stopping.exception()) is not None:
                if isinstance(error, TimeoutError):  # it says itself what it could not end in time
                    failures.append(StopFailure(component.name, str(error) or "did not stop in time"))
                    continue
                _log.error("stopping %s failed", component.name, exc_info=error)
                failures.append(StopFailure(component.name, f"{type(error).__name__}: {error}"))
        self._stopping = None
        return failures
