"""Events published and confirmed: the bus of a service beside nats-py and FastStream."""

from __future__ import annotations

from tests.bench.statistics import Goal
from tests.bench.suite import Suite, Variant, faster, working

_WINDOW = 256

_ALL = {"tracing": 0.1}
_NONE = {"tracing": None, "bare_seam": True}


def _variant(name: str, by: str, window: int, count: int, **settings: object) -> Variant:
    return Variant(name, "publish_clients", settings={"by": by, "window": window, "count": count, **settings})


# How many in a turn: about a quarter of a second of each.
_JS_ONE = _variant("js.publish, one at a time", "nats", 1, 1_500)
_JS = _variant("js.publish, gather 256", "nats", _WINDOW, 2_560)
_FASTSTREAM = _variant("FastStream publish, gather 256", "faststream", _WINDOW, 2_048)
_CHASSIS_ONE = _variant("chassis publish, one at a time", "chassis", 1, 1_500, **_ALL)
_CHASSIS = _variant("chassis publish, gather 256", "chassis", _WINDOW, 5_120, **_ALL)
_CHASSIS_ALL = _variant("chassis publish_all, window 256", "publish_all", _WINDOW, 5_120, **_ALL)
_CHASSIS_ALONE = _variant("chassis publish_all, no concern", "publish_all", _WINDOW, 5_120, **_NONE)

_VARIANTS = [_JS_ONE, _JS, _FASTSTREAM, _CHASSIS_ONE, _CHASSIS, _CHASSIS_ALL, _CHASSIS_ALONE]
_GOALS = [
    faster(_CHASSIS_ALL, _JS, Goal(1.8, 2.3)),
    faster(_CHASSIS_ALL, _FASTSTREAM, Goal(3, 4)),
    faster(_CHASSIS, _JS),
    faster(_CHASSIS, _FASTSTREAM),
    faster(_CHASSIS_ALONE, _JS, Goal(1.8, 2.3)),
    faster(_CHASSIS_ALONE, _FASTSTREAM, Goal(3, 4)),
    faster(_CHASSIS_ONE, _JS_ONE),
]


def publish_suite(scale: float = 1.0) -> Suite:
    """Each does `scale` times as much as it usually does."""
    return Suite(
        *("publish", "Publishing events", "events"),
        _VARIANTS,
        _GOALS,
        working(["nats"], scale),
        turns=3,
        seconds=70,
        subject="client",
        saturates=False,
    )
