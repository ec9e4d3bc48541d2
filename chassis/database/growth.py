from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chassis.background import Background

if TYPE_CHECKING:
    from chassis.database.driver import Connection
    from chassis.database.opener import Opener


class Growth:
    """Opens the connections that a pool is short of, in the background.

    After one that could not be opened it opens no other until the search for the database has ended: a database in
    trouble is not asked for many connections at once. `add` takes a connection, and whether it is from a search.
    """

    def __init__(self, opener: Opener, background: Background, *, add: Callable[[Connection, bool], None]) -> None:
        self.opening = 0
        self.searching = False  # whether it is not clear that connections can be opened
        self._opener = opener
        self._background = background
        self._add = add

    def open(self, wanted: int) -> None:
        """Open so many connections, unless it is searched for the database."""
        if not self.searching:
            for _ in range(wanted):
                self.opening += 1
                self._background.spawn(self._open())

    def search(self) -> None:
        """Search for the database, once at a time."""
        if not self.searching:
            self.searching = True
            self._background.spawn(self._search())

    async def _open(self) -> None:
        try:
            connection = await self._opener.open()
        except Exception:
            self.search()
            return
        finally:
            self.opening -= 1
        self._add(connection, False)

    async def _search(self) -> None:
        try:
            connection = await self._opener.search()
        finally:
            self.searching = False
        self._add(connection, True)
