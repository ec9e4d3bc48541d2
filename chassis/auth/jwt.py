from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from chassis.auth import claims as rules
from chassis.auth.authenticator import refused
from chassis.auth.claims import Invalid
from chassis.auth.jws import split
from chassis.auth.public_key import choose_algorithms, load_public_key
from chassis.call import Principal

_SERVICE = "service:"
_USER = "user:"


class JwtAuthenticator:
    """Accepts JSON Web Tokens signed by whoever holds the private half of `public_key`.

    `public_key` is PEM text; `algorithms` names those to accept (default: RS256, RS384 and RS512 for an RSA key, for
    other keys the one that fits). `issuer` and `audience` are one or several, one of which the token must name; a
    token for an audience is refused where none is configured. `leeway` is in seconds, for clocks that differ.
    Tokens longer than `max_token_bytes` are refused unread. `cache_size` verified tokens are remembered until they
    expire (0: none); `clock` gives the current unix second.

    `exp` and `sub` are required. A `sub` of `service:{id}` is a service, any other is a user, with the id behind
    `user:` where it has that prefix. The principal's `expires_at` is `exp` and the leeway; its `claims` are all of the
    token's, the raw `sub` and `exp` among them, read-only, with arrays as tuples. Keys and addresses of keys that a
    token brings along are never used (RFC 8725).

    Raises ValueError for a key or an option that would not be safe; the message shows nothing of the key.
    """

    def __init__(
        self,
        public_key: str | bytes,
        *,
        algorithms: Sequence[str] | None = None,
        issuer: str | Collection[str] | None = None,
        audience: str | Collection[str] | None = None,
        leeway: float = 0.0,
        max_token_bytes: int = 8192,
        cache_size: int = 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Here and not above: together with its cryptography it takes longer to import than all the rest of a service.
        from jwt import PyJWS

        self._key = load_public_key(public_key)
        self._algorithms = choose_algorithms(self._key, algorithms)
        self._issuers = _names("issuer", issuer)
        self._audiences = _names("audience", audience)
        if not math.isfinite(leeway) or leeway < 0:
            raise ValueError("leeway must be 0 or more seconds")
        if max_token_bytes <= 0:
            raise ValueError("max_token_bytes must be more than 0")
        if cache_size < 0:
            raise ValueError("cache_size must be 0 or more")
        self._leeway = float(leeway)
        self._max_token_bytes = max_token_bytes
        self._cache_size = cache_size
        self._clock = clock
        self._jws = PyJWS(algorithms=self._algorithms)
        # By the token itself: the principal holds it anyway, so a hash of it would keep nothing secret and cost more.
        # Only what was verified gets in, so only holders of good tokens can push others out, and who is pushed out
        # is verified once more: the oldest goes, which needs no work on a hit.
        self._verified: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that are accepted."""
        return self._algorithms

    def authenticate(self, token: str) -> Principal:
        """Give the principal that a token names.

        Raises `Unauthorized` for every token that is not good now.
        """
        known = self._verified.get(token)
        if known is not None:
            if self._clock() < known[0]:
                return known[1]
            self._verified.pop(token, None)
            raise refused("JWT: it has expired")
        if len(token) > self._max_token_bytes or not token.isascii():
            raise refused("JWT: it is too long, or not ASCII")
        try:
            principal = self._verify(token)
        except Invalid as invalid:
            reason = str(invalid)
        else:
            self._remember(token, principal)
            return principal
        # Outside of the except block: no exception that saw the token hangs on this one, not even as its context.
        raise refused(f"JWT: {reason}")

    def __repr__(self) -> str:
        return f"<JwtAuthenticator {', '.join(self._algorithms)}>"

    def _verify(self, token: str) -> Principal:
        segments = split(token)
        algorithm = rules.check_header(rules.parse(segments.header), self._algorithms)
        if not self._signed(token, algorithm):
            raise Invalid("its signature is not that of the configured key")
        claims = rules.parse(segments.payload)
        expires_at = rules.check_times(claims, self._clock(), self._leeway)
        rules.check_parties(claims, self._issuers, self._audiences)
        name, kind = _identity(rules.check_subject(claims))
        # With the leeway: this is the moment for ending a stream too, and a token in its leeway is still good.
        return Principal(name, kind, "jwt", rules.frozen(claims), expires_at + self._leeway, token)

    def _signed(self, token: str, algorithm: str) -> bool:
        try:
            self._jws.decode(token, key=self._key, algorithms=[algorithm])
        except Exception:
            # Whatever a library raises over a token, key and algorithm being in order, is about the token; and its
            # text may quote it.
            return False
        return True

    def _remember(self, token: str, principal: Principal) -> None:
        if not self._cache_size or principal.expires_at is None:
            return
        while len(self._verified) >= self._cache_size:
            self._verified.popitem(last=False)
        self._verified[token] = (principal.expires_at, principal)


def _names(what: str, value: str | Collection[str] | None) -> frozenset[str]:
    if value is None:
        return frozenset()
    names = frozenset([value] if isinstance(value, str) else value)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"{what} must be text that is not empty, or a list of such; leave it out not to check it")
    return names


def _identity(subject: str) -> tuple[str, Literal["service", "user"]]:
    kind: Literal["service", "user"] = "service" if subject.startswith(_SERVICE) else "user"
    name = subject.removeprefix(_SERVICE if kind == "service" else _USER)
    if not name or name != name.strip():
        raise Invalid("its 'sub' names nobody")
    return name, kind
