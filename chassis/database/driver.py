"""What the rest of the package needs of asyncpg; the one module that imports it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from chassis.database.sqlstate import (
    FAULT,
    TOO_LATE,
    UNAVAILABLE,
    advice,
    ends_session,
    sqlstate_of,
    translate,
)
from chassis.database.target import Target
from chassis.errors import Aborted, ChassisError, DeadlineExceeded, Permanent, Temporary

# What asyncpg's own reset leaves: a role that was taken on, temporary tables, and the values of sequences.
_RESET: Final = """\
SET SESSION AUTHORIZATION DEFAULT;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_advisory_unlock_all();
DISCARD TEMP;
DISCARD SEQUENCES;"""

_CANCEL: Final = """\
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE pid = $1::int AND state = 'active' AND query_start < clock_timestamp() - make_interval(secs => $2::float8)"""


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that a reset makes as good as new, unless it was `altered`: on this side, where no reset reaches.

    What its next user would get in other types, or what would be shown to its last one. Listeners to notifications and
    to the server's messages are not among that: asyncpg's reset removes them.
    """

    __slots__ = ("altered",)
    altered: bool

    def get_reset_query(self) -> str:
        return _RESET

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        self.altered = True
        await super().set_type_codec(*args, **options)

    async def set_builtin_type_codec(self, *args: Any, **options: Any) -> None:
        self.altered = True
        await super().set_builtin_type_codec(*args, **options)

    async def reset_type_codec(self, *args: Any, **options: Any) -> None:
        self.altered = True
        await super().reset_type_codec(*args, **options)

    def add_query_logger(self, callback: Any) -> None:
        self.altered = True
        super().add_query_logger(callback)

    def add_termination_listener(self, callback: Any) -> None:
        self.altered = True
        super().add_termination_listener(callback)


async def connect(target: Target, timeout: float) -> Connection:
    """Open a connection; raises TimeoutError after `timeout` seconds, and whatever asyncpg and the system raise."""
    async with asyncio.timeout(timeout):
        connection: Connection = await asyncpg.connect(
            host=target.host,
            port=target.port,
            database=target.database,
            user=target.user,
            # Asked for at each connect; none at all has asyncpg look into ~/.pgpass, as other clients do.
            password=target.password if target.password() else None,
            ssl=target.ssl_mode,
            command_timeout=target.query_timeout,
            connection_class=Connection,
            server_settings={"application_name": target.application_name} if target.application_name else None,
        )
    return connection


async def close(connection: Connection, timeout: float) -> None:
    """Close a connection, within `timeout` seconds: one that does not answer is cut."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(timeout):
            await connection.close(timeout=timeout)
    connection.terminate()


async def cancel(connection: Connection, process: int, *, before: float, timeout: float) -> bool:
    """Cancel what a process of the server is at, if that began more than `before` seconds ago; whether it did."""
    return bool(await connection.fetchval(_CANCEL, process, before, timeout=timeout))


async def restore(connection: Connection, timeout: float, *, reset: bool, interrupted: bool) -> None:
    """Have an open transaction rolled back and, with `reset`, the session made as good as new.

    Raises whatever goes wrong; the connection is of no use then.
    """
    async with asyncio.timeout(timeout):
        if interrupted:
            # Waits until the server has answered what was cancelled. Sent on its own, so that a cancellation that
            # comes late meets this and not the next statement.
            with contextlib.suppress(asyncpg.InFailedSQLTransactionError):
                await connection.execute("SELECT 1")
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        if reset:
            await connection.reset()


def lost(connection: Connection, error: BaseException) -> bool:
    """Whether the connection ended, or is about to, so that what was asked was never answered."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return False
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return False
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        return ends_session(sqlstate)
    return isinstance(error, OSError | asyncpg.InternalClientError) or connection.is_closed()


def meaning(connection: Connection, error: Exception) -> ChassisError:
    """Give the meaning of whatever a statement raised; an error of ours stays what it is."""
    if isinstance(error, ChassisError):
        return error
    if isinstance(error, TimeoutError) and error.errno is None:
        return DeadlineExceeded(TOO_LATE)
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return Aborted("the database was changed meanwhile; try again", detail=type(error).__name__)
    if lost(connection, error):
        return Temporary(UNAVAILABLE, detail=f"the connection was lost: {type(error).__name__}")
    known = translate(error)
    if known is not None:
        return known
    if isinstance(error, asyncpg.InterfaceError):
        # A wrong number of arguments, say; what has values in its text has a SQLSTATE as well.
        return Permanent(FAULT, detail=f"asyncpg: {error.args[0]}")
    return Permanent(FAULT, detail=f"asyncpg: {type(error).__name__}")


def foreign(connection: Connection, error: BaseException) -> bool:
    """Whether this is an error of the driver's or the connection's, which callers do not know."""
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        return bool(connection.is_closed())  # or it is of something else, as of a file that is copied from
    return isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError | OSError)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no connection could be opened: for the log, for health, and whether only people can mend it."""

    reason: str
    shown: str
    sqlstate_class: str
    needs_people: bool = False


def refusal(target: Target, error: BaseException, timeout: float) -> Refusal:
    """Say why a connection could not be opened, without anything secret in it."""
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        # What a server that ends the connection without a word looks like has a code of asyncpg's making.
        people = sqlstate[:2] in ("28", "3D") or sqlstate == "57P04"
        said = advice(sqlstate) or (
            "the database closed the connection" if sqlstate[:2] == "08" else "the database cannot be used"
        )
        return Refusal(f"{said} (SQLSTATE {sqlstate})", said.partition(":")[0], sqlstate[:2], people)
    shown = "the database cannot be reached"
    where = target.address
    if isinstance(error, asyncpg.ClientConfigurationError):
        # It checks files of certificates, and says which one is missing.
        said = f"the connection to the database cannot be configured: {error.args[0]}"
        return Refusal(said, "the connection to the database is misconfigured", "08", True)
    if isinstance(error, TimeoutError) and error.errno is None:
        return Refusal(f"the database at {where} did not answer within {timeout:g} s", shown, "08")
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"the certificate of the database at {where} is not accepted: {error.verify_message}"
        return Refusal(said, "the database's certificate is not accepted", "08", True)
    if isinstance(error, ssl.SSLError):
        return Refusal(f"TLS with the database at {where} failed: {error.reason}", shown, "08")
    if isinstance(error, socket.gaierror):
        return Refusal(f"the host {target.host} of the database is not known: {error.strerror}", shown, "08")
    if isinstance(error, FileNotFoundError | PermissionError) and not target.host.startswith("/"):
        said = "a file of a certificate (PGSSLROOTCERT, PGSSLCERT, PGSSLKEY) cannot be read"
        return Refusal(said, "the connection to the database is misconfigured", "08", True)
    if isinstance(error, OSError):
        if "SSL upgrade" in str(error):
            said = f"the database at {where} does not speak TLS, which database.ssl_mode={target.ssl_mode} asks for"
            return Refusal(said, "the database does not speak TLS", "08", True)
        return Refusal(f"the database at {where} cannot be reached: {_why(error)}", shown, "08")
    return Refusal(f"the database at {where} cannot be used: {type(error).__name__}", shown, "08")


def _why(error: OSError) -> str:
    # asyncio's own texts repeat the address; those of several addresses are joined, without a number.
    return os.strerror(error.errno) if error.errno else type(error).__name__
