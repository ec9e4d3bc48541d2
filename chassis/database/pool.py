"""The connections of one database: lent to one borrower at a time, opened and mended in the background."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from chassis.background import Background
from chassis.database.growth import Growth
from chassis.database.observer import Observer
from chassis.database.opener import Opener
from chassis.database.session import Session
from chassis.database.sqlstate import UNAVAILABLE
from chassis.database.waiters import Waiters
from chassis.errors import ChassisError, ResourceExhausted, Temporary

if TYPE_CHECKING:
    from chassis.database.driver import Connection

_RESTORING: Final = 1.0
"""Seconds that a session gets to answer what was cancelled, to roll back and to be reset; then it is cut."""

_CLOSING: Final = 1.0
"""Seconds that a connection gets to end in good order; then it is cut."""

_LOOK_EVERY: Final = 30.0
"""Seconds after which, at the latest, it is looked for connections that are too old or not needed."""

_LOOK_SOON: Final = 0.1
"""Seconds after which connections that were lost are replaced, where nobody waits for one."""


class Pool:
    """Lends connections; between `min_size` and `max_size` of them, as long as there is a database.

    A borrower never waits for what has to be done to a connection: opening, rolling back, resetting and closing are
    done in the background, within bounds. While no connection can be opened and none is left, borrowers are refused
    at once. `max_lifetime` and `max_idle` are seconds, 0 for no limit.
    """

    def __init__(
        self,
        opener: Opener,
        observer: Observer,
        *,
        min_size: int,
        max_size: int,
        max_lifetime: float,
        max_idle: float,
    ) -> None:
        self.max_size = max_size
        self._min_size = min_size
        self._max_lifetime = max_lifetime
        self._max_idle = max_idle
        self._opener = opener
        self._observer = observer
        self._sessions: set[Session] = set()
        self._idle: deque[Session] = deque()
        self._waiters = Waiters(unwanted=self.give_back)
        # Part of no call that happened to cause it, and of no call's deadline.
        self._background = Background()
        self._growth = Growth(opener, self._background, add=self._add)
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._empty = asyncio.Event()

    @property
    def active(self) -> int:
        """Connections in use, or being mended after it."""
        return len(self._sessions) - len(self._idle)

    @property
    def idle(self) -> int:
        """Connections that wait to be used."""
        return len(self._idle)

    @property
    def size(self) -> int:
        """All connections, those that are being opened included."""
        return len(self._sessions) + self._growth.opening

    @property
    def searching(self) -> bool:
        """Whether it is not clear that connections can be opened."""
        return self._growth.searching

    @property
    def waiting(self) -> int:
        """Borrowers that wait for a connection."""
        return len(self._waiters)

    # Lending.

    def take(self) -> Session | None:
        """Lend a connection that is idle, the one used last; None where there is none."""
        while self._idle:
            session = self._idle.pop()
            if not session.connection.is_closed():
                return session
            self._forget(session)
        return None

    async def acquire(self, timeout: float) -> Session:
        """Lend a connection, after waiting for one for `timeout` seconds at most.

        Raises `ResourceExhausted` where none became free, and `Temporary` where there is no database to connect to.
        """
        session = self.take()
        if session is not None:
            return session
        if not self._running:
            raise Temporary(UNAVAILABLE, detail="the database component is not running")
        if not self._sessions and not self._opener.reachable:
            raise self._unreachable()
        return await self._waiters.wait(timeout, lambda: self._expired(timeout), begun=self._balance)

    def give_back(self, session: Session) -> None:
        """Take a connection back, in whatever state it is; never waits."""
        connection = session.connection
        if session.busy:  # in the middle of something, as when a borrower's task was destroyed
            session.interrupted = True
        if connection.is_closed() or session.ruined or not self._running:
            lost = session.lost or connection.is_closed()
            self._discard(session, "lost" if lost else "session" if self._running else "stopped")
        elif session.interrupted or session.changed or connection.is_in_transaction():
            self._background.spawn(self._restore(session))
        elif monotonic() >= session.ends:
            self._retire(session, "lifetime")
        else:
            self._put(session)

    def _put(self, session: Session) -> None:
        if self._waiters.serve(session):
            return
        session.idle_since = monotonic()
        self._idle.append(session)

    def _expired(self, waited: float) -> ChassisError:
        self._observer.timeouts.inc()
        if not self._opener.reachable:
            return self._unreachable()
        if len(self._sessions) < self.max_size:
            return Temporary(UNAVAILABLE, detail=f"no connection was opened within {waited:.3g} s")
        return ResourceExhausted(
            "the database is busy; try again",
            detail=f"all {self.max_size} connections were in use for {waited:.3g} s (database.max_conns)",
        )

    def _unreachable(self) -> Temporary:
        return Temporary(UNAVAILABLE, detail=self._opener.reason)

    # Mending and closing, in the background.

    async def _restore(self, session: Session) -> None:
        from chassis.database.driver import restore

        try:
            await restore(
                session.connection, _RESTORING, reset=session.changed,
                interrupted=session.interrupted,
            )  # fmt: skip
        except (Exception, asyncio.CancelledError):
            # It did not answer: cut, and not closed politely, as that would wait for the same answer.
            process = 0 if session.connection.is_closed() else session.connection.get_server_pid()
            self._discard(session, "unanswered")
            if process and self._running and self._opener.reachable:
                self._background.spawn(self._opener.end_statement_of(process))
            return
        session.interrupted = session.changed = session.busy = False
        self.give_back(session)

    def _discard(self, session: Session, reason: str) -> None:
        session.closing = session.closing or reason
        session.connection.terminate()
        self._forget(session)

    def _retire(self, session: Session, reason: str) -> None:
        session.closing = reason
        self._background.spawn(self._close(session))

    async def _close(self, session: Session) -> None:
        from chassis.database.driver import close

        try:
            await close(session.connection, _CLOSING)
        finally:
            self._discard(session, session.closing)

    def _forget(self, session: Session) -> None:
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        self._observer.closed(session.closing or "lost")
        if not self._sessions:
            self._empty.set()
        self._balance()
        # Not at once: a server that ends every connection right away would be asked for the next without a pause.
        if self._running and self.size < self._min_size:
            self._look_in(_LOOK_SOON)

    # Growing.

    def _balance(self) -> None:
        """Open what those who wait need; refuse them where nothing is left to wait for."""
        if not self._running:
            return
        if self._opener.reachable:
            self._open_more(len(self._waiters) - self._growth.opening)
        else:
            if not self._sessions:
                self._waiters.refuse(self._unreachable)
            self._growth.search()

    def _fill(self) -> None:
        """Open what is missing to `min_size`, too."""
        self._balance()
        if self._running and self._opener.reachable:
            self._open_more(self._min_size - self.size)

    def _open_more(self, wanted: int) -> None:
        self._growth.open(min(wanted, self.max_size - self.size))

    def _add(self, connection: Connection, found: bool) -> None:
        if not self._running:
            connection.terminate()
            return
        # Not all at once, though they were opened together.
        lifetime = self._max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311  (nobody gains by guessing it)
        session = Session(connection, monotonic() + lifetime if lifetime else float("inf"))
        self._sessions.add(session)
        self._observer.opened.inc()
        connection.add_termination_listener(lambda _: self._forget(session))
        self._put(session)
        if found:
            self._fill()
        else:
            self._balance()

    def _look(self) -> None:
        """Close what is too old or was not needed for long; keep `min_size`."""
        now = monotonic()
        # Those at the left have been idle for longest.
        for session in list(self._idle):
            if now >= session.ends:
                reason = "lifetime"
            elif self._max_idle and now - session.idle_since >= self._max_idle and len(self._sessions) > self._min_size:
                reason = "idle"
            else:
                continue
            self._idle.remove(session)
            if reason == "idle":
                self._discard(session, reason)
            else:
                self._retire(session, reason)
        self._fill()
        limits = [limit / 4 for limit in (self._max_idle, self._max_lifetime) if limit]
        self._look_in(max(min([_LOOK_EVERY, *limits]), 0.01))

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    # Its life.

    def start(self) -> None:
        """Begin to open connections."""
        self._running = True
        self._opener.on_unreachable = self._balance
        self._balance()
        self._look()

    async def stop(self, grace: float) -> int:
        """Close all connections; those in use get `grace` seconds to come back. Returns how many had to be cut."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        self._waiters.refuse(lambda: Temporary(UNAVAILABLE, detail="the database component is stopping"))
        for session in list(self._idle):
            self._idle.remove(session)
            self._retire(session, "stopped")
        try:
            if self._sessions:
                self._empty.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._empty.wait()
        finally:  # also where the stop is given up: nothing stays open
            in_use = [session for session in self._sessions if not session.closing]
            for session in list(self._sessions):
                self._discard(session, "stopped")
        await self._background.end()
        return len(in_use)
