from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from chassis.component import Component
from chassis.database.queries import Queries
from chassis.database.raw import Lent
from chassis.database.session import STATUS, Method
from chassis.database.sqlstate import UNAVAILABLE, CommitUnknown, Conflict
from chassis.database.statement import Statement, Statements
from chassis.database.target import Target
from chassis.database.transaction import Isolation, OpenTransaction, Transaction, TransactionBlock, begin_statement
from chassis.errors import ChassisError, ResourceExhausted, Temporary
from chassis.retry import Policy

if TYPE_CHECKING:
    from chassis.config import DatabaseConfig, Secret
    from chassis.database.lender import Lender
    from chassis.database.opener import Opener
    from chassis.database.pool import Pool
    from chassis.metrics import Metrics
    from chassis.tracing import Tracing

T = TypeVar("T")

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

TRANSACTION: Final = Policy(attempts=5, initial=0.01, maximum=0.5)
"""How often a transaction that lost against a concurrent one is repeated, and after which waits."""

_CHECK: Final = Statement("SELECT 1", "health_check")
_CHECK_TIMEOUT: Final = 1.0
_CHECK_PATIENCE: Final = 0.8  # of that for a connection, so that it is known what was waited for
_ANSWERED_LATELY: Final = 1.0
_FIRST_CONTACT: Final = 2.0
_STOPPING: Final = 2.0


