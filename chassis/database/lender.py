"""Runs statements on sessions of the pool; what the database and its transactions have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from chassis.database.session import STATUS, Method, within_call
from chassis.database.sqlstate import READ_ONLY, sqlstate_of
from chassis.database.statement import Statement, Statements
from chassis.errors import ChassisError, Permanent

if TYPE_CHECKING:
    from chassis.database.observer import Observer
    from chassis.database.pool import Pool
    from chassis.database.session import Session
    from chassis.database.transaction import Work

_SHARE_FOR_WAITING: Final = 0.8
"""Of the time that a call has left, so that it can say why it failed before its caller is gone."""


class Lender:
    """Borrows a session for each statement or transaction, and gives it back whatever happens."""

    def __init__(
        self, pool: Pool, observer: Observer, statements: Statements, *, acquire_timeout: float, query_timeout: float
    ) -> None:
        self.pool = pool
        self.observer = observer
        self.statements = statements
        self.acquire_timeout = acquire_timeout
        self.query_timeout = query_timeout
        self.give_back = pool.give_back
        self.last_answer = float("-inf")  # on the clock of time.perf_counter
        self._loop = asyncio.get_running_loop()

    async def borrow(self, patience: float | None = None) -> Session:
        """A session of the pool, waited for as long as the call being served has time for it.

        `patience` (seconds) takes the place of `acquire_timeout` where it is less.
        """
        session = self.pool.take()
        if session is not None:
            self.observer.waited.observe(0.0)
            return session
        limit = self.acquire_timeout if patience is None else min(patience, self.acquire_timeout)
        left = within_call(limit / _SHARE_FOR_WAITING) * _SHARE_FOR_WAITING
        started = perf_counter()
        try:
            return await self.pool.acquire(min(limit, left))
        finally:
            self.observer.waited.observe(perf_counter() - started)

    async def once(
        self,
        method: Method,
        statement: Statement,
        args: tuple[Any, ...],
        timeout: float | None,
        *,
        patience: float | None = None,
    ) -> Any:
        """Run one statement on any session; `patience`: see `borrow`.

        A plain read whose connection turns out to have been lost is sent a second time, on another one.
        """
        session = await self.borrow(patience)
        try:
            return await self.run(session, method, statement, args, timeout)
        except ChassisError:
            if not statement.repeatable or not session.lost:
                raise
        finally:
            self.give_back(session)
        self.observer.retried("read")
        session = await self.borrow(patience)
        try:
            return await self.run(session, method, statement, args, timeout)
        finally:
            self.give_back(session)

    async def run(
        self,
        session: Session,
        method: Method,
        statement: Statement,
        args: tuple[Any, ...],
        timeout: float | None,
        *,
        readonly: bool = False,
    ) -> Any:
        """Run a statement on this session."""
        limit = self.query_timeout if timeout is None else timeout
        try:
            result = await session.run(method, statement, args, limit, self.observer)
        except ChassisError as error:
            if session.lost or session.interrupted:
                self.last_answer = float("-inf")  # no sign of life any more
            if readonly and sqlstate_of(error) == READ_ONLY:
                raise Permanent("a change was tried in a transaction that only reads", detail=error.detail) from error
            raise
        self.last_answer = session.used
        return result

    async def command(self, session: Session, statement: Statement, limit: float | None = None) -> str:
        """Run a statement of our own."""
        status: str = await self.run(session, STATUS, statement, (), limit)
        return status

    async def begin(self, statement: Statement, *, readonly: bool) -> Work:
        """Begin a transaction; on another connection where the first one turns out to have been lost."""
        from chassis.database.transaction import Work

        for attempt in (1, 2):
            session = await self.borrow()
            try:
                await self.command(session, statement)
            except BaseException as error:
                lost = isinstance(error, ChassisError) and session.lost
                self.give_back(session)
                if attempt == 2 or not lost:
                    raise
                self.observer.retried("begin")
            else:
                return Work(self, session, readonly=readonly)
        raise AssertionError

    def later(self, work: Callable[[], None]) -> None:
        """Do something on the event loop; from any thread, and not at all where it is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)
