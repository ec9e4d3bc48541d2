"""Protobuf messages read from Redis: the cache of a service beside redis-py."""

from __future__ import annotations

from tests.bench.statistics import Goal
from tests.bench.suite import Suite, Variant, faster, working

_MANY = 32


def _variant(name: str, by: str, at_once: int, count: int) -> Variant:
    settings = {"by": by, "at_once": at_once, "count": count, "tracing": 0.1}
    return Variant(name, "cache_clients", settings=settings)


# How many in a turn: about a quarter of a second of each.
_REDIS_ONE = _variant("redis-py get, decode, one at a time", "redis", 1, 2_000)
_REDIS = _variant("redis-py get, decode, 32 at once", "redis", _MANY, 3_000)
_CHASSIS_ONE = _variant("chassis cache get, one at a time", "chassis", 1, 2_000)
_CHASSIS = _variant("chassis cache get, 32 at once", "chassis", _MANY, 10_000)

_GOALS = [
    faster(_CHASSIS_ONE, _REDIS_ONE, Goal(0.90, 2)),
    faster(_CHASSIS, _REDIS, Goal(3, 8)),
]


def cache_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return Suite(
        *("cache", "Reading from the cache", "reads"),
        [_REDIS_ONE, _REDIS, _CHASSIS_ONE, _CHASSIS],
        _GOALS,
        working(["redis"], scale),
        turns=3,
        seconds=40,
        subject="client",
        saturates=False,
    )