class Database(Queries, Component):
    """PostgreSQL: statements and transactions on pooled connections, within the time that the call has.

    | | |
    |---|---|
    | `host`, `port`, `database`, `user`, `password` | where it is (a host with `/` is a socket's folder), and who |
    | `ssl_mode` | as libpq's sslmode; for `verify-ca` and `verify-full` PGSSLROOTCERT names the file of the authority |
    | `max_conns`, `min_conns` | connections at a time, and those that are kept open |
    | `max_conn_lifetime`, `max_conn_idle_time` | seconds until a connection is replaced, or closed; 0 for never |
    | `connect_timeout`, `query_timeout` | seconds that connecting, and a statement, may take |
    | `acquire_timeout` | seconds that is waited for a connection while all are in use |
    | `schema` | SQL, or the path of a file with it, that is applied once before the database is ready |
    | `service_name` | owns the schema, and is what PostgreSQL shows as the application |

    Every timeout is shortened to what the call being served has left. Errors are those of `chassis.errors`, with the
    driver's as their cause: `AlreadyExists`, `FailedPrecondition`, `InvalidInput` for constraints, `Conflict` for lost
    races, `Temporary` while the database is away, `ResourceExhausted` while all connections are in use,
    `DeadlineExceeded` when time ran out, `Permanent` for mistakes in SQL.

    It starts without a database, and is ready as soon as there is one.
    """

    name = "database"

    def __init__(
        self,
        *,
        host: str,
        database: str,
        user: str,
        password: str | Secret = "",
        port: int = 5432,
        ssl_mode: SslMode = "prefer",
        max_conns: int = 25,
        min_conns: int = 2,
        max_conn_lifetime: float = 3600.0,
        max_conn_idle_time: float = 600.0,
        connect_timeout: float = 30.0,
        query_timeout: float = 30.0,
        acquire_timeout: float = 5.0,
        schema: str | Path | None = None,
        service_name: str = "",
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        required: bool = True,
    ) -> None:
        if not 0 <= min_conns <= max_conns or max_conns < 1:
            raise ValueError(f"0 <= min_conns <= max_conns is needed, and not {min_conns} and {max_conns}")
        limits = {
            "connect": connect_timeout,
            "query": query_timeout,
            "acquire": acquire_timeout,
        }
        for key, seconds in limits.items():
            if not seconds > 0:
                raise ValueError(f"{key}_timeout must be more than 0 seconds, not {seconds}")
        self.required = required
        self._target = Target(
            host=host,
            port=port,
            database=database,
            user=user,
            password=(lambda: password) if isinstance(password, str) else password.reveal,
            ssl_mode=ssl_mode,
            query_timeout=query_timeout,
            application_name=service_name,
        )
        self._max_conns, self._min_conns = max_conns, min_conns
        self._max_conn_lifetime, self._max_conn_idle_time = max_conn_lifetime, max_conn_idle_time
        self._connect_timeout, self._query_timeout = connect_timeout, query_timeout
        self._acquire_timeout = acquire_timeout
        self._schema = schema
        self._service_name = service_name
        self._metrics = metrics
        self._tracing = tracing
        self._statements = Statements()
        self._pool: Pool | None = None
        self._opener: Opener | None = None
        self._started: Lender | None = None

    def _run(
        self, method: Method, sql: str, name: str | None, args: tuple[object, ...], timeout: float | None
    ) -> Awaitable[Any]:
        return self._lender.once(method, self._statements.get(sql, name), args, timeout)

    # Transactions.

    def transaction(self, *, isolation: Isolation | None = None, readonly: bool = False) -> TransactionBlock:
        """A transaction for a block: `async with db.transaction() as tx`, and `tx` runs the statements.

        Stored at the end of the block; when the block raises, it never was. Where COMMIT was sent and not answered,
        `CommitUnknown` is raised. `isolation` is `read committed`, `repeatable read` or `serializable`, the database's
        default unless said.
        """
        return TransactionBlock(self._lender, isolation, readonly)

    async def begin(self, *, isolation: Isolation | None = None, readonly: bool = False) -> OpenTransaction:
        """Begin a transaction that you end yourself, by its `commit()` or `rollback()`.

        It holds a connection until then; where a block will do, `transaction()` is safer.
        """
        work = await self._lender.begin(begin_statement(isolation, readonly), readonly=readonly)
        return OpenTransaction(work, work.enter())

    async def with_transaction(
        self,
        fn: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Isolation | None = None,
        readonly: bool = False,
        policy: Policy = TRANSACTION,
    ) -> T:
        """What `fn(tx)` returns, stored; all of it is repeated after a serialization failure or a deadlock.

        `fn` may run several times, so what it does besides its statements has to bear that. `policy` says how often;
        other errors are repeated only where its `per_error` says so, and `CommitUnknown` never.
        """
        own = dict(policy.per_error)
        repeated = replace(policy, per_error={ChassisError: False, Conflict: True, **own, CommitUnknown: False})
        attempts = 0

        async def attempt() -> T:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                self._lender.observer.retried("transaction")
            async with self.transaction(isolation=isolation, readonly=readonly) as tx:
                return await fn(tx)

        return await repeated.call(attempt)

    def connection(self) -> Lent:
        """A connection of asyncpg's own, for what this class has no method for: `async with db.connection() as con`.

        COPY, cursors, LISTEN, session settings: it is reset before anyone else gets it, and closed where that does not
        help (codecs, query loggers, termination listeners). asyncpg's errors come out of the block as those of
        `chassis.errors`. Do not keep it beyond the block.
        """
        return Lent(self._lender)

    # Its life.

    async def start(self) -> None:
        """Connect, and apply the schema; without a database it goes on looking for one in the background.

        Raises StartError where the schema is wrong.
        """
        from chassis.database.lender import Lender
        from chassis.database.observer import Observer
        from chassis.database.opener import Opener
        from chassis.database.pool import Pool
        from chassis.database.schema import Schema

        observer = Observer(self._metrics, self._tracing, self._target.span_attributes)
        schema = None if self._schema is None else Schema(self._service_name, self._schema)
        opener = Opener(
            self._target,
            observer,
            connect_timeout=self._connect_timeout,
            prepare=None if schema is None else schema.apply,
        )
        pool = Pool(
            opener,
            observer,
            min_size=self._min_conns,
            max_size=self._max_conns,
            max_lifetime=self._max_conn_lifetime,
            max_idle=self._max_conn_idle_time,
        )
        observer.watch(pool)
        self._opener, self._pool = opener, pool
        pool.start()
        self._started = Lender(
            pool,
            observer,
            self._statements,
            acquire_timeout=self._acquire_timeout,
            query_timeout=self._query_timeout,
        )
        try:
            await opener.first_contact(_FIRST_CONTACT)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close all connections; those still in use get a moment, and are cut then."""
        pool, self._pool, self._started = self._pool, None, None
        if pool is None:
            return
        cut = await pool.stop(_STOPPING)
        if cut:
            raise TimeoutError(f"{cut} connections to the database were still in use and had to be cut off")

    async def check(self) -> None:
        """Raise if it cannot be used right now; an answer within the last second is taken for a sign of life.

        While all connections are in use it is `acquire_timeout`: until then those who wait for one may still get it.
        """
        if self._started is None or self._opener is None or self._pool is None:
            raise Temporary("the database component is not running")
        opener, lender = self._opener, self._started
        if not opener.reachable and not self._pool.size:
            raise Temporary(opener.shown, detail=opener.reason)
        if perf_counter() - lender.last_answer < _ANSWERED_LATELY and not self._pool.searching:
            return
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await lender.once(STATUS, _CHECK, (), _CHECK_TIMEOUT, patience=_CHECK_PATIENCE)
        except ResourceExhausted as error:
            if perf_counter() - lender.last_answer < self._acquire_timeout:
                return
            raise Temporary("all connections to the database are in use", detail=error.detail) from error
        except TimeoutError as error:
            raise Temporary("the database does not answer") from error

    @property
    def _lender(self) -> Lender:
        if self._started is None:
            raise Temporary(UNAVAILABLE, detail="the database component is not running")
        return self._started

    @classmethod
    def from_config(
        cls,
        section: DatabaseConfig,
        *,
        schema: str | Path | None = None,
        service_name: str = "",
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> Database:
        """Make it from the section `database` of the configuration."""
        return cls(
            host=section.host,
            port=section.port,
            database=section.database,
            user=section.user,
            password=section.password,
            ssl_mode=section.ssl_mode,
            max_conns=section.max_conns,
            min_conns=section.min_conns,
            max_conn_lifetime=section.max_conn_lifetime,
            max_conn_idle_time=section.max_conn_idle_time,
            connect_timeout=section.connect_timeout,
            query_timeout=section.query_timeout,
            acquire_timeout=section.acquire_timeout,
            schema=schema,
            service_name=service_name,
            metrics=metrics,
            tracing=tracing,
            required=section.required,
        )
