from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from chassis.database.session import ROW, ROWS, STATUS, Method

if TYPE_CHECKING:
    from asyncpg import Record


class Queries(ABC):
    """Runs statements: on any connection, or within a transaction.

    In SQL, `$1`, `$2`, … stand for `args`. `name` is what the statement is called in metrics and spans: a word of the
    code's, never made up of values. `timeout` (seconds) takes the place of `query_timeout`.
    """

    __slots__ = ()

    @abstractmethod
    def _run(
        self, method: Method, sql: str, name: str | None, args: tuple[object, ...], timeout: float | None
    ) -> Awaitable[Any]:
        """What the driver's method gives for a statement."""

    async def query(
        self, sql: str, *args: object, name: str | None = None, timeout: float | None = None
    ) -> list[Record]:
        """All rows that a statement gives."""
        rows: list[Record] = await self._run(ROWS, sql, name, args, timeout)
        return rows

    async def query_row(
        self, sql: str, *args: object, name: str | None = None, timeout: float | None = None
    ) -> Record | None:
        """The first row that a statement gives, None where there is none."""
        row: Record | None = await self._run(ROW, sql, name, args, timeout)
        return row

    async def execute(self, sql: str, *args: object, name: str | None = None, timeout: float | None = None) -> int:
        """How many rows a statement changed; 0 for one that changes none.

        Without `args` it may be several statements, which are stored together or not at all.
        """
        return rows_affected(await self._run(STATUS, sql, name, args, timeout))


def rows_affected(status: str) -> int:
    """The number at the end of what the server says of a command: `INSERT 0 3`, `UPDATE 3`; 0 where there is none.

    >>> rows_affected("INSERT 0 3"), rows_affected("CREATE TABLE")
    (3, 0)
    """
    number = status.rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0
