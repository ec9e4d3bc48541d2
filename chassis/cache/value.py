"""Messages as they lie in the cache: bare protobuf bytes, the same that the Go sibling writes and reads."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)


def decode(data: bytes, message_type: type[M]) -> M | None:
    """Read a message, or None where the bytes show that they are no such message of this program's schema.

    That are bytes that cannot be parsed, fields that the type does not have (at any depth: another type, or a newer
    schema), and bytes that the message would not be written as (one value after another, fields given twice). What
    bare bytes cannot show: a type whose fields have the same numbers and kinds, a value that lost whole fields, and
    an older schema, whose missing fields read as unset.

    >>> from google.protobuf.wrappers_pb2 import Int64Value, StringValue
    >>> data = Int64Value(value=7).SerializeToString()
    >>> decode(data, Int64Value).value, decode(data, StringValue)
    (7, None)
    """
    try:
        message = message_type.FromString(data)
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    return message if message.ByteSize() == len(data) else None
