from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from chassis.cache.backend import BackendFailure


class MemoryBackend:
    """A cache within one process, for tests and for services without Redis: the same behaviour, shared with nobody.

    It holds `max_entries` and forgets those first that were not asked for the longest. `clock` is in seconds.

    >>> import asyncio
    >>> async def main():
    ...     backend = MemoryBackend()
    ...     await backend.start()
    ...     await backend.set(b"asset:1", b"gold", ttl=60, timeout=None)
    ...     return await backend.get(b"asset:1", None)
    >>> asyncio.run(main())
    b'gold'
    """

    system = "memory"
    span_attributes: Mapping[str, str | int] = MappingProxyType({})

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        self._max_entries = max_entries
        self._clock = clock
        self._entries: dict[bytes, tuple[bytes, float | None]] = {}
        self._running = False

    def __len__(self) -> int:
        return len(self._entries)

    async def start(self) -> None:
        """Begin, with nothing in it."""
        self._entries.clear()
        self._running = True

    async def stop(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._running = False

    async def check(self) -> None:
        """Raise if it is not running."""
        if not self._running:
            raise BackendFailure("it is not running")

    async def get(self, key: bytes, timeout: float | None) -> bytes | None:
        """The value of a key, None where there is none."""
        await self.check()
        entry = self._entries.pop(key, None)
        if entry is None or self._is_over(entry):
            return None
        self._entries[key] = entry  # at the end: it was asked for last
        return entry[0]

    async def set(self, key: bytes, value: bytes, ttl: float, timeout: float | None) -> None:
        """Keep a value for `ttl` seconds, for ever where that is 0."""
        await self.check()
        self._entries.pop(key, None)
        if len(self._entries) >= self._max_entries:
            self._make_room()
        self._entries[key] = (value, self._clock() + ttl if ttl else None)

    async def delete(self, keys: Sequence[bytes], timeout: float | None) -> int:
        """Forget keys; returns how many of them there were."""
        await self.check()
        entries = [self._entries.pop(key, None) for key in keys]
        return sum(entry is not None and not self._is_over(entry) for entry in entries)

    async def exists(self, key: bytes, timeout: float | None) -> bool:
        """Whether there is a value."""
        await self.check()
        entry = self._entries.get(key)
        return entry is not None and not self._is_over(entry)

    def _is_over(self, entry: tuple[bytes, float | None]) -> bool:
        return entry[1] is not None and entry[1] <= self._clock()

    def _make_room(self) -> None:
        over = [key for key, entry in self._entries.items() if self._is_over(entry)]
        for key in over or [next(iter(self._entries))]:
            del self._entries[key]
