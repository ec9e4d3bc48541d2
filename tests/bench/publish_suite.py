"""Events published and confirmed: the bus of a service beside nats-py and FastStream."""

from __future__ import annotations

from functools import partial

from tests.bench.client_suite import client, client_suite
from tests.bench.statistics import Goal
from tests.bench.suite import Suite, faster

_one = partial(client, "publish_clients", window=1)
_many = partial(client, "publish_clients", window=256)

_ALL: dict[str, object] = {"tracing": 0.1}
_NONE: dict[str, object] = {"tracing": None, "bare_seam": True}

_JS_ONE = _one("js.publish, one at a time", "nats", 1_500)
_JS = _many("js.publish, gather 256", "nats", 2_560)
_JS_ASYNC = _many("js.publish_async, window 256", "nats_async", 5_120)
_FASTSTREAM = _many("FastStream publish, gather 256", "faststream", 2_048)
_CHASSIS_ONE = _one("chassis publish, one at a time", "chassis", 1_500, **_ALL)
_CHASSIS = _many("chassis publish, gather 256", "chassis", 5_120, **_ALL)
_CHASSIS_ALL = _many("chassis publish_all, window 256", "publish_all", 5_120, **_ALL)
_CHASSIS_ALONE = _many("chassis publish_all, no concern", "publish_all", 5_120, **_NONE)

_VARIANTS = [_JS_ONE, _JS, _JS_ASYNC, _FASTSTREAM, _CHASSIS_ONE, _CHASSIS, _CHASSIS_ALL, _CHASSIS_ALONE]
_GOALS = [
    faster(_CHASSIS_ALL, _JS, Goal(1.8, 2.3)),
    faster(_CHASSIS_ALL, _FASTSTREAM, Goal(3, 4)),
    faster(_CHASSIS, _JS),
    faster(_CHASSIS, _FASTSTREAM),
    faster(_CHASSIS_ALONE, _JS, Goal(1.8, 2.3)),
    faster(_CHASSIS_ALONE, _FASTSTREAM, Goal(3, 4)),
    # What nats-py itself does best.
    faster(_CHASSIS_ALL, _JS_ASYNC),
    faster(_CHASSIS_ALONE, _JS_ASYNC),
    faster(_CHASSIS_ONE, _JS_ONE),
]


def publish_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return client_suite(*("publish", "Publishing events", "events"), _VARIANTS, _GOALS, server="nats", scale=scale)
