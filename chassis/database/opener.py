"""Opens connections, and finds the database again after it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from chassis.component import StartError
from chassis.retry import Policy

if TYPE_CHECKING:
    from chassis.database.driver import Connection, Refusal
    from chassis.database.observer import Observer
    from chassis.database.target import Target

_log = logging.getLogger("chassis.database")

_QUICK: Final = 1.0
"""Seconds in which a database that can be reached accepts a connection; one that takes longer is searched for."""

_SEARCH: Final = Policy(attempts=None, initial=0.05, maximum=0.5, jitter=0.5)
_SEARCH_SLOWLY: Final = Policy(attempts=None, initial=0.5, maximum=5.0, jitter=0.5)
"""For what only people can mend: logins that fail every half second would lock accounts and fill logs."""


class Unprepared(Exception):
    """The database is there and was not made ready for use; the text says why, and what people can do."""


class Opener:
    """Knows whether there is a database, and why not; `prepare` is done once, on the first connection there is."""

    def __init__(
        self,
        target: Target,
        observer: Observer,
        *,
        connect_timeout: float,
        prepare: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.reachable = False
        self.reason = "the database has not been reached yet"
        self.shown = self.reason
        self.broken: StartError | None = None
        self._tried = asyncio.Event()
        self._target = target
        self._observer = observer
        self._timeout = connect_timeout
        self._quick = min(_QUICK, connect_timeout)
        self._prepare = prepare
        self._preparing = False
        self.on_unreachable: Callable[[], None] = _nothing
        self._lost_at: float | None = None
        self._told = ""

    async def first_contact(self, patience: float) -> None:
        """Wait until the first attempt has ended, for `patience` seconds; where tables are made, until they are.

        Raises StartError where that failed.
        """
        tried = asyncio.ensure_future(self._tried.wait())
        try:
            await asyncio.wait({tried}, timeout=patience)
            if self._preparing:
                await tried
        finally:
            tried.cancel()
        if self.broken is not None:
            raise self.broken
        if not self.reachable:
            _log.info("started without a database; it is ready as soon as there is one")

    async def open(self) -> Connection:
        """Open a connection to a database that was there a moment ago.

        Raises what went wrong. `search` finds out what that means: one connection may fail for reasons of its own.
        """
        from chassis.database.driver import refusal

        try:
            return await self._connect(self._quick)
        except Exception as error:
            self._observer.error(refusal(self._target, error, self._quick).sqlstate_class)
            raise

    async def end_statement_of(self, process: int) -> None:
        """End what the server's process of a connection that was cut is at: it sees no end before it is done with that.

        What was cancelled did not answer in time: the cancellation, which goes a way of its own, may be lost. As the
        process may be somebody else's by now, only what began before the cut is ended.
        """
        from chassis.database.driver import cancel, close

        cut = monotonic()
        with contextlib.suppress(Exception):  # nobody waits for it
            connection = await self._connect(self._timeout)
            try:
                await cancel(connection, process, before=monotonic() - cut, timeout=self._timeout)
            finally:
                await close(connection, self._quick)

    async def search(self) -> Connection:
        """Try until there is a connection, and everything is prepared."""
        failures = 0
        while True:
            policy = _SEARCH
            try:
                connection = await self._connect_patiently()
                await self._prepare_once(connection)
            except (StartError, Unprepared) as error:
                if isinstance(error, StartError):
                    self.broken = error
                self._unavailable(str(error), "the schema of the database could not be applied", logging.ERROR)
                policy = _SEARCH_SLOWLY
            except Exception as error:
                if self._failed(error, self._timeout).needs_people:
                    policy = _SEARCH_SLOWLY
            else:
                self._available()
                return connection
            failures += 1
            await asyncio.sleep(policy.delay(failures))

    async def _connect(self, timeout: float) -> Connection:
        from chassis.database.driver import connect

        connection = await connect(self._target, timeout)
        if connection.is_closed():
            raise ConnectionResetError
        return connection

    async def _connect_patiently(self) -> Connection:
        # One attempt that gets all of its time, and beside it short ones: a packet that was lost is sent again later
        # and later, and a database that is back would not be noticed until then.
        patient = asyncio.ensure_future(self._connect(self._timeout))
        connection = None
        try:
            while not (await asyncio.wait({patient}, timeout=self._quick))[0]:
                try:
                    connection = await self._connect(self._quick)
                except Exception as error:
                    self._failed(error, self._quick)
                else:
                    return connection
            connection = patient.result()
            return connection
        finally:
            # Cancelled, or overtaken: it may have a connection all the same, in this very moment.
            patient.cancel()
            patient.add_done_callback(partial(_drop, but=connection))

    async def _prepare_once(self, connection: Connection) -> None:
        if self._prepare is None:
            return
        self._preparing = True
        try:
            await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._preparing = False
        self._prepare = None

    def _failed(self, error: Exception, timeout: float) -> Refusal:
        from chassis.database.driver import refusal

        told = refusal(self._target, error, timeout)
        self._observer.error(told.sqlstate_class)
        self._unavailable(told.reason, told.shown, logging.ERROR if told.needs_people else logging.WARNING)
        return told

    def _unavailable(self, reason: str, shown: str, level: int) -> None:
        if self._lost_at is None:
            self._lost_at = monotonic()
        self.reachable = False
        self.reason, self.shown = reason, shown
        self._tried.set()
        self.on_unreachable()
        if reason != self._told:  # said once, and not at each attempt
            self._told = reason
            _log.log(level, "the database is not available: %s", reason)

    def _available(self) -> None:
        self.reachable, self.broken = True, None
        self._tried.set()
        self._told = ""
        if self._lost_at is not None:
            seconds = monotonic() - self._lost_at
            self._lost_at = None
            _log.info("the database is available again", extra={"unavailable_seconds": round(seconds, 3)})


def _nothing() -> None:
    """Nobody wants to know."""


def _drop(attempt: asyncio.Task[Connection], *, but: Connection | None) -> None:
    if not attempt.cancelled() and attempt.exception() is None and attempt.result() is not but:
        attempt.result().terminate()
