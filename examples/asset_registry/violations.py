"""What it means that the database refused a row: the names of schema.sql in the words of `store`.

>>> from cqc.assets.v1.deployment_pb2 import AssetDeployment
>>> deployment = AssetDeployment(asset_id="a-1", chain_id="404", address="0x1")
>>> str(refused("deployments_chain_id_fkey", deployment)), str(refused("deployments_address_key", deployment))
('chain not found: 404', 'deployment already exists: 0x1 on chain 404')
>>> refused("of_another_table", deployment) is None
True
"""

from __future__ import annotations

from typing import Final

from chassis.errors import ChassisError, NotFound
from examples.asset_registry.store import Record, already_exists

_TAKEN: Final = frozenset(
    {
        *("assets_pkey", "assets_symbol_name_key"),
        *("chains_pkey", "chains_name_key"),
        *("deployments_pkey", "deployments_address_key"),
        *("venues_pkey", "venues_name_key"),
        "venue_assets_pkey",
    }
)

_REFERENCES: Final = {
    "chains_native_asset_id_fkey": ("asset", "native_asset_id"),
    "deployments_asset_id_fkey": ("asset", "asset_id"),
    "deployments_chain_id_fkey": ("chain", "chain_id"),
    "venues_chain_id_fkey": ("chain", "chain_id"),
    "venue_assets_venue_id_fkey": ("venue", "venue_id"),
    "venue_assets_asset_id_fkey": ("asset", "asset_id"),
    "venue_assets_deployment_id_fkey": ("deployment", "deployment_id"),
}
"""What each foreign key looks for, and the field that has its id."""

KNOWN: Final = _TAKEN | _REFERENCES.keys()


def refused(constraint: str | None, record: Record) -> ChassisError | None:
    """The error for a record that violates a constraint; None for a constraint that says nothing to callers."""
    if constraint in _TAKEN:
        return already_exists(record)
    if constraint in _REFERENCES:
        noun, field = _REFERENCES[constraint]
        return NotFound.of(noun, getattr(record, field))
    return None
