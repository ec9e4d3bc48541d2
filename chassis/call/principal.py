from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, as the credentials proved it.

    `expires_at` is in seconds since the epoch. `token` is the credential itself, for outgoing calls on the
    caller's behalf; it is in no repr and no log.

    >>> Principal("cqmd", "service", "api_key", token="s3cret")
    Principal(id='cqmd', kind='service', scheme='api_key')
    """

    id: str
    kind: Literal["service", "user"]
    scheme: str
    claims: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, repr=False, compare=False)
    expires_at: float | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False, compare=False)

    @property
    def actor_id(self) -> str:
        """The platform's way to name who did something: `service:{name}` or `user:{uuid}`.

        >>> Principal("cqmd", "service", "api_key").actor_id
        'service:cqmd'
        """
        return f"{self.kind}:{self.id}"
