"""Events consumed, each acknowledged: the subscriptions of a service beside nats-py and FastStream."""

from __future__ import annotations

from tests.bench.statistics import Goal
from tests.bench.suite import Suite, Variant, faster, working

_AT_ONCE = 64

_ALL = {"tracing": 0.1}
_NONE = {"tracing": None, "bare_seam": True}


def _variant(name: str, by: str, count: int, **settings: object) -> Variant:
    return Variant(name, "consume_clients", settings={"by": by, "count": count, **settings})


# How many in a turn: about a quarter of a second of each.
_FETCH = _variant("nats-py fetch(100), ack", "fetch", 4_000)
_PULL = _variant("FastStream pull_sub(100), decode, ack", "pull", 1_500)
_PUSH = _variant("FastStream push, decode, ack", "push", 2_000)
_CHASSIS = _variant("chassis, 64 handlers at once", "chassis", 6_000, concurrency=_AT_ONCE, **_ALL)
_CHASSIS_ONE = _variant("chassis, one handler at a time", "chassis", 4_000, concurrency=1, **_ALL)
_CHASSIS_ALONE = _variant("chassis, 64 at once, no concern", "chassis", 8_000, concurrency=_AT_ONCE, **_NONE)

_VARIANTS = [_FETCH, _PULL, _PUSH, _CHASSIS, _CHASSIS_ONE, _CHASSIS_ALONE]

_GOALS = [
    faster(_CHASSIS, _FETCH, Goal(2, 2.5)),
    faster(_CHASSIS, _PULL, Goal(5, 8)),
    faster(_CHASSIS, _PUSH),
    faster(_CHASSIS_ONE, _FETCH),
    faster(_CHASSIS_ALONE, _FETCH, Goal(2, 2.5)),
    faster(_CHASSIS_ALONE, _PULL, Goal(5, 8)),
    faster(_PULL, _FETCH),
]


def consume_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return Suite(
        *("consume", "Consuming events", "events"),
        _VARIANTS,
        _GOALS,
        working(["nats"], scale),
        turns=3,
        seconds=90,
        subject="client",
        saturates=False,
    )
