"""The tables of a service: its SQL is applied once, however many instances start at a time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.component import StartError
from chassis.database.driver import lost, restore
from chassis.database.opener import Unprepared
from chassis.database.sqlstate import sqlstate_of, translate
from chassis.errors import DeadlineExceeded

if TYPE_CHECKING:
    from chassis.database.driver import Connection

_log = logging.getLogger("chassis.database")

TABLE: Final = "chassis_schema"
"""Remembers what was applied: a row for each service and each text of its schema."""

# One for all services of a database, as they create the table above together.
_LOCK: Final = int.from_bytes(hashlib.sha256(TABLE.encode()).digest()[:8], "big", signed=True)

_CREATE: Final = f"""\
CREATE TABLE IF NOT EXISTS {TABLE} (
    service text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, sha256)
)"""

_GIVING_UP: Final = 1.0
"""Seconds that the server gets to stop what took too long."""

_CURRENT: Final = "SELECT txid_current()"
_NO_COMMIT: Final = "the schema must not have COMMIT or ROLLBACK in it, as it is one transaction"


class Schema:
    """The schema of one service, as SQL text or as the path of a file with it.

    Any text that has not been applied before is applied, so it has to bear that its tables are there already:
    `CREATE TABLE IF NOT EXISTS`, `ALTER TABLE … ADD COLUMN IF NOT EXISTS`. It is applied as a whole or not at all.
    """

    def __init__(self, service: str, source: str | Path) -> None:
        self.service = service
        self._source = source

    async def apply(self, connection: Connection) -> None:
        """Apply it unless that was done before, under an advisory lock; others wait, and find it done.

        Raises StartError for what will not be better the next time, and Unprepared where the time was not enough.
        """
        text = self._text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        doing = ""
        try:
            await connection.execute("BEGIN")
            doing = "waiting for another instance to apply its schema"
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if not await self._is_applied(connection, digest):
                doing = "applying the schema"
                await self._run(connection, text)
                # Dumps set it, and would hide our table.
                await connection.execute("RESET search_path")
                remember = f"INSERT INTO {TABLE} (service, sha256) VALUES ($1, $2)"  # noqa: S608  (a constant)
                await connection.execute(remember, self.service, digest)
                _log.info("the schema of the database is applied", extra={"schema_sha256": digest})
            await connection.execute("COMMIT")
            await connection.reset()
        except Exception as error:
            if isinstance(error, StartError) or lost(connection, error):
                raise
            said = _said(error)
            meant = translate(error)
            if doing and (isinstance(error, TimeoutError) or isinstance(meant, DeadlineExceeded)):
                # A server that is not asked to stop goes on with it, and the next attempt would wait for its lock.
                with contextlib.suppress(Exception):
                    await restore(connection, _GIVING_UP, reset=False, interrupted=True)
                raise Unprepared(
                    f"{doing} took longer than database.query_timeout, or the server's statement_timeout, allows: "
                    "apply what is slow by hand before, or allow more"
                ) from error
            if isinstance(error, TimeoutError) or (meant is not None and meant.meaning.retryable):
                raise
            raise StartError(f"the schema could not be applied: {said}") from error

    async def _run(self, connection: Connection, text: str) -> None:
        begun = await connection.fetchval(_CURRENT)
        try:
            await connection.execute(text)
        except Exception as error:
            if isinstance(error, TimeoutError) or lost(connection, error):
                raise
            # Nothing of it is there, unless it had COMMIT in it.
            await connection.execute("ROLLBACK")
            if await connection.fetchval("SELECT txid_status($1)", begun) == "committed":
                raise StartError(f"{_NO_COMMIT}; it is stored up to there, and failed later: {_said(error)}") from error
            raise
        if not connection.is_in_transaction() or await connection.fetchval(_CURRENT) != begun:
            raise StartError(f"{_NO_COMMIT}; it is stored up to there")

    async def _is_applied(self, connection: Connection, digest: str) -> bool:
        # Looked for first: where somebody else made the tables, this user may not be allowed to.
        if await connection.fetchval("SELECT to_regclass($1)", TABLE) is None:
            await connection.execute(_CREATE)
        known = f"SELECT 1 FROM {TABLE} WHERE service = $1 AND sha256 = $2"  # noqa: S608  (a constant)
        return await connection.fetchrow(known, self.service, digest) is not None

    def _text(self) -> str:
        if not isinstance(self._source, Path):
            return self._source
        try:
            return self._source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"the schema {self._source} could not be read: {error}") from error


def _said(error: Exception) -> str:
    # It is about the service's own SQL, and there are no values of users in that.
    text = str(error.args[0]) if error.args else type(error).__name__
    return f"{text} (SQLSTATE {sqlstate_of(error)})"
