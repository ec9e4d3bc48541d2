"""What may be in a request: said once for all of them, by the names and types of fields.

>>> from cqc.services.v1.asset_registry_pb2 import CreateAssetRequest, ListAssetsRequest
>>> check(CreateAssetRequest(symbol="BTC"), required=("symbol", "name"))
Traceback (most recent call last):
chassis.errors.InvalidInput: invalid input for name: is required
>>> check_filters(ListAssetsRequest(category=""))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.errors import InvalidInput

MAX_CHARACTERS = {
    "api_endpoint": 2048,
    "asset_id": 64,
    "block_explorer_url": 2048,
    "category": 64,
    "chain_id": 64,
    "chain_type": 32,
    "contract_address": 128,
    "deployment_id": 64,
    "description": 4096,
    "logo_url": 2048,
    "name": 128,
    "native_asset_symbol": 32,
    "page_token": 256,
    "query": 128,
    "symbol": 32,
    "venue_asset_symbol": 64,
    "venue_id": 64,
    "website_url": 2048,
}
# Sent empty, these are known to be empty, and an update empties them. The others mean nothing without a text.
_MAY_BE_EMPTY = frozenset(
    {
        "api_endpoint",
        "block_explorer_url",
        "category",
        "chain_type",
        "contract_address",
        "description",
        "logo_url",
        "website_url",
    }
)
_FREE_TEXT = frozenset({"description", "query"})
_URL = re.compile(r"https?://[^/\s]\S*")


def check(request: Message, *, required: Iterable[str] = ()) -> None:
    """Raise `InvalidInput` for the first field that is missing, or is there and cannot be meant.

    Optional fields that are absent are fine: absent means unknown, or in an update unchanged.
    """
    for name in required:
        if not request.HasField(name):
            raise InvalidInput.field(name, "is required")
    for field, value in request.ListFields():
        if value in ("", 0) and field.type in _TEXT_OR_ENUM and field.name not in _MAY_BE_EMPTY:
            raise InvalidInput.field(field.name, _nothing_said(field))
        _check_value(field, value)


def check_filters(request: Message) -> None:
    """Raise `InvalidInput` for the first filter that cannot be meant; an empty one asks for nothing, like no filter."""
    for field, value in request.ListFields():
        _check_value(field, value)


def bounded(field: str, asked: int, *, default: int, most: int) -> int:
    """How many items to give: 0 stands for the default, and who asks for more than the most gets the most.

    >>> bounded("page_size", 0, default=50, most=500), bounded("page_size", 9999, default=50, most=500)
    (50, 500)
    """
    if asked < 0:
        raise InvalidInput.field(field, f"must not be negative, and is {asked}; 0 stands for {default}")
    return min(asked or default, most)


_TEXT_OR_ENUM = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_ENUM)


def _check_value(field: FieldDescriptor, value: Any) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        if problem := _problem_of_text(field.name, value):
            raise InvalidInput.field(field.name, problem)
    elif field.enum_type is not None and value not in field.enum_type.values_by_number:
        raise InvalidInput.field(field.name, f"{value} is no value of {field.enum_type.name}")


def _problem_of_text(name: str, text: str) -> str | None:
    most = MAX_CHARACTERS[name]
    if len(text) > most:
        return f"must have at most {most} characters, and has {len(text)}"
    if name in _FREE_TEXT:
        return "must not contain NUL characters" if "\0" in text else None
    if not text.isprintable():
        return "must not contain line breaks or other control characters"
    if text != text.strip():
        return "must not begin or end with spaces"
    if text and name.endswith("_url") and not _URL.fullmatch(text):
        return "must be an address that begins with https:// or http://"
    return None


def _nothing_said(field: FieldDescriptor) -> str:
    if field.enum_type is None:
        return "must not be empty"
    names = (value.name for value in field.enum_type.values if value.number)
    return f"must not be unspecified; expected is one of {', '.join(names)}"
