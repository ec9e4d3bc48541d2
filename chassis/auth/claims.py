"""What a token must say of itself to be believed: its header before the signature is checked, its claims after that."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

MAX_SUBJECT_CHARACTERS = 255  # OpenID Connect Core 1.0, section 2
MAX_LEVELS = 32  # of JSON in JSON; without a limit of our own it is that of the Python version
MAX_UNIX_SECONDS = 253_402_300_799.0  # the end of the year 9999, where calendars of most libraries end

# Absent, or an access token: other types (logout tokens, DPoP proofs, identity events) are signed with the same keys
# but were never meant to let anyone in (RFC 8725, section 3.11).
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

# What changes how a token is to be read (RFC 7515 4.1.11, RFC 7797, RFC 7516), and what offers a key of the sender's
# (RFC 7515 4.1.2 to 4.1.5). Nothing here ever follows one, so a token that asks for it is not one of ours. The
# thumbprints (x5t) and the chain (x5c) that large issuers put into every token ask for nothing and are not looked at.
_REFUSED_HEADERS = ("crit", "b64", "zip", "enc", "jwk", "jku", "x5u")


class Invalid(Exception):
    """A token is not acceptable; the text says why in words of our own and holds nothing of the token."""


def parse(data: bytes) -> dict[str, Any]:
    """Read a JSON object as strictly as a signed text deserves: UTF-8, no name twice, no NaN, not nested deeply.

    Raises Invalid.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid("a part is not a JSON object, or holds a name twice")
    level: list[Any] = [value]
    for _ in range(MAX_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise Invalid("a part is nested too deeply")


def check_header(header: Mapping[str, Any], algorithms: Collection[str]) -> str:
    """Give the algorithm of a token, which is one of `algorithms` exactly as written there.

    Raises Invalid.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Invalid("its algorithm is not one that is accepted here")
    for name in _REFUSED_HEADERS:
        if name in header:
            raise Invalid(f"its header has {name!r}, which is not accepted")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Invalid("its header's 'typ' is not that of an access token")
    key_id = header.get("kid", "")
    if not isinstance(key_id, str) or len(key_id) > MAX_SUBJECT_CHARACTERS or not key_id.isprintable():
        raise Invalid("its header's 'kid' is malformed")
    return algorithm


def check_times(claims: Mapping[str, Any], now: float, leeway: float) -> float:
    """Give the unix second at which a token expires, after checking `exp`, `nbf` and `iat` (RFC 7519, section 4.1).

    Raises Invalid.
    """
    if "exp" not in claims:
        raise Invalid("it has no 'exp'")
    expires_at = _seconds(claims, "exp")
    if expires_at <= now - leeway:
        raise Invalid("it has expired")
    if "nbf" in claims and _seconds(claims, "nbf") > now + leeway:
        raise Invalid("it is not valid yet ('nbf')")
    if "iat" in claims and _seconds(claims, "iat") > now + leeway:
        raise Invalid("it was issued in the future ('iat')")
    return expires_at


def check_parties(claims: Mapping[str, Any], issuers: Collection[str], audiences: Collection[str]) -> None:
    """Check who issued a token and whom it is meant for; an empty collection stands for "not configured".

    A token that names an audience is refused where none is configured: it was made for somebody, and nothing says
    that it was for this service (RFC 7519, section 4.1.3).

    Raises Invalid.
    """
    if "iss" in claims and not isinstance(claims["iss"], str):
        raise Invalid("its 'iss' is not a string")
    if issuers and claims.get("iss") not in issuers:
        raise Invalid("its 'iss' is not the configured issuer")
    if "jti" in claims and not isinstance(claims["jti"], str):
        raise Invalid("its 'jti' is not a string")
    if "aud" not in claims:
        if audiences:
            raise Invalid("it has no 'aud'")
        return
    if not audiences:
        raise Invalid("it has an 'aud', and no audience is configured here (auth.jwt_audience)")
    named = claims["aud"]
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise Invalid("its 'aud' is neither a string nor a list of strings")
    if not any(one in audiences for one in named):
        raise Invalid("its 'aud' is not the configured audience")


def check_subject(claims: Mapping[str, Any]) -> str:
    """Give the subject of a token: printable text of 1 to 255 characters without spaces around it.

    Raises Invalid.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise Invalid("it has no 'sub'")
    # isprintable also refuses what would forge a log line or a screen: line ends, bidi and zero-width characters.
    if len(subject) > MAX_SUBJECT_CHARACTERS or not subject.isprintable() or subject != subject.strip():
        raise Invalid("its 'sub' is malformed")
    return subject


def frozen(value: Any) -> Any:
    """Give a read-only copy of parsed JSON: objects as read-only mappings, arrays as tuples."""
    if isinstance(value, dict):
        return MappingProxyType({name: frozen(one) for name, one in value.items()})
    if isinstance(value, list):
        return tuple(frozen(one) for one in value)
    return value


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    # A bool is an int in Python. Comparing comes before float(): 10**400 has no float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_UNIX_SECONDS:
        raise Invalid(f"its {name!r} is not a time")
    return float(value)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")
