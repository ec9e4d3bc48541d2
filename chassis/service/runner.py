from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

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
    with asyncio.Runner(loop_factory=_loop_factory(service.config.server.uvloop)) as runner:
        return runner.run(_Run(service).main())


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not wanted:
        return None
    try:
        import uvloop
    except ImportError:  # not made for this platform
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Run:
    """One life of a service under signals."""

    def __init__(self, service: ServiceChassis) -> None:
        self._service = service
        self._timeout = service.config.server.shutdown_timeout
        self._asked = asyncio.Event()
        self._deadline: float | None = None
        self._watchdog: threading.Timer | None = None

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            return await self._live()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            if self._watchdog is not None:
                self._watchdog.cancel()

    async def _live(self) -> int:
        asked: asyncio.Task[Any] = asyncio.ensure_future(self._asked.wait())
        starting: asyncio.Task[Any] = asyncio.ensure_future(self._service.start())
        try:
            await asyncio.wait({asked, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
            if starting.cancelled():
                return ENDED  # asked to stop before it was up, and rolled back
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
                self._begin_stop()
        finally:
            ended.cancel()
        failures = await self._service.stop(deadline=self._deadline)
        return CUT if failures or crashed else ENDED

    def _on_signal(self, number: int) -> None:
        if self._asked.is_set():
            _log.warning("second signal: exiting at once")
            self._exit(SECOND_SIGNAL)
        _log.info("signal received", extra={"signal": signal.Signals(number).name})
        self._begin_stop()
        self._asked.set()

    def _begin_stop(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + self._timeout
        # A thread, because what is late may be the event loop itself.
        self._watchdog = threading.Timer(self._timeout + _MERCY, self._too_late)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _too_late(self) -> None:
        culprit = self._service.stopping or "the event loop"
        _log.error("the stop took too long: %s was still running and is cut off", culprit, extra={"component": culprit})
        self._exit(CUT)

    def _exit(self, code: int) -> None:
        """Leave at once, past whatever still runs, but with the last words written."""
        with contextlib.suppress(Exception):
            self._service.flush_logs(timeout=0.5)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
