"""One connection, with what was done to it."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

from chassis.call import time_left
from chassis.database.sqlstate import READ_ONLY, TOO_LATE, sqlstate_of
from chassis.database.statement import Effect, Statement
from chassis.errors import DeadlineExceeded

if TYPE_CHECKING:
    from chassis.database.driver import Connection
    from chassis.database.observer import Observer


Method = Literal["fetch", "fetchrow", "execute"]
"""How the driver is asked: for all rows, for one, or for what the server says of a command."""

ROWS: Final = "fetch"
ROW: Final = "fetchrow"
STATUS: Final = "execute"


class Session:
    """A connection of the pool; it is in the hands of one borrower at a time."""

    __slots__ = (
        "busy", "changed", "closing", "connection", "ends", "idle_since", "interrupted", "lost", "ruined", "used",
    )  # fmt: skip

    def __init__(self, connection: Connection, ends: float) -> None:
        self.connection = connection
        self.ends = ends  # on the clock of time.monotonic, after which it is replaced
        self.idle_since = monotonic()
        self.used = 0.0
        self.busy = False
        self.closing = ""  # the reason, once it is being closed
        self.interrupted = False  # a statement was given up before its answer came
        self.changed = False  # something is left in the session that a reset removes
        self.lost = False  # it ended before a statement was answered
        self.ruined = False  # only a new connection will do

    def is_usable(self) -> bool:
        """Whether another statement can be sent."""
        return not self.interrupted and not self.ruined and not self.connection.is_closed()

    async def run(
        self, method: Method, statement: Statement, args: tuple[Any, ...], limit: float, observer: Observer
    ) -> Any:
        """Send a statement and give its answer, within `limit` seconds and what the call being served has left.

        Raises errors of ours, with what the driver raised as their cause.
        """
        if self.busy:
            raise RuntimeError("a transaction runs one statement at a time: await one before the next is begun")
        timeout = within_call(limit)
        effect = statement.effect
        if effect is not Effect.NONE:
            if effect is Effect.SETTINGS:
                self.changed = True
            else:
                self.ruined = True
        span = None if observer.spans is None else observer.spans.begin(statement)
        self.busy = True
        started = perf_counter()
        try:
            result = await getattr(self.connection, method)(statement.sql, *args, timeout=timeout)
        except BaseException as error:
            self.busy = False
            failure = self._failed(error)
            if failure is error:
                observer.failed(statement, perf_counter() - started, span, error)
                raise
            failure.__cause__ = error
            observer.failed(statement, perf_counter() - started, span, failure)
            raise failure from error
        self.busy = False
        self.used = perf_counter()
        observer.succeeded(statement, self.used - started, span)
        return result

    def _failed(self, error: BaseException) -> BaseException:
        """Note what an error does to the session, and give its meaning."""
        from chassis.database.driver import lost, meaning

        if isinstance(error, TimeoutError | asyncio.CancelledError) or not isinstance(error, Exception):
            self.interrupted = True
        if not isinstance(error, Exception):
            return error
        # What was a primary may be a standby now: the next connection goes where the name leads by then.
        self.lost = lost(self.connection, error)
        if self.lost or sqlstate_of(error) == READ_ONLY:
            self.ruined = True
        return meaning(self.connection, error)


def within_call(limit: float) -> float:
    """Seconds that something may take: `limit`, or what the call being served has left, if that is less.

    Raises `DeadlineExceeded` where nothing is left.
    """
    remaining = time_left()
    if remaining is None:
        return limit
    if remaining <= 0:
        raise DeadlineExceeded(TOO_LATE, detail="the deadline of the call passed before the database was asked")
    return min(limit, remaining)
