from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from chassis.auth.authenticator import refused
from chassis.auth.jws import looks_like_jws
from chassis.call import Principal

MIN_KEY_CHARACTERS = 16
MAX_KEY_CHARACTERS = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASHED = "sha256:"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_UNNAMED_DOMAIN = b"cq-chassis api key id\0"


class ApiKeyAuthenticator:
    """Accepts API keys, each of which says which service is calling.

    | an entry of a list | means |
    |---|---|
    | `key` | a key without a name; its principal's id is `key-` and 8 hex digits that do not lead back to the key |
    | `name:key` | a key of `name`; the first colon divides, so a key without a name cannot have one |
    | `name:sha256:HEX`, `sha256:HEX` | the same, where only the key's SHA-256 is written down (64 hex digits) |

    A mapping gives a key or several for each name; its keys may hold colons, and `sha256:HEX` means the same there.
    Several keys of one name are good at the same time, so a key can be replaced without a pause.

    A key has 16 to 512 printable ASCII characters without spaces. Only digests are kept.

    Raises ValueError for entries that are weak, malformed or the same key under two names. The message counts entries
    from 1 and never shows one.

    >>> authenticator = ApiKeyAuthenticator(["cqmd:dev_key_cqmd_12345", "dev_key_without_name"])
    >>> authenticator.authenticate("dev_key_cqmd_12345")
    Principal(id='cqmd', kind='service', scheme='api_key')
    >>> authenticator.authenticate("dev_key_without_name").id
    'key-6f497102'
    >>> authenticator.authenticate("dev_key_cqmd_12346")
    Traceback (most recent call last):
    chassis.errors.Unauthorized: invalid or expired credentials
    """

    __slots__ = ("_names", "_secret")

    def __init__(self, keys: Iterable[str] | Mapping[str, str | Iterable[str]]) -> None:
        entries, problems = _read(keys)
        if not entries and not problems:
            problems = ["there are none; give at least one, or leave API keys out"]
        if problems:
            raise ValueError("API keys: " + "; ".join(problems))
        # Keys are looked up by a keyed hash of their digest, under a secret that this object made up for itself. How
        # long a dictionary takes depends on that hash alone, and what a caller cannot compute tells him nothing about
        # how near a guess was: constant time in the sense of hmac.compare_digest, at one price for any number of keys.
        # (Looked up by the bare digest, the time could tell of leading bits, and guesses be sorted out at home.)
        self._secret = secrets.token_bytes(32)
        self._names = {self._tag(entry.digest): entry.name for entry in entries}

    def authenticate(self, token: str) -> Principal:
        """Give the principal whose key this is; a service, with the key's name as its id.

        Raises `Unauthorized` for every other text.
        """
        # The length first, so that a megabyte of nonsense is not hashed.
        if not 0 < len(token) <= MAX_KEY_CHARACTERS or not token.isascii():
            raise refused("an API key of impossible form")
        name = self._names.get(self._tag(hashlib.sha256(token.encode("ascii")).digest()))
        if name is None:
            raise refused("an unknown API key")
        return Principal(name, "service", "api_key", token=token)

    def __repr__(self) -> str:
        return f"<ApiKeyAuthenticator of {len(set(self._names.values()))} names>"

    def _tag(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class _Entry(NamedTuple):
    name: str
    digest: bytes


def _read(keys: object) -> tuple[list[_Entry], list[str]]:
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        return [], ["must be a list of keys, or a mapping of a name to its keys"]
    entries: list[_Entry] = []
    problems: list[str] = []
    where_is: dict[bytes, tuple[str, str]] = {}
    for where, name, text in _pairs(keys):
        try:
            entry = _entry(name, text)
        except ValueError as problem:
            problems.append(f"{where} {problem}")
            continue
        first, owner = where_is.setdefault(entry.digest, (where, entry.name))
        if owner != entry.name:
            problems.append(f"{where} is the same key as {first}, under another name")
        elif first == where:
            entries.append(entry)
    return entries, problems


def _pairs(keys: Iterable[object]) -> Iterable[tuple[str, object, object]]:
    """Go through all entries: how to speak of one (by its place: a text may be a key), its name or None, its text."""
    if not isinstance(keys, Mapping):
        for number, entry in enumerate(keys, 1):
            yield f"entry {number}", None, entry
        return
    for number, (name, several) in enumerate(keys.items(), 1):
        if isinstance(several, (str, bytes)) or not isinstance(several, Iterable):
            yield f"entry {number}", name, several
            continue
        position = 0
        for position, text in enumerate(several, 1):
            yield f"entry {number}, key {position},", name, text
        if not position:
            yield f"entry {number}", name, ""


def _entry(name: object, text: object) -> _Entry:
    if not isinstance(text, str):
        raise ValueError("must be text")
    if name is None and not text.startswith(_HASHED):
        before, colon, after = text.partition(":")
        if colon:
            name, text = before, after
    if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        raise ValueError(
            "has a name that is none: up to 64 letters, digits and ._- stand before the colon "
            "(a key that holds a colon needs a name)"
        )
    if text.startswith(_HASHED):
        hexadecimal = text.removeprefix(_HASHED)
        if not _DIGEST.fullmatch(hexadecimal):
            raise ValueError("must have 64 hex digits after sha256:")
        digest = bytes.fromhex(hexadecimal)
    else:
        _check_key(name, text)
        digest = hashlib.sha256(text.encode("ascii")).digest()
    # The Go sibling takes the key itself for the identity, and it ends in every log line and database row.
    return _Entry(name or "key-" + hashlib.sha256(_UNNAMED_DOMAIN + digest).hexdigest()[:8], digest)


def _check_key(name: object, key: str) -> None:
    if not key.strip():
        raise ValueError("is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("must be of printable ASCII characters without spaces")
    if not MIN_KEY_CHARACTERS <= len(key) <= MAX_KEY_CHARACTERS:
        raise ValueError(f"has {len(key)} characters; a key has {MIN_KEY_CHARACTERS} to {MAX_KEY_CHARACTERS}")
    if key == name:
        raise ValueError("has its key as its name, and names are shown in logs")
    if looks_like_jws(key):
        raise ValueError("is a JSON Web Token, not an API key")
