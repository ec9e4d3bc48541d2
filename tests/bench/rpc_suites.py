"""The suites about RPCs: unary calls, the share of each concern, many methods, streams, and latencies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from tests.bench import load, servicer
from tests.bench import variants as v
from tests.bench.child import Child
from tests.bench.statistics import Goal
from tests.bench.suite import LATENCIES, RATES, Comparison, MeasureChild, Suite, Variant, cpu, faster, kept_up, p99

_TURNS = 5
_CALLS = 500  # in each turn
_STREAMS = 16
_MESSAGES = 500  # in each stream
_CALLS_AT_RATE = 1500
_SHARE_OF_TOP_RATE = 0.25


def rpc_suites(*, h2load: bool) -> list[Suite]:
    """All of them; unary calls are made by h2load or by our own client."""

    def calls(children: Mapping[str, Child]) -> MeasureChild:
        request = servicer.request()
        return lambda child: load.closed_by_best(child, servicer.UNARY, request, _CALLS, h2load=h2load)

    unary = kept_up(calls)
    return [
        Suite("unary", "Unary calls", "calls", _UNARY, _UNARY_GOALS, unary, _TURNS, 130),
        Suite("concerns", "What each concern costs", "calls", _CONCERNS, _CONCERN_GOALS, unary, _TURNS, 85),
        Suite("methods", "Many methods", "calls", _METHODS, _METHOD_GOALS, unary, _TURNS, 45),
        Suite(
            "streaming", "Server streaming", "messages", _STREAMING, _STREAMING_GOALS, kept_up(_streaming), _TURNS, 40
        ),
        Suite(
            *("latency", "Latency at a fixed rate", "calls", _STREAMING, _LATENCY_GOALS, kept_up(_at_rate)),
            seconds=55,
            columns=(*RATES, *LATENCIES),
            saturates=False,
        ),
    ]


_UNARY = [
    v.PLAIN,
    v.BARE,
    v.FULL,
    v.ALWAYS,
    v.UNTRACED,
    v.REMEMBERING,
    v.REMEMBERING_ALWAYS,
    v.VERIFYING,
    v.VERIFYING_PLAIN,
    v.VERIFYING_ALWAYS,
]
_UNARY_GOALS = [
    faster(v.FULL, v.BARE, Goal(0.85, 0.92)),
    faster(v.ALWAYS, v.BARE, Goal(0.70, 0.80)),
    faster(v.UNTRACED, v.BARE),
    faster(v.FULL, v.PLAIN, Goal(0.95, 1.05)),
    faster(v.FULL, v.REMEMBERING, Goal(1.6, 1.9)),
    faster(v.ALWAYS, v.REMEMBERING_ALWAYS),
    faster(v.FULL, v.VERIFYING_PLAIN, Goal(2.2, 2.7)),
    faster(v.FULL, v.VERIFYING_ALWAYS),
    faster(v.FULL, v.VERIFYING),
    faster(v.BARE, v.PLAIN),
    faster(v.REMEMBERING, v.BARE),
]

# Each concern's cost is what is saved by leaving it out, with all the others in place.
_SEAM = Variant("chassis, no concern", "chassis_service", settings={"tracing": None, "bare_seam": True})
_LEFT_OUT: dict[str, Sequence[str]] = {
    "tracing (0.1)": ["TracingInterceptor"],
    "metrics": ["MetricsInterceptor"],
    "logging": ["LoggingInterceptor"],
    "auth": ["AuthInterceptor"],
    "deadline, recovery and errors": ["DeadlineInterceptor", "RecoveryInterceptor", "ErrorsInterceptor"],
}
_WITHOUT = {
    name: Variant(f"chassis without {name}", "chassis_service", settings={"tracing": 0.1, "without": classes})
    for name, classes in _LEFT_OUT.items()
}
_CONCERNS = [v.BARE, _SEAM, v.FULL, *_WITHOUT.values()]
_CONCERN_GOALS = [
    *(
        Comparison(name, v.FULL.name, without.name, cpu, Goal(20, 8, at_most=True), "difference", "us")
        for name, without in _WITHOUT.items()
    ),
    Comparison("the seam itself", _SEAM.name, v.BARE.name, cpu, Goal(), "difference", "us"),
    Comparison("all of it", v.FULL.name, v.BARE.name, cpu, Goal(), "difference", "us"),
]

_MANY = 100
_BARE_MANY = Variant(f"bare grpc.aio + uvloop, {_MANY} methods", "bare", settings={"methods": _MANY})
_FULL_MANY = Variant(f"{v.FULL.name}, {_MANY} methods", "chassis_service", settings={"methods": _MANY})
_METHODS = [v.BARE, _BARE_MANY, v.FULL, _FULL_MANY]
_METHOD_GOALS = [
    faster(_FULL_MANY, v.FULL, Goal(0.93, 0.98), "chassis, 100 methods / 4 methods"),
    faster(_BARE_MANY, v.BARE, title="bare grpc.aio, 100 methods / 4 methods"),
    faster(_FULL_MANY, _BARE_MANY, title="chassis / bare grpc.aio, both with 100 methods"),
]

_STREAMING = [v.BARE, v.FULL, v.REMEMBERING]
_STREAMING_GOALS = [
    faster(v.FULL, v.BARE, Goal(0.88, 0.97)),
    faster(v.REMEMBERING, v.BARE),
]


def _streaming(children: Mapping[str, Child]) -> MeasureChild:
    request = servicer.request(_MESSAGES)
    return lambda child: load.closed(child, servicer.STREAM, request, _STREAMS, replies=_MESSAGES, streams=2)


_LATENCY_GOALS = [
    Comparison("p99, chassis / bare grpc.aio", v.FULL.name, v.BARE.name, p99, Goal(1.30, 1.10, at_most=True)),
    Comparison("p99, by hand / bare grpc.aio", v.REMEMBERING.name, v.BARE.name, p99, Goal(at_most=True)),
]


def _at_rate(children: Mapping[str, Child]) -> MeasureChild:
    request = servicer.request()
    bare = children[v.BARE.name]
    tops = [load.closed(bare, servicer.UNARY, request, _CALLS).rate for _ in range(_TURNS)]
    calls_a_second = round(statistics.median(tops) * _SHARE_OF_TOP_RATE)
    return lambda child: load.at_rate(child, servicer.UNARY, request, _CALLS_AT_RATE, calls_a_second)
