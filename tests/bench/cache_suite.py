"""Protobuf messages read from Redis: the cache of a service beside redis-py."""

from __future__ import annotations

from functools import partial

from tests.bench.client_suite import client, client_suite
from tests.bench.statistics import Goal
from tests.bench.suite import Suite, faster

_one = partial(client, "cache_clients", at_once=1, tracing=0.1)
_many = partial(client, "cache_clients", at_once=32, tracing=0.1)

_REDIS_ONE = _one("redis-py get, decode, one at a time", "redis", 2_000)
_REDIS = _many("redis-py get, decode, 32 at once", "redis", 3_000)
_CHASSIS_ONE = _one("chassis cache get, one at a time", "chassis", 2_000)
_CHASSIS = _many("chassis cache get, 32 at once", "chassis", 10_000)

_GOALS = [
    faster(_CHASSIS_ONE, _REDIS_ONE, Goal(0.90, 2)),
    faster(_CHASSIS, _REDIS, Goal(3, 8)),
]


def cache_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return client_suite(
        *("cache", "Reading from the cache", "reads"),
        [_REDIS_ONE, _REDIS, _CHASSIS_ONE, _CHASSIS],
        _GOALS,
        server="redis",
        scale=scale,
    )
