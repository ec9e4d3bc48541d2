"""Transactions: blocks that commit or roll back by themselves, savepoints within them, and explicit ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from chassis.database.queries import Queries
from chassis.database.session import STATUS, Method
from chassis.database.sqlstate import NO_COMMIT, UNAVAILABLE, EndedEarly, commit_unknown
from chassis.database.statement import Effect, Statement
from chassis.errors import ChassisError, Permanent, Temporary

if TYPE_CHECKING:
    from chassis.database.lender import Lender
    from chassis.database.session import Session

_log = logging.getLogger("chassis.database")

Isolation = Literal["read committed", "repeatable read", "serializable"]

_ISOLATIONS: Final = ("read committed", "repeatable read", "serializable")
# Sent where they belong: nothing is left of them in the session.
_COMMIT: Final = Statement("COMMIT", effect=Effect.NONE)
_ROLLBACK: Final = Statement("ROLLBACK", effect=Effect.NONE)
_SAVEPOINT: Final = Statement("SAVEPOINT chassis", effect=Effect.NONE)
_RELEASE: Final = Statement("RELEASE SAVEPOINT chassis", effect=Effect.NONE)
# Names of savepoints may repeat, the innermost counts: statements of their own would be new texts each time.
_BACK: Final = Statement("ROLLBACK TO SAVEPOINT chassis", label="ROLLBACK", effect=Effect.NONE)
_BEGIN: Final = {
    (isolation, readonly): Statement(
        "BEGIN" + (f" ISOLATION LEVEL {isolation.upper()}" if isolation else "") + (" READ ONLY" if readonly else ""),
        label="BEGIN",
        effect=Effect.NONE,
    )
    for isolation in (None, *_ISOLATIONS)
    for readonly in (False, True)
}

_ROLLING_BACK: Final = 1.0
"""Seconds that a rollback may keep whoever waits for it; then it is done, or the connection cut, without them."""


def begin_statement(isolation: str | None, readonly: bool) -> Statement:
    """The statement that begins a transaction; raises ValueError for an isolation level that there is none of."""
    found = _BEGIN.get((isolation, readonly))
    if found is None:
        raise ValueError(f"isolation is one of {', '.join(map(repr, _ISOLATIONS))}, not {isolation!r}")
    return found


class Work:
    """One transaction of the server's, under whatever objects stand for it and its savepoints."""

    __slots__ = ("_levels", "began", "failed", "lender", "open", "over", "readonly", "session")

    def __init__(self, lender: Lender, session: Session, *, readonly: bool) -> None:
        self.lender = lender
        self.session = session
        self.readonly = readonly
        self.began = perf_counter()
        self._levels = 0
        self.open: set[int] = set()  # the blocks that have not ended
        self.failed: BaseException | None = None  # the statement after which the server takes no other
        self.over = False

    def enter(self) -> int:
        """Note that a block begins, and give its number."""
        self._levels += 1
        self.open.add(self._levels)
        return self._levels

    async def run(self, method: Method, statement: Statement, args: tuple[Any, ...], timeout: float | None) -> Any:
        """Run a statement in the transaction."""
        if self.over:
            raise RuntimeError("the transaction is over")
        if not self.session.is_usable():
            if isinstance(self.failed, EndedEarly):
                raise self.failed
            error = Temporary(UNAVAILABLE, detail="the connection of the transaction was given up before")
            raise error from self.failed
        # What is known to have no effect beside its data does not end it either.
        plain = statement.effect is Effect.NONE
        if not plain and statement.outside:
            raise Permanent(statement.outside)
        try:
            result = await self.lender.run(self.session, method, statement, args, timeout, readonly=self.readonly)
        except BaseException as error:
            # A mistake of the caller's never reached the server.
            if not isinstance(error, RuntimeError | TypeError | ValueError) and self.failed is None:
                self.failed = error
            if not plain:
                self._check_open(error)
            raise
        if not plain:
            self._check_open()
        return result

    def _check_open(self, cause: BaseException | None = None) -> None:
        if self.session.is_usable() and not self.session.connection.is_in_transaction():
            # What came now would be stored on its own: nothing does.
            self.session.ruined = True
            self.failed = EndedEarly(NO_COMMIT, detail="it was among several; what stood before it may be stored")
            raise self.failed from cause

    async def commit(self) -> None:
        """End it so that it counts; raises where it does not, and `CommitUnknown` where nobody knows."""
        if self.failed is not None:
            failed = self.failed
            await self.roll_back()
            raise _spoiled(failed)
        if self.session.busy:
            self._end("rolled_back")
            raise RuntimeError("a transaction ended while a statement of it was still running: await it before")
        if not self.session.is_usable():
            self._end("rolled_back")
            raise Temporary(UNAVAILABLE, detail="the connection was lost before COMMIT was sent")
        outcome = "unknown"
        try:
            status = await self.lender.command(self.session, _COMMIT)
            outcome = "committed" if status == "COMMIT" else "rolled_back"
        except ChassisError as error:
            if self.session.is_usable():
                outcome = "rolled_back"  # the server said no: a constraint that is checked at the end, or a conflict
                raise
            if self.readonly:
                raise
            _log.warning("a COMMIT was not answered: whether the transaction was stored is not known")
            raise commit_unknown(error) from error.__cause__
        except asyncio.CancelledError as error:
            if not self.readonly:
                _log.warning("a call was cancelled during COMMIT: whether its transaction was stored is not known")
                error.add_note("cancelled during COMMIT: whether the transaction was stored is not known")
            raise
        finally:
            self._end(outcome)
        if outcome != "committed":
            raise Permanent("the database did not store the change", detail=f"the answer to COMMIT was {status}")

    async def roll_back(self) -> None:
        """End it so that it never was; waits a moment at most, and raises nothing but a cancellation."""
        try:
            # One that is busy, with a statement that nobody waits for any more, is cut.
            if self.session.is_usable() and not self.session.busy:
                await self.lender.command(self.session, _ROLLBACK, limit=_ROLLING_BACK)
        except ChassisError:
            pass  # the pool does it, or cuts the connection
        finally:
            self._end("unknown" if isinstance(self.failed, EndedEarly) else "rolled_back")

    def abandon(self) -> None:
        """End it without waiting: the pool rolls it back."""
        self._end("rolled_back")

    def _end(self, outcome: str) -> None:
        if not self.over:
            self.over = True
            self.lender.observer.transaction(outcome, perf_counter() - self.began)
            self.lender.give_back(self.session)


