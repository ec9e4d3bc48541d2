"""Records as rows: each table of schema.sql, and what lies between a row and its protobuf message.

>>> from cqc.venues.v1.venue_asset_pb2 import VenueAsset
>>> listing = VenueAsset(venue_id="v-1", asset_id="a-1", is_active=True)
>>> [value for value in VENUE_ASSETS.values(listing) if value is not None]
['v-1', 'a-1', True]
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final, Generic, TypeVar

from cqc.assets.v1.asset_pb2 import Asset
from cqc.assets.v1.chain_pb2 import Chain
from cqc.assets.v1.deployment_pb2 import AssetDeployment
from cqc.venues.v1.venue_asset_pb2 import VenueAsset
from cqc.venues.v1.venue_pb2 import Venue
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.errors import InvalidInput
from examples.asset_registry.store import Record

R = TypeVar("R", bound=Record)


class Table(Generic[R]):
    """One table and the message that is a row of it: columns have the names of the message's fields, the id is first.

    Times are kept in whole microseconds, metadata as JSON.
    """

    def __init__(self, name: str, message: type[R]) -> None:
        self.name = name
        self.columns = tuple(field.name for field in message.DESCRIPTOR.fields)
        placeholders = ", ".join(f"${number}" for number, _ in enumerate(self.columns, start=1))
        self.select = f"SELECT {', '.join(self.columns)} FROM {name}"
        self.select_by_id = f"{self.select} WHERE {self.columns[0]} = $1"
        self.insert = f"INSERT INTO {name} ({', '.join(self.columns)}) VALUES ({placeholders})"
        self._message = message

    def values(self, record: Message) -> list[Any]:
        """The values of all columns, None for an absent field; raises `InvalidInput` for what JSON cannot hold."""
        return [_value(record, column) if record.HasField(column) else None for column in self.columns]

    def record(self, row: Mapping[str, Any]) -> R:
        """The record in a row."""
        record = self._message()
        for column in self.columns:
            if (value := row[column]) is not None:
                _set(record, column, value)
        return record


ASSETS: Final = Table("assets", Asset)
CHAINS: Final = Table("chains", Chain)
DEPLOYMENTS: Final = Table("deployments", AssetDeployment)
VENUES: Final = Table("venues", Venue)
VENUE_ASSETS: Final = Table("venue_assets", VenueAsset)


def _value(record: Message, column: str) -> Any:
    value = getattr(record, column)
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC)
    if isinstance(value, Struct):
        try:
            return json_format.MessageToJson(value, indent=None)
        except ValueError:
            raise InvalidInput.field(column, "must be what JSON can hold, which infinity and NaN are not") from None
    return value


def _set(record: Message, column: str, value: Any) -> None:
    field = getattr(record, column)
    if isinstance(field, Timestamp):
        field.FromDatetime(value)
    elif isinstance(field, Struct):
        field.SetInParent()
        json_format.Parse(value, field)
    else:
        setattr(record, column, value)
