from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class BackendFailure(Exception):
    """The backend did not do what it was asked for; the text says why, for people, without addresses and secrets."""


class Backend(Protocol):
    """Keeps bytes under keys for a time; all else is written once, above it.

    `timeout` is how many seconds the caller has left, None where there is no such limit. A backend has a limit of its
    own besides: no method takes longer than the shorter of the two. Every failure is a BackendFailure; a caller that
    is cancelled leaves nothing behind that others could notice.
    """

    @property
    def system(self) -> str:
        """What it is, in spans and texts: `redis`, `memory`."""

    @property
    def span_attributes(self) -> Mapping[str, str | int]:
        """What spans say of where it is; empty where there is nothing worth a span."""

    async def start(self) -> None:
        """Begin; neither waits for what cannot be reached nor fails because of it."""

    async def stop(self) -> None:
        """End, giving everything back; from here on every method fails."""

    async def check(self) -> None:
        """Raise BackendFailure if it cannot be reached right now."""

    async def get(self, key: bytes, timeout: float | None) -> bytes | None:
        """The value of a key, None where there is none."""

    async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
        """Keep a value for `ttl` seconds, for ever where that is 0; whatever was there is replaced."""

    async def delete(self, keys: Sequence[bytes], timeout: float | None) -> int:
        """Forget keys; returns how many of them there were."""

    async def exists(self, key: bytes, timeout: float | None) -> bool:
        """Whether there is a value."""