class Transaction(Queries):
    """What can be done inside of a transaction; it is ended by the block that gave it.

    Statements run one at a time. After one that failed the database takes no other, unless that one was in a
    `transaction()` of its own.
    """

    __slots__ = ("_level", "_work")

    def __init__(self, work: Work, level: int) -> None:
        self._work = work
        self._level = level

    def _run(
        self, method: Method, sql: str, name: str | None, args: tuple[object, ...], timeout: float | None
    ) -> Awaitable[Any]:
        work = self._check()
        return work.run(method, work.lender.statements.get(sql, name), args, timeout)

    def transaction(self) -> Savepoint:
        """A part of the transaction that can fail alone: `async with tx.transaction() as part`."""
        return Savepoint(self._check())

    def _check(self) -> Work:
        if self._work.over or self._level not in self._work.open:
            raise RuntimeError("the transaction is over: it was used outside of its block")
        return self._work


class OpenTransaction(Transaction):
    """A transaction that its owner ends: `commit()` or `rollback()`, whatever happens in between."""

    __slots__ = ()

    async def commit(self) -> None:
        """Have it stored.

        Raises what a deferred constraint or a conflict means, `CommitUnknown` where the answer did not come, and again
        the error of a statement that failed before; the transaction is over in any case.
        """
        await self._check().commit()

    async def rollback(self) -> None:
        """Undo it; nothing happens where it is over already."""
        if not self._work.over:
            await self._work.roll_back()

    def __del__(self) -> None:
        work = self._work
        if not work.over:
            _log.error("a transaction was neither committed nor rolled back by who began it; it is rolled back")
            work.lender.later(work.abandon)


class TransactionBlock:
    """Begins a transaction and ends it: commits at the end of the block, rolls back when the block raises."""

    __slots__ = ("_begin", "_isolation", "_lender", "_readonly", "_work")

    def __init__(self, lender: Lender, isolation: str | None, readonly: bool) -> None:
        self._lender = lender
        self._begin = begin_statement(isolation, readonly)
        self._readonly = readonly
        self._work: Work | None = None

    async def __aenter__(self) -> Transaction:
        if self._work is not None:
            raise RuntimeError("a transaction() is for one `async with`")
        self._work = await self._lender.begin(self._begin, readonly=self._readonly)
        return Transaction(self._work, self._work.enter())

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        work = self._work
        assert work is not None
        if error is None:
            await work.commit()
        elif isinstance(error, Exception):
            await work.roll_back()
        else:  # cancelled: nobody waits any more
            work.abandon()


class Savepoint:
    """A block within a transaction: what it did is undone when it raises, and the rest of the transaction goes on."""

    __slots__ = ("_level", "_work")

    def __init__(self, work: Work) -> None:
        self._work = work
        self._level: int | None = None

    async def __aenter__(self) -> Transaction:
        if self._level is not None:
            raise RuntimeError("a transaction() is for one `async with`")
        await self._work.run(STATUS, _SAVEPOINT, (), None)
        self._level = self._work.enter()
        return Transaction(self._work, self._level)

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        work = self._work
        assert self._level is not None
        work.open.discard(self._level)
        failed = work.failed
        if error is None and failed is None:
            await work.run(STATUS, _RELEASE, (), None)
            return
        # Also where it was cancelled: that may be a timeout around this block, and the rest of the transaction goes on.
        if not isinstance(error, GeneratorExit) and work.session.is_usable() and not work.over:
            try:
                await work.lender.command(work.session, _BACK, limit=_ROLLING_BACK)
                await work.lender.command(work.session, _RELEASE, limit=_ROLLING_BACK)
                work.failed = None
            except ChassisError as broken:
                work.failed = work.failed or broken
        if error is None and failed is not None:
            raise _spoiled(failed)


def _spoiled(failed: BaseException) -> BaseException:
    """What became of a transaction whose code went on after a statement of it had failed."""
    if isinstance(failed, EndedEarly):
        return failed
    if not isinstance(failed, Exception):  # cancelled, by a timeout say; that is over, and must not be raised again
        error = Temporary(UNAVAILABLE, detail="a statement of the transaction was given up before its answer came")
        error.__cause__ = failed
        failed = error
    failed.add_note(
        "nothing of the transaction was stored: what may fail without spoiling it needs a transaction() of its own"
    )
    return failed
