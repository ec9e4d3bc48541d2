"""The compact form of a signed token (RFC 7515, section 7.1), taken apart without any tolerance."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from chassis.auth.claims import Invalid

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class Segments(NamedTuple):
    """The decoded parts of a token."""

    header: bytes
    payload: bytes
    signature: bytes


def looks_like_jws(token: str) -> bool:
    """Whether a text has the form of a signed token: it starts as JSON does in base64, and has two dots.

    >>> looks_like_jws("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"), looks_like_jws("dev_key_cqmd_12345")
    (True, False)
    """
    return token.startswith("eyJ") and token.count(".") == 2


def split(token: str) -> Segments:
    """Take a token apart: three parts, each the one and only base64url text of its bytes, without padding.

    Raises Invalid.
    """
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise Invalid("it is not a signed token in compact form")
    return Segments(*(_decoded(part) for part in match.groups()))


def _decoded(part: str) -> bytes:
    if len(part) % 4 == 1:
        raise Invalid("a part is not base64url")
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    # The last character can carry bits that decoding drops; then several texts would be one token.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != part:
        raise Invalid("a part is not base64url")
    return data
