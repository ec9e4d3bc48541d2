"""Page tokens: where the next page of a list begins, in a form that callers pass back and do not look into.

>>> here = Position(1_700_000_000_000_000, "7a0c3b52-8a4f-4b1e-9d63-0d5e7f2f9a11")
>>> token = encode(here, "defi")
>>> token
'AAYKJBgeQAB6DDtSik9LHp1jDV5_L5oRRiNSZEKMcKhenoiC'
>>> decode(token, "defi") == here
True
>>> decode(token, "stablecoin")  # doctest: +ELLIPSIS
Traceback (most recent call last):
chassis.errors.InvalidInput: invalid input for page_token: is no token of this list with these filters: ...
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import uuid

from chassis.errors import InvalidInput
from examples.asset_registry.store import Position

_POSITION = struct.Struct(">q16s")
_CHECK_BYTES = 12


def encode(position: Position, *filters: object) -> str:
    """Give the token for the page behind a position, in a list with these filters; URL-safe, 48 characters.

    It holds a checksum, not a signature: who takes the trouble to make one up gets another place in a list that he may
    read anyway, and instances need no common secret.
    """
    packed = _POSITION.pack(position.created_at, uuid.UUID(position.asset_id).bytes)
    checked = packed + json.dumps(filters).encode()
    check = hashlib.blake2b(checked, digest_size=_CHECK_BYTES, person=b"page token").digest()
    return base64.urlsafe_b64encode(packed + check).decode()


def decode(token: str, *filters: object) -> Position:
    """Give the position in a token; raises `InvalidInput` unless `encode` made it for the same filters."""
    try:
        content = base64.urlsafe_b64decode(token)
        created_at, asset_id = _POSITION.unpack(content[: _POSITION.size])
    except (ValueError, struct.error):
        raise _refused() from None
    position = Position(created_at, str(uuid.UUID(bytes=asset_id)))
    if encode(position, *filters) != token:
        raise _refused()
    return position


def _refused() -> InvalidInput:
    return InvalidInput.field(
        "page_token",
        "is no token of this list with these filters: pass next_page_token on as it came, with the same filters, "
        "or leave it out to begin with the first page",
    )
