"""Keys as the Go sibling builds them, and what cannot be one."""

from __future__ import annotations

import re

from chassis.errors import InvalidInput

# Control characters (C0, DEL, C1), line and paragraph separators, and halves of characters, which have no UTF-8.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def cache_key(prefix: str, *parts: str | int) -> str:
    """Join a prefix and parts with `:`, leaving out those that are empty.

    A `:` within a part stays as it is, as it does in the Go sibling: where ids may have one, put the id last, or two
    entries could share a key. Raises `InvalidInput` for control characters, and where nothing is left.

    >>> cache_key("venue_asset", "binance", "btc"), cache_key("page", "", 7)
    ('venue_asset:binance:btc', 'page:7')
    """
    key = ":".join([text for part in (prefix, *parts) if (text := _text(part))])
    encode_key(key)
    return key


def encode_key(key: str) -> bytes:
    """The bytes of a key; raises `InvalidInput` for what is none.

    >>> encode_key("asset:a-1")
    b'asset:a-1'
    """
    if not isinstance(key, str):
        raise TypeError(f"a key of the cache is a text, not {type(key).__name__}: make it with cache_key")
    if not key:
        raise InvalidInput("a key of the cache must not be empty")
    if not (key.isascii() and key.isprintable()) and _FORBIDDEN.search(key):
        raise InvalidInput("a key of the cache must not have control characters in it")
    return key.encode()


def entity_of(key: str) -> str:
    """What kind of thing a key is for: its first part, or nothing where it has one part alone.

    >>> entity_of("asset:a-1"), entity_of("leader")
    ('asset', '')
    """
    entity, colon, _ = key.partition(":")
    return entity if colon else ""


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, int) and not isinstance(part, bool):
        return str(part)
    raise TypeError(f"a key of the cache is made of texts and whole numbers, not of {type(part).__name__}")
