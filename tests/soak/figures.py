"""What a process holds, before and after; and what must be as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MEMORY_MB = 10.0
"""How much larger the process may be afterwards: allocators do not give back every page."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a process holds while it has nothing to do."""

    tasks: int
    descriptors: int
    connections_in_use: int
    database_connections: int
    cache_connections: int
    bus_connections: int
    unhandled: int
    threads: int
    system_threads: int
    memory_mb: float

    def as_json(self) -> dict[str, Any]:
        """For the pipe."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Figures:
        """From the pipe, with whatever else is told there."""
        return cls(**{name: value[name] for name in cls.__slots__})


_NAMES = {
    "tasks": "tasks of asyncio",
    "descriptors": "file descriptors",
    "connections_in_use": "database connections in use",
    "database_connections": "connections to the database",
    "cache_connections": "connections to the cache",
    "bus_connections": "connections to the bus",
    "unhandled": "events not handled yet",
    "threads": "threads of Python",
    "system_threads": "threads of the process",
    "memory_mb": "memory (RSS), MB",
}
MORE_THREADS = 4
"""gRPC's own threads come when there is work and go some seconds later; one for each of so many calls would show."""


def leaked(before: Figures, after: Figures) -> list[str]:
    """The names of what is not back where it was."""
    return [_NAMES[name] for name in _NAMES if not _is_back(name, getattr(before, name), getattr(after, name))]


def _is_back(name: str, before: float, after: float) -> bool:
    if name == "memory_mb":
        return after - before < MEMORY_MB
    return after <= before + MORE_THREADS if name == "system_threads" else after == before


def table(before: Figures, after: Figures) -> Iterator[str]:
    """One line for each figure."""
    yield f"{'':<30}{'before':>10}{'after':>10}"
    for name, title in _NAMES.items():
        old, new = getattr(before, name), getattr(after, name)
        cells = f"{old:>10.1f}{new:>10.1f}" if isinstance(old, float) else f"{old:>10}{new:>10}"
        yield f"{title:<30}{cells}   {'' if _is_back(name, old, new) else 'NOT BACK'}".rstrip()
