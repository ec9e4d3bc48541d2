"""PostgreSQL: statements, transactions and a schema, within the deadline of the call, with errors that have a meaning.

In a service that `uses` the database, `self.db` is a `Database`:

    row = await self.db.query_row("SELECT symbol FROM asset WHERE id = $1", asset_id, name="get_asset")
    async with self.db.transaction() as tx:
        await tx.execute("INSERT INTO asset (id, symbol) VALUES ($1, $2)", asset_id, "BTC", name="insert_asset")

What PostgreSQL's errors mean is one table:

>>> from chassis.database import Conflict
>>> from chassis.database.sqlstate import error_for
>>> error_for("23505").code.name, isinstance(error_for("40001"), Conflict)
('ALREADY_EXISTS', True)
"""

from chassis.database.database import TRANSACTION, Database
from chassis.database.sqlstate import CommitUnknown, Conflict, constraint_of, sqlstate_of
from chassis.database.transaction import OpenTransaction, Transaction

__all__ = [
    "TRANSACTION",
    "CommitUnknown",
    "Conflict",
    "Database",
    "OpenTransaction",
    "Transaction",
    "constraint_of",
    "sqlstate_of",
]
