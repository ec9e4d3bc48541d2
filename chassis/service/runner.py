from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn, Self

from chassis.config import ConfigurationError
from chassis.service.service import ServiceChassis

_log = logging.getLogger("chassis.service")

ENDED: Final = 0
CUT: Final = 1
SECOND_SIGNAL: Final = 130

# Beyond the time that a stop may take: the loop itself gets this long (seconds) to say who was late.
_MERCY: Final = 0.5


def run(service: ServiceChassis) -> int:
    """Run a service until SIGTERM, SIGINT or an end from within; returns the exit code.

    0: all ended by itself. 1: it did not start, or something had to be cut; the log names it. 130: a second signal.

    Raises ConfigurationError for what comes to light only when the service is put together.
    """
    factory = _loop_factory(service.config.server.uvloop)
    with _Watchdog(service) as watchdog, asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_Run(service, watchdog).main())


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not wanted:
        return None
    try:
        import uvloop
    except ImportError:  # not made for this platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Watchdog:
    """Ends the process where a stop takes too long: in a thread, because what is late may be the event loop itself.

    `begin` may be called wherever Python calls signal handlers, in the middle of anything, itself included: it takes no
    lock that the interrupted code could hold, and decides nothing.
    """

    def __init__(self, service: ServiceChassis) -> None:
        self._service = service
        self._timeout = service.config.server.shutdown_timeout
        # The numbers of signals, 0 for a stop that begins without one, and None for the end of all.
        self._events: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.began: float | None = None

    def __enter__(self) -> Self:
        self._service.tell_of_haste(self.begin_for)
        threading.Thread(target=self._watch, name="chassis-watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.put(None)

    def begin(self, number: int = 0) -> None:
        """A stop begins, unless it has begun before; with a second signal it is not waited for."""
        self.began = self.began or time.monotonic()
        self._events.put(number)

    def begin_for(self, seconds: float) -> None:
        """A stop begins that has so many seconds. One that has begun before keeps those that it has."""
        if self.began is None:
            self._timeout = min(seconds, self._timeout)
        self.begin()

    def _watch(self) -> None:
        signals, left = 0, None
        while left is None or left > 0:
            try:
                number = self._events.get(timeout=left)
            except queue.Empty:
                break
            if number is None:
                return
            signals += number > 0
            if signals > 1:
                _log.warning("second signal: exiting at once")
                self._exit(SECOND_SIGNAL)
            if number:
                _log.info("signal received", extra={"signal": signal.Signals(number).name})
            assert self.began is not None
            left = self.began + self._timeout + _MERCY - time.monotonic()
        culprit = self._service.held_up_by or "the event loop, or a thread that it waits for,"
        _log.error("the stop took too long: %s was still running and is cut off", culprit)
        self._exit(CUT)

    def _exit(self, code: int) -> NoReturn:
        """Leave at once, past whatever still runs, but with the last words written."""
        with contextlib.suppress(Exception):
            self._service.flush_logs(timeout=0.5)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Run:
    """One life of a service under signals."""

    def __init__(self, service: ServiceChassis, watchdog: _Watchdog) -> None:
        self._service = service
        self._timeout = service.config.server.shutdown_timeout
        self._watchdog = watchdog
        self._asked = asyncio.Event()

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked.set)
            # What a signal does even while the event loop is blocked.
            _also_at_once(number, self._watchdog.begin)
        try:
            return await self._live()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            # What the event loop still waits for when all is over, such as threads, has no more time than a stop.
            self._watchdog.begin()

    async def _live(self) -> int:
        asked: asyncio.Task[Any] = asyncio.ensure_future(self._asked.wait())
        starting: asyncio.Task[Any] = asyncio.ensure_future(self._service.start())
        try:
            await asyncio.wait({asked, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
            if starting.cancelled():  # asked to stop before it was up, and rolled back
                return CUT if self._service.not_undone else ENDED
            if (error := starting.exception()) is not None:
                if isinstance(error, ConfigurationError):
                    raise error
                if not isinstance(error, Exception):
                    raise error
                return CUT  # told in the log, by whoever failed
            return await self._serve(asked)
        finally:
            asked.cancel()

    async def _serve(self, asked: asyncio.Task[Any]) -> int:
        ended: asyncio.Task[Any] = asyncio.ensure_future(self._service.wait_for_end())
        try:
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
            crashed = ended.done()
            if crashed:
                self._watchdog.begin()
        finally:
            ended.cancel()
        # From the signal on, which the event loop may have come to hear of late.
        used = time.monotonic() - began if (began := self._watchdog.began) is not None else 0.0
        deadline = asyncio.get_running_loop().time() + self._timeout - used
        failures = await self._service.stop(deadline=deadline)
        return CUT if failures or crashed else ENDED


def _also_at_once(number: int, handler: Callable[[int], None]) -> None:
    """Have a handler called between two steps of what the main thread does; the event loop hears of it as before."""
    before = signal.getsignal(number)

    def both(number: int, frame: FrameType | None) -> None:
        handler(number)
        if callable(before):
            before(number, frame)

    signal.signal(number, both)
    signal.siginterrupt(number, False)
