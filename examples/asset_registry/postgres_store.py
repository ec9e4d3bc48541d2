from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.database import Database, Transaction, constraint_of
from chassis.errors import ChassisError, NotFound
from examples.asset_registry.store import AssetFilter, Position, Record, changed, in_use, venue_asset_key
from examples.asset_registry.tables import ASSETS, CHAINS, DEPLOYMENTS, VENUE_ASSETS, VENUES, Table
from examples.asset_registry.violations import refused

SCHEMA: Final = Path(__file__).parent / "schema.sql"
"""The tables that it needs."""

R = TypeVar("R", bound=Record)


class PostgresStore:
    """An `AssetStore` in PostgreSQL: what is unique and what refers to what is up to its constraints.

    `db` has the tables of `SCHEMA`.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add_asset(self, asset: Asset) -> None:
        await self._insert(ASSETS, asset)

    async def asset(self, asset_id: str) -> Asset:
        return await self._one(ASSETS, "asset", asset_id)

    async def update_asset(self, asset_id: str, changes: Asset) -> Asset:
        try:
            row = await self._db.query_row(_UPDATE_ASSET, asset_id, *ASSETS.values(changes)[1:], name="assets.update")
        except ChassisError as error:
            if (constraint := constraint_of(error)) is None:
                raise
            if (refusal := refused(constraint, changed(await self.asset(asset_id), changes))) is None:
                raise
            raise refusal from error
        if row is None:
            raise NotFound.of("asset", asset_id)
        return ASSETS.record(row)

    async def delete_asset(self, asset_id: str) -> None:
        try:
            deleted = await self._db.execute("DELETE FROM assets WHERE asset_id = $1", asset_id, name="assets.delete")
        except ChassisError as error:
            if constraint_of(error) is None:
                raise
            raise in_use(asset_id) from error
        if not deleted:
            raise NotFound.of("asset", asset_id)

    async def assets(self, matching: AssetFilter, *, after: Position | None = None, limit: int) -> list[Asset]:
        where = Where(asset_type=matching.asset_type, category=matching.category)
        if after is not None:
            where.add("(created_at, asset_id) > ({}, {})", _time(after.created_at), after.asset_id)
        return await self._list(ASSETS, where, "created_at, asset_id", limit)

    async def count_assets(self, matching: AssetFilter) -> int:
        where = Where(asset_type=matching.asset_type, category=matching.category)
        row = await self._db.query_row(f"SELECT count(*) FROM assets{where}", *where.values, name="assets.count")
        assert row is not None
        return int(row[0])

    async def search_assets(self, text: str, *, limit: int) -> list[Asset]:
        rows = await self._db.query(_SEARCH_ASSETS, text, limit, name="assets.search")
        return [ASSETS.record(row) for row in rows]

    async def native_asset_id(self, symbol: str) -> str | None:
        rows = await self._db.query(
            "SELECT asset_id FROM assets WHERE lower(symbol) = lower($1) AND asset_type = $2 LIMIT 2",
            symbol,
            AssetType.ASSET_TYPE_NATIVE,
            name="assets.native_id",
        )
        return str(rows[0]["asset_id"]) if len(rows) == 1 else None

    async def add_deployment(self, deployment: AssetDeployment, *, native: bool) -> None:
        if not native:
            await self._insert(DEPLOYMENTS, deployment)
            return
        async with self._db.transaction() as tx:
            await self._insert(DEPLOYMENTS, deployment, tx)
            await tx.execute(
                "UPDATE chains SET native_asset_id = $1 WHERE chain_id = $2 AND native_asset_id IS NULL",
                deployment.asset_id,
                deployment.chain_id,
                name="chains.set_native_asset",
            )

    async def deployment(self, deployment_id: str) -> AssetDeployment:
        return await self._one(DEPLOYMENTS, "deployment", deployment_id)

    async def deployments(self, asset_id: str | None, chain_id: str | None, *, limit: int) -> list[AssetDeployment]:
        where = Where(asset_id=asset_id, chain_id=chain_id)
        return await self._list(DEPLOYMENTS, where, "created_at, deployment_id", limit)

    async def add_chain(self, chain: Chain) -> None:
        await self._insert(CHAINS, chain)

    async def chain(self, chain_id: str) -> Chain:
        return await self._one(CHAINS, "chain", chain_id)

    async def chains(self, chain_type: str | None, *, limit: int) -> list[Chain]:
        return await self._list(CHAINS, Where(chain_type=chain_type), 'lower(chain_name) COLLATE "C"', limit)

    async def add_venue(self, venue: Venue) -> None:
        await self._insert(VENUES, venue)

    async def venue(self, venue_id: str) -> Venue:
        return await self._one(VENUES, "venue", venue_id)

    async def venues(self, venue_type: VenueType.ValueType | None, chain_id: str | None, *, limit: int) -> list[Venue]:
        where = Where(venue_type=venue_type, chain_id=chain_id)
        return await self._list(VENUES, where, "created_at, venue_id", limit)

    async def add_venue_asset(self, venue_asset: VenueAsset) -> None:
        await self._insert(VENUE_ASSETS, venue_asset)

    async def venue_asset(self, venue_id: str, asset_id: str) -> VenueAsset:
        where = Where(venue_id=venue_id, asset_id=asset_id)
        found = await self._list(VENUE_ASSETS, where, "venue_id", 1)
        if not found:
            raise NotFound.of("venue asset", venue_asset_key(venue_id, asset_id))
        return found[0]

    async def venue_assets(self, venue_id: str | None, asset_id: str | None, *, limit: int) -> list[VenueAsset]:
        where = Where(venue_id=venue_id, asset_id=asset_id)
        return await self._list(VENUE_ASSETS, where, "listed_at, venue_id, asset_id", limit)

    async def _one(self, table: Table[R], noun: str, key: str) -> R:
        row = await self._db.query_row(table.select_by_id, key, name=f"{table.name}.get")
        if row is None:
            raise NotFound.of(noun, key)
        return table.record(row)

    async def _list(self, table: Table[R], where: Where, order: str, limit: int) -> list[R]:
        sql = f"{table.select}{where} ORDER BY {order} LIMIT ${len(where.values) + 1}"
        rows = await self._db.query(sql, *where.values, limit, name=f"{table.name}.list")
        return [table.record(row) for row in rows]

    async def _insert(self, table: Table[R], record: R, tx: Transaction | None = None) -> None:
        try:
            await (tx or self._db).execute(table.insert, *table.values(record), name=f"{table.name}.insert")
        except ChassisError as error:
            if (refusal := refused(constraint_of(error), record)) is None:
                raise
            raise refusal from error


class Where:
    """The conditions of a list: columns that have a value, as far as one is asked for.

    >>> where = Where(asset_type=2, category=None)
    >>> where.add("(created_at, asset_id) > ({}, {})", 7, "a-1")
    >>> str(where), where.values
    (' WHERE asset_type = $1 AND (created_at, asset_id) > ($2, $3)', [2, 7, 'a-1'])
    >>> str(Where(category=None))
    ''
    """

    def __init__(self, **equal: object) -> None:
        self.values: list[object] = []
        self._conditions: list[str] = []
        for column, value in equal.items():
            if value is not None:
                self.add(f"{column} = {{}}", value)

    def add(self, condition: str, *values: object) -> None:
        """Add a condition that has `{}` where its values belong."""
        self.values += values
        placeholders = range(len(self.values) - len(values) + 1, len(self.values) + 1)
        self._conditions.append(condition.format(*(f"${number}" for number in placeholders)))

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


# One statement, so that of updates at once to different fields none is lost. Absent is NULL, and changes nothing.
_UPDATE_ASSET: Final = f"""
    UPDATE assets SET {", ".join(f"{c} = coalesce(${n}, {c})" for n, c in enumerate(ASSETS.columns[1:], start=2))}
    WHERE asset_id = $1 RETURNING {", ".join(ASSETS.columns)}"""

# strpos and starts_with, and not LIKE, to which some characters mean something else than themselves.
_SEARCH_ASSETS: Final = f"""
    {ASSETS.select}
    WHERE strpos(lower(symbol), lower($1)) > 0 OR strpos(lower(name), lower($1)) > 0
    ORDER BY
        lower(symbol) <> lower($1),
        NOT starts_with(lower(symbol), lower($1)),
        NOT starts_with(lower(name), lower($1)),
        lower(symbol) COLLATE "C",
        lower(name) COLLATE "C"
    LIMIT $2"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    # A page token that somebody made up can have any number; before the first and behind the last there is nothing.
    return _EPOCH + timedelta(microseconds=max(_FIRST, min(microseconds, _LAST)))
