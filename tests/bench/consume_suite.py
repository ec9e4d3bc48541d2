"""Events consumed, each acknowledged: the subscriptions of a service beside nats-py and FastStream."""

from __future__ import annotations

from functools import partial

from tests.bench.client_suite import client, client_suite
from tests.bench.statistics import Goal
from tests.bench.suite import Suite, faster

_variant = partial(client, "consume_clients")

_ALL: dict[str, object] = {"tracing": 0.1}
_NONE: dict[str, object] = {"tracing": None, "bare_seam": True}

_FETCH = _variant("nats-py fetch(100), ack", "fetch", 4_000)
_PUSHED = _variant("nats-py push, decode, ack", "pushed", 6_000)
_PULL = _variant("FastStream pull_sub(100), decode, ack", "pull", 1_500)
_PUSH = _variant("FastStream push, decode, ack", "push", 2_000)
_CHASSIS = _variant("chassis, 64 handlers at once", "chassis", 6_000, concurrency=64, **_ALL)
_CHASSIS_ONE = _variant("chassis, one handler at a time", "chassis", 4_000, concurrency=1, **_ALL)
_CHASSIS_ALONE = _variant("chassis, 64 at once, no concern", "chassis", 8_000, concurrency=64, **_NONE)

_VARIANTS = [_FETCH, _PUSHED, _PULL, _PUSH, _CHASSIS, _CHASSIS_ONE, _CHASSIS_ALONE]

_GOALS = [
    faster(_CHASSIS, _FETCH, Goal(2, 2.5)),
    faster(_CHASSIS, _PULL, Goal(5, 8)),
    faster(_CHASSIS, _PUSH),
    faster(_CHASSIS_ONE, _FETCH),
    faster(_CHASSIS_ALONE, _FETCH, Goal(2, 2.5)),
    faster(_CHASSIS_ALONE, _PULL, Goal(5, 8)),
    # What nats-py itself does best, without a bound on what waits in the process.
    faster(_CHASSIS, _PUSHED),
    faster(_CHASSIS_ALONE, _PUSHED),
    faster(_PULL, _FETCH),
]


def consume_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return client_suite(*("consume", "Consuming events", "events"), _VARIANTS, _GOALS, server="nats", scale=scale)
