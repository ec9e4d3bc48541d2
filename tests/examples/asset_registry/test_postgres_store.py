"""What only a store in PostgreSQL can get wrong; all else is in tests/contracts/test_asset_store.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from cqc.assets.v1.chain_pb2 import Chain
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.config import load
from chassis.database import Database, constraint_of
from chassis.errors import InvalidInput, Temporary
from chassis.testing.servers import DatabaseForTest
from examples.asset_registry.postgres_store import SCHEMA, PostgresStore
from examples.asset_registry.store import AssetFilter, Position
from examples.asset_registry.tables import ASSETS, CHAINS, DEPLOYMENTS, VENUE_ASSETS, VENUES, Table
from examples.asset_registry.violations import KNOWN

TABLES: tuple[Table[object], ...] = (ASSETS, CHAINS, DEPLOYMENTS, VENUES, VENUE_ASSETS)  # type: ignore[assignment, type-var]
ANY = AssetFilter()


@pytest.fixture
async def db(registry_database: DatabaseForTest) -> AsyncIterator[Database]:
    config = load(environ={}, defaults={"service.name": "cqar"}, overrides=registry_database.overrides)
    database = Database.from_config(config.database, schema=SCHEMA, service_name="cqar")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
def store(db: Database) -> PostgresStore:
    return PostgresStore(db)


def an_asset(**fields: object) -> Asset:
    created = Timestamp(seconds=1_700_000_000)
    known = {"asset_id": "a-1", "symbol": "BTC", "name": "Bitcoin", "created_at": created}
    return Asset(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_every_field_of_a_record_has_its_column(db: Database, table: Table[object]) -> None:  # type: ignore[type-var]
    rows = await db.query("SELECT column_name FROM information_schema.columns WHERE table_name = $1", table.name)
    assert {row["column_name"] for row in rows} == set(table.columns)


async def test_every_constraint_says_what_it_means_to_callers(db: Database) -> None:
    names = [table.name for table in TABLES]
    unique = "SELECT indexname AS name FROM pg_indexes WHERE tablename = ANY($1) AND indexdef LIKE 'CREATE UNIQUE %'"
    foreign = "SELECT conname AS name FROM pg_constraint WHERE conrelid::regclass::text = ANY($1) AND contype = 'f'"
    there = {row["name"] for sql in (unique, foreign) for row in await db.query(sql, names)}
    assert there == KNOWN


async def test_the_schema_can_be_applied_again(db: Database) -> None:
    await db.execute(SCHEMA.read_text(encoding="utf-8"))


async def test_a_position_beyond_all_times_is_a_position(store: PostgresStore) -> None:
    await store.add_asset(an_asset())
    for first in (-(2**63), -62_135_596_800_000_001):
        assert len(await store.assets(ANY, after=Position(first, ""), limit=10)) == 1
    assert await store.assets(ANY, after=Position(2**63 - 1, ""), limit=10) == []


async def test_what_json_cannot_hold_is_refused(store: PostgresStore) -> None:
    asset = an_asset()
    asset.metadata["ratio"] = float("inf")
    with pytest.raises(InvalidInput, match=r"^invalid input for metadata: must be what JSON can hold"):
        await store.add_asset(asset)
    asset.metadata["ratio"] = "\0"
    with pytest.raises(InvalidInput):
        await store.add_asset(asset)
    assert await store.count_assets(ANY) == 0


async def test_a_text_that_the_database_cannot_hold_is_refused(store: PostgresStore) -> None:
    with pytest.raises(InvalidInput):
        await store.add_asset(an_asset(description="\0"))
    with pytest.raises(InvalidInput):
        await store.search_assets("\0", limit=10)


async def test_what_is_wrong_with_the_database_itself_is_no_matter_of_records(
    store: PostgresStore, db: Database
) -> None:
    await db.stop()
    for call in (
        store.add_asset(an_asset()),
        store.update_asset("a-1", Asset(symbol="X")),
        store.delete_asset("a-1"),
        store.add_chain(Chain(chain_id="1", chain_name="Ethereum")),
    ):
        with pytest.raises(Temporary):
            await call


async def test_a_constraint_that_the_registry_does_not_know_is_told_in_the_words_of_the_database(
    store: PostgresStore, db: Database
) -> None:
    await store.add_asset(an_asset())
    async with db.transaction() as tx:
        await tx.execute("ALTER TABLE assets ADD CONSTRAINT no_memes CHECK (category <> 'meme')")
    try:
        for call in (
            store.add_asset(an_asset(asset_id="a-2", symbol="DOGE", category="meme")),
            store.update_asset("a-1", Asset(category="meme")),
        ):
            with pytest.raises(InvalidInput, match=r"^a value is outside of what is allowed$") as refused:
                await call
            assert constraint_of(refused.value) == "no_memes"
    finally:
        await db.execute("ALTER TABLE assets DROP CONSTRAINT no_memes")


@dataclass(frozen=True)
class Reading:
    """A list, the index that it is to use, and what it is asked with."""

    sql: str
    index: str


@pytest.mark.parametrize(
    "reading",
    [
        Reading(f"{ASSETS.select} WHERE (created_at, asset_id) > (now(), 'a') ORDER BY created_at, asset_id LIMIT 9",
                "assets_by_age"),
        Reading(f"{ASSETS.select} WHERE lower(symbol) = lower('x') AND asset_type = 1", "assets_symbol_name_key"),
        Reading(f'{CHAINS.select} ORDER BY lower(chain_name) COLLATE "C" LIMIT 9', "chains_name_key"),
        Reading(f"{DEPLOYMENTS.select} WHERE asset_id = 'a' ORDER BY created_at, deployment_id LIMIT 9",
                "deployments_by_asset"),
        Reading(f"{DEPLOYMENTS.select} WHERE chain_id = 'c' ORDER BY created_at, deployment_id LIMIT 9",
                "deployments_by_chain"),
        Reading(f"{VENUES.select} ORDER BY created_at, venue_id LIMIT 9", "venues_by_age"),
        Reading(f"{VENUE_ASSETS.select} WHERE asset_id = 'a' ORDER BY listed_at, venue_id, asset_id LIMIT 9",
                "venue_assets_by_asset"),
    ],
    ids=lambda reading: reading.index,
)  # fmt: skip
async def test_lists_are_read_from_an_index_and_not_sorted(db: Database, reading: Reading) -> None:
    async with db.transaction() as tx:
        for way in ("seqscan", "bitmapscan", "sort"):
            await tx.execute(f"SET LOCAL enable_{way} = off")
        plan = "\n".join(row[0] for row in await tx.query(f"EXPLAIN (COSTS off) {reading.sql}"))
    assert reading.index in plan
    assert "Sort Key" not in plan
