"""The suites about RPCs: unary calls, the share of each concern, many methods, streams, and latencies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial

from tests.bench import load, servicer
from tests.bench import variants as v
from tests.bench.child import Child
from tests.bench.concern_suite import concern_suite
from tests.bench.statistics import Goal
from tests.bench.suite import LATENCIES, RATES, Comparison, MeasureChild, Suite, Variant, faster, kept_up, p99

_TURNS = 5
_CALLS = 500  # in each turn
_STREAMS = 16
_MESSAGES = 500  # in each stream
# Of all calls of a round one in a hundred is slower than its p99: 60 of them tell more than 15.
_CALLS_AT_RATE = 1000  # in each turn
_TURNS_AT_RATE = 6
_SHARE_OF_TOP_RATE = 0.25


def rpc_suites(*, h2load: bool, scale: float = 1.0) -> list[Suite]:
    """All of them, with `scale` times as many calls as usual; unary calls are made by h2load or by our own client."""

    def calls(children: Mapping[str, Child]) -> MeasureChild:
        request = servicer.request()
        count = max(round(_CALLS * scale), load.CONNECTIONS * load.STREAMS)
        return lambda child: load.closed_by_best(child, servicer.UNARY, request, count, h2load=h2load)

    unary = kept_up(calls)
    return [
        Suite("unary", "Unary calls", "calls", _UNARY, _UNARY_GOALS, unary, _TURNS),
        concern_suite(unary),
        Suite("methods", "Many methods", "calls", _METHODS, _METHOD_GOALS, unary, _TURNS),
        Suite(
            *("streaming", "Server streaming", "messages", _STREAMING, _STREAMING_GOALS),
            *(kept_up(partial(_streaming, scale)), _TURNS),
        ),
        Suite(
            *("latency", "Latency at a fixed rate", "calls", _STREAMING, _LATENCY_GOALS),
            *(kept_up(partial(_at_rate, scale)), _TURNS_AT_RATE),
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
    v.BARE_SWITCHED,
    v.FULL_SWITCHED,
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
    faster(v.BARE_SWITCHED, v.BARE),
    faster(v.FULL_SWITCHED, v.FULL),
    faster(v.FULL_SWITCHED, v.BARE_SWITCHED),
    faster(v.FULL_SWITCHED, v.PLAIN),
]

_MANY = 100
_BARE_MANY = Variant(f"bare grpc.aio + uvloop, {_MANY} methods", "bare", settings={"methods": _MANY})
_FULL_MANY = Variant(f"{v.FULL.name}, {_MANY} methods", "chassis_service", settings={"methods": _MANY})
_METHODS = [v.BARE, _BARE_MANY, v.FULL, _FULL_MANY]
_METHOD_GOALS = [
    faster(_FULL_MANY, v.FULL, Goal(0.93, 0.98), f"chassis, {_MANY} methods / {servicer.METHODS} methods"),
    faster(_BARE_MANY, v.BARE, title=f"bare grpc.aio, {_MANY} methods / {servicer.METHODS} methods"),
    faster(_FULL_MANY, _BARE_MANY, title="chassis / bare grpc.aio, both with 100 methods"),
]

_STREAMING = [v.BARE, v.FULL, v.REMEMBERING]
_STREAMING_GOALS = [
    faster(v.FULL, v.BARE, Goal(0.88, 0.97)),
    faster(v.REMEMBERING, v.BARE),
]


def _streaming(scale: float, children: Mapping[str, Child]) -> MeasureChild:
    messages = max(round(_MESSAGES * scale), 1)
    request = servicer.request(messages)
    return lambda child: load.closed(child, servicer.STREAM, request, _STREAMS, replies=messages, streams=2)


_LATENCY_GOALS = [
    Comparison("p99, chassis / bare grpc.aio", v.FULL.name, v.BARE.name, p99, Goal(1.30, 1.10, at_most=True)),
    Comparison("p99, by hand / bare grpc.aio", v.REMEMBERING.name, v.BARE.name, p99, Goal(at_most=True)),
]


def _at_rate(scale: float, children: Mapping[str, Child]) -> MeasureChild:
    request = servicer.request()
    bare = children[v.BARE.name]
    # The first one is slow, and does not count.
    tops = [load.closed(bare, servicer.UNARY, request, _CALLS).rate for _ in range(_TURNS + 1)][1:]
    calls_a_second = round(statistics.median(tops) * _SHARE_OF_TOP_RATE)
    calls = max(round(_CALLS_AT_RATE * scale), 1)
    return lambda child: load.at_rate(child, servicer.UNARY, request, calls, calls_a_second)
