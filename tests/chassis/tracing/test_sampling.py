from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from chassis.tracing.sampling import RatioSampler, ToldIdGenerator


@given(st.floats(0, 1), st.integers(1, (1 << 128) - 1))
def test_the_decision_is_opentelemetrys(rate: float, trace_id: int) -> None:
    theirs = TraceIdRatioBased(rate).should_sample(None, trace_id, "span").decision.is_sampled()
    assert (f"{trace_id:032x}"[16:] < RatioSampler(rate).below) == theirs


@pytest.mark.parametrize(("rate", "kept"), [(0, 0), (0.1, 100), (0.25, 250), (0.5, 500), (1, 1000)])
def test_of_evenly_spread_ids_the_share_of_the_rate_is_kept(rate: float, kept: int) -> None:
    below = RatioSampler(rate).below
    step = (1 << 64) // 1000
    assert sum(f"{number * step:016x}" < below for number in range(1000)) == pytest.approx(kept, abs=1)


class Zero(random.Random):
    def getrandbits(self, k: int) -> int:
        return 0


def test_an_id_is_never_zero() -> None:
    ids = ToldIdGenerator(Zero())
    assert ids.generate_trace_id() == ids.generate_span_id() == 1
