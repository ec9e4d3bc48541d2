from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    from chassis.database.lender import Lender
    from chassis.database.session import Session


class Lent:
    """A connection of asyncpg's for one block; made by `Database.connection`."""

    __slots__ = ("_lender", "_session")

    def __init__(self, lender: Lender) -> None:
        self._lender = lender
        self._session: Session | None = None

    async def __aenter__(self) -> asyncpg.Connection:
        if self._session is not None:
            raise RuntimeError("a connection() is for one `async with`")
        self._session = session = await self._lender.borrow()
        # Whatever is done with it: it is asked for an answer, rolled back and reset before anybody else has it.
        session.changed = session.interrupted = True
        session.connection.altered = False
        return session.connection

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from chassis.database.driver import foreign, meaning

        session = self._session
        assert session is not None
        if session.connection.altered:
            session.ruined = True
        self._lender.give_back(session)
        if error is not None and foreign(session.connection, error):
            assert isinstance(error, Exception)
            raise meaning(session.connection, error) from error
