"""Where the registry keeps its records: the interface, and what all stores say of records in the same words."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cqc.assets.v1.asset_pb2 import Asset, AssetType
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue, VenueType

from chassis.errors import AlreadyExists, FailedPrecondition

Record = Asset | AssetDeployment | Chain | Venue | VenueAsset


class AssetFilter(NamedTuple):
    """Which assets to list; None for any."""

    asset_type: AssetType.ValueType | None = None
    category: str | None = None


class Position(NamedTuple):
    """Where an asset stands in lists of assets; `created_at` in microseconds since the epoch.

    Neither part ever changes, so pages that are read one after the other never skip or repeat an asset that was there
    all the time, whatever is created, changed or deleted between them.
    """

    created_at: int
    asset_id: str

    @classmethod
    def of(cls, asset: Asset) -> Position:
        """The position of this asset.

        >>> Position.of(Asset(asset_id="a-1"))
        Position(created_at=0, asset_id='a-1')
        """
        return cls(asset.created_at.ToMicroseconds(), asset.asset_id)


class AssetStore(Protocol):
    """Keeps records; ids and times are the caller's part. tests/contracts/test_asset_store.py holds for all stores.

    - What is looked for by id and is not there: `NotFound`. So is a record that a new one refers to.
    - What would be there twice: `AlreadyExists`. Two records are the same if they share their id, or

      | record | and, without regard to upper and lower case |
      |---|---|
      | asset | symbol and name |
      | chain | name |
      | deployment | chain and address (those without 0x by case too); one native one a chain |
      | venue | name and chain |
      | venue asset | venue and asset, which are its id |

    - An absent field stays absent, an empty one empty. Records that go in and come out are the caller's own copies.
    - Every method is one step: it happens as a whole or, where it raises, not at all.
    - Lists are in the order in which records were made, or, for those without a time, of their names.
    """

    async def add_asset(self, asset: Asset) -> None:
        """Keep a new asset."""

    async def asset(self, asset_id: str) -> Asset:
        """Give one asset."""

    async def update_asset(self, asset_id: str, changes: Asset) -> Asset:
        """Set the fields that are present in `changes`, leave all others, and give the asset as it is then."""

    async def delete_asset(self, asset_id: str) -> None:
        """Remove an asset; raises `FailedPrecondition` while another record refers to it."""

    async def assets(self, matching: AssetFilter, *, after: Position | None = None, limit: int) -> list[Asset]:
        """Give the first `limit` assets behind a position, oldest first."""

    async def count_assets(self, matching: AssetFilter) -> int:
        """Say how many assets there are."""

    async def search_assets(self, text: str, *, limit: int) -> list[Asset]:
        """Find `text` in symbols and names, whatever its case.

        Best first: equal to the symbol, start of the symbol, start of the name, anywhere; then by symbol and name.
        """

    async def native_asset_id(self, symbol: str) -> str | None:
        """Give the id of the asset of type native with this symbol in any case; None unless there is just one."""

    async def add_deployment(self, deployment: AssetDeployment, *, native: bool) -> None:
        """Keep a new deployment; a native one becomes its chain's native asset, where the chain has none yet."""

    async def deployment(self, deployment_id: str) -> AssetDeployment:
        """Give one deployment."""

    async def deployments(self, asset_id: str | None, chain_id: str | None, *, limit: int) -> list[AssetDeployment]:
        """Give the deployments of an asset, of a chain, or of an asset on a chain."""

    async def add_chain(self, chain: Chain) -> None:
        """Keep a new chain."""

    async def chain(self, chain_id: str) -> Chain:
        """Give one chain."""

    async def chains(self, chain_type: str | None, *, limit: int) -> list[Chain]:
        """Give the chains of a type, or all."""

    async def add_venue(self, venue: Venue) -> None:
        """Keep a new venue."""

    async def venue(self, venue_id: str) -> Venue:
        """Give one venue."""

    async def venues(self, venue_type: VenueType.ValueType | None, chain_id: str | None, *, limit: int) -> list[Venue]:
        """Give the venues of a type, on a chain, or all."""

    async def add_venue_asset(self, venue_asset: VenueAsset) -> None:
        """Keep a new listing."""

    async def venue_asset(self, venue_id: str, asset_id: str) -> VenueAsset:
        """Give one listing."""

    async def venue_assets(self, venue_id: str | None, asset_id: str | None, *, limit: int) -> list[VenueAsset]:
        """Give what a venue lists, or where an asset is listed."""


def changed(asset: Asset, changes: Asset) -> Asset:
    """The asset with the fields that are present in `changes`, each as a whole.

    >>> changed(Asset(symbol="MATIC", name="Polygon"), Asset(symbol="POL")).name
    'Polygon'
    """
    result = Asset()
    result.CopyFrom(asset)
    for field, _ in changes.ListFields():
        # Merged into what is there, the parts of a time and of metadata would be a mixture of both.
        result.ClearField(field.name)  # type: ignore[arg-type]
    result.MergeFrom(changes)
    return result


def already_exists(record: Record) -> AlreadyExists:
    """The error for a record that is there already.

    >>> str(already_exists(Asset(symbol="BTC", name="Bitcoin")))
    'asset already exists: BTC (Bitcoin)'
    """
    match record:
        case Asset():
            what = f"asset already exists: {record.symbol} ({record.name})"
        case Chain():
            what = f"chain already exists: {record.chain_id} ({record.chain_name})"
        case AssetDeployment():
            what = f"deployment already exists: {record.address or 'native asset'} on chain {record.chain_id}"
        case Venue():
            where = f" on chain {record.chain_id}" if record.chain_id else ""
            what = f"venue already exists: {record.name}{where}"
        case VenueAsset():
            what = f"venue asset already exists: {venue_asset_key(record.venue_id, record.asset_id)}"
    return AlreadyExists(what)


def in_use(asset_id: str) -> FailedPrecondition:
    """The error for an asset that cannot be deleted."""
    return FailedPrecondition(f"asset {asset_id} is in use: a chain, a deployment or a venue asset refers to it")


def venue_asset_key(venue_id: str, asset_id: str) -> str:
    """A listing's id in words.

    >>> venue_asset_key("v-1", "a-1")
    'a-1 at venue v-1'
    """
    return f"{asset_id} at venue {venue_id}"
